"""``charloom compare``: compare runs in a table or a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from charloom.cli.flags import option, path_option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.comparison import Comparison, SeedGroup
    from charloom.insight.gradient_flow import Flow
    from charloom.runs import Run

COLUMNS = (
    "cell",
    "block",
    "hidden_size",
    "num_layers",
    "num_params",
    "steps",
    "train_time_s",
    "val_bits_per_char",
    "ngram_bits_per_char",
    "xz_bits_per_char",
    "corpus",
    "name",
)
MEASURED = ("memory_horizon_chars", "half_life_chars")


def compare(
    show: Show,
    run: Annotated[str, path_option("a run folder")],
    /,
    *others: Annotated[str, path_option("more run folders", name="RUN")],
    format: Annotated[  # noqa: A002 - the flag's name
        Literal["text", "markdown", "latex", "csv", "json"], option("format of the table", show_default=True)
    ] = "text",
    plot: Annotated[Path | None, option("draw the loss curves in this .svg or .png file")] = None,
    gradients: Annotated[
        bool, option("measure and plot how far back gradients reach (takes seconds per run)")
    ] = False,
) -> None:
    """Compare runs.

    Bits per character are measured with the stream protocol on each run's held-out text; only results on the same text
    can be compared. Runs that differ in their seed only form a group, with mean and standard deviation. The formats
    text and json also tell whether runs or groups on the same held-out text differ from the best one: by the interval
    of 95 % of a paired block bootstrap over that text, which takes seconds per run. With --gradients, the table includes each run's memory horizon: the number of characters after
    which 1 % of a gradient is left, in the state where it lasts longest.
    """
    from charloom.cli.run_table import run_row
    from charloom.cli.tables import FORMATS
    from charloom.runs import Run

    found = [Run.open(Path(name)) for name in (run, *others)]
    rows = [run_row(one) for one in found]
    flows = _flows(found, rows) if gradients else {}
    if format == "json":
        show.as_json = True
    else:
        show.line(FORMATS[format](rows, (*COLUMNS, *MEASURED) if gradients else COLUMNS))
    show.notes(*_cautions(rows))
    groups, comparisons = _compared(show, found, tested=format in ("text", "json"))
    if plot is not None:
        show.notes(*_draw(found, plot, flows))
        show.note(f"wrote {plot}")
    compared = {
        "groups": [group.to_json() for group in groups],
        "comparisons": [one.to_json() for one in comparisons],
    }
    show.object({"runs": rows, **compared, **({} if plot is None else {"plot": str(plot)})})


def _cautions(rows: list[dict[str, object]]) -> list[str]:
    """Explain why results of these rows cannot be compared."""
    cautions = []
    if len({row["corpus_sha256"] for row in rows}) > 1:
        cautions.append(
            "these runs were trained on different texts: their bits per character are not comparable"
        )
    if len({row["unit"] for row in rows}) > 1:
        cautions.append("bits per character and bits per byte are not comparable")
    if unfinished := [str(row["name"]) for row in rows if row["state"] != "finished"]:
        cautions.append(f"not finished, so without results: {', '.join(unfinished)}")
    return cautions


def _compared(show: Show, runs: list[Run], *, tested: bool) -> tuple[list[SeedGroup], list[Comparison]]:
    """Print the groups and, if `tested`, which of them differ from the best."""
    from charloom.comparison import compare_groups, seed_groups

    groups = seed_groups(runs)
    comparisons = compare_groups(groups, on_note=show.note) if tested else []
    tell = show.line if tested else show.note
    for group in groups:
        if len(group.runs) > 1:
            seeds = ", ".join(map(str, group.seeds))
            tell(
                f"{group.name}, seeds {seeds}: {plus_minus(group.val_bits_per_char)} {_bits(group)} (mean ± sd)"
            )
    for one in comparisons:
        if one.why_not is not None:
            show.notes(f"{one.other.name} and {one.best.name} are not compared further: {one.why_not}")
        else:
            tell(_sentence(one))
    single = any(len(group.runs) == 1 for group in groups)
    if single and any(one.why_not is None for one in comparisons):
        show.notes("this is about these runs; another seed may change more: train with --seeds 3")
    return groups, comparisons


def plus_minus(values: Sequence[float]) -> str:
    """Mean ± standard deviation (n − 1).

    Example:
        >>> plus_minus([2.0, 2.1, 2.2])
        '2.1000 ± 0.1000'
    """
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def _bits(group: SeedGroup) -> str:
    return f"bits/{group.runs[0].complete_config()['corpus']['unit']}"


def _sentence(one: Comparison) -> str:
    found = one.difference
    assert found is not None
    bits = f"{found.bits:.4f} {_bits(one.best)} (95 %: {found.low_bits:.4f} to {found.high_bits:.4f})"
    if found.is_clear:
        return f"{one.other.name} is worse than {one.best.name} by {bits}"
    return f"{one.other.name} does not clearly differ from {one.best.name}: worse by {bits}"


def _flows(runs: list[Run], rows: list[dict[str, object]]) -> dict[str, Flow]:
    """Measure the gradients of every trained run, by name, and add the results to the rows."""
    from charloom import api
    from charloom.insight.gradient_flow import farthest

    flows = {}
    for run, row in zip(runs, rows, strict=True):
        flow = api.gradients(run.path).trained
        longest = farthest(flow)
        row |= {
            "memory_horizon_chars": flow.memory_horizon_chars,
            "half_life_chars": longest.half_life_chars,
            "gradient_left_per_char": longest.decay_per_char,
        }
        flows[str(row["name"])] = flow
    return flows


def _draw(runs: list[Run], path: Path, flows: Mapping[str, Flow]) -> tuple[str, ...]:
    from charloom.cli.failures import UsageError
    from charloom.plots import compared_lags, loss_curves, new_pair, save

    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(
            f"--plot {path}", why="the suffix chooses the image format", fix="end the name in .svg or .png"
        )
    if not flows:
        return save(loss_curves(runs), path)
    left, right = new_pair("loss curves and gradients")
    loss_curves(runs, ax=left)
    return save(compared_lags(flows, ax=right), path)


app = verb(
    computes=True,
    usage="compare RUN... [--format F] [--plot FILE] [--gradients]",
    examples="""
        charloom compare runs/tales runs/names
        charloom compare runs/tales runs/names --json
        charloom compare runs/tales runs/names --format markdown
        charloom compare runs/tales --plot curves.svg
        charloom compare runs/tales runs/names --gradients --plot why.svg
    """,
)(compare)
