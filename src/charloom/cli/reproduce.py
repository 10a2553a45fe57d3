"""``charloom reproduce``: reproduce a published system and compare the figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.failures import UsageError
from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.reproduce import Contest, Repetition


def reproduce(
    show: Show,
    name: Annotated[str, option("name of a published system, or all")],
    /,
    *,
    quick: Annotated[bool, option("run only the first tenth")] = False,
    as_published: Annotated[bool, option("include the mistakes of the published program")] = False,
    best: Annotated[
        bool, option("compare with charloom's default recipe, trained on the same text for the same time")
    ] = False,
    seeds: Annotated[
        int | None, option("number of seeds [default: five if one takes seconds, one if it takes minutes]")
    ] = None,
    out: Annotated[
        Path, option("folder for reproduce.json, the page and the models", show_default=True)
    ] = Path("reproduce"),
) -> None:
    """Reproduce a published system.

    Trains the system from its recipe on its corpus, which is searched for in $CHARLOOM_DATA or, if that is not set, in
    ../shared/data and in your cache folder, and downloaded if possible. Mistakes of the published program are corrected by default; the page
    names each of them.
    """
    from charloom.reproduce import find_systems

    if best and (quick or as_published):
        raise UsageError(
            "--best cannot be combined with --quick or --as-published",
            why="the comparison trains both sides fully, with all mistakes corrected",
            fix="leave one out",
        )
    if seeds is not None and seeds < 1:
        why = "a figure needs at least one training"
        raise UsageError(f"--seeds is {seeds}", why=why, fix="give 1 or more")
    chosen = find_systems(name)
    if best:
        show.object({"systems": _contests(show, chosen, out)})
        return
    show.object(_repetitions(show, chosen, out, quick=quick, as_published=as_published, seeds=seeds))


def _repetitions(show: Show, chosen: Any, out: Path, **how: Any) -> dict[str, Any]:
    from charloom.reproduce import repeat, repetition_json, write_page

    done: list[Repetition] = []
    for system in chosen:
        show.note(f"{system.name}: {system.title}")
        done.append(repeat(system, **how))
        _print_repetition(show, done[-1])
    results = {"systems": [repetition_json(one) for one in done]}
    written = write_page(out, done, results)
    show.note("wrote " + " and ".join(str(path) for path in written))
    return results | {"page": str(written[-1])}


def _print_repetition(show: Show, done: Repetition) -> None:
    show.line(f"{done.system.letter}. {done.system.name}")
    for figure in done.figures:
        verdict = {True: "within", False: "NOT within", None: "shown, not judged"}[figure.within]
        tolerance = "" if figure.target.tolerance is None else f" ± {figure.target.tolerance:g}"
        show.line(
            f"  {figure.target.what}: published {figure.target.published:.4f}, measured {figure.measured:.4f} "
            f"({verdict}{tolerance})"
        )
        if len(figure.by_seed) > 1:
            show.line("    seeds: " + " ".join(f"{value:.4f}" for value in figure.by_seed))
        if figure.earlier:
            show.line("    other seeds, measured earlier: " + " ".join(f"{v:.4f}" for v in figure.earlier))
    for what, value in done.honest.items():
        show.line(f"  {what}: {value:.4f}")
    show.line(
        f"  training took {done.train_time_s:.0f} s; the published form {done.system.train_time_s:.0f} s"
    )


def _contests(show: Show, chosen: Any, out: Path) -> list[dict[str, Any]]:
    from charloom.reproduce import contest, contest_json, write_json

    rows = []
    for system in chosen:
        done = contest(system, say=show.note)
        rows.append(contest_json(done))
        _print_contest(show, rows[-1], done)
        write_json(out / "best.json", {"systems": rows})
    return rows


def _print_contest(show: Show, row: dict[str, Any], done: Contest) -> None:
    show.line(
        f"{done.system.letter}. {done.system.name}: published {row['published_bits_per_char']:.3f}, "
        f"charloom {row['charloom_bits_per_char']:.3f} bits/char held out ({100 * done.gain:.1f} % below); "
        f"n-gram {row['ngram_bits_per_char']:.3f}"
    )
    if row["folds"] > 1:
        show.line(
            f"  {row['folds']} folds, 95 % intervals: published ±{row['published_interval_bits']:.3f}, "
            f"charloom ±{row['charloom_interval_bits']:.3f}, n-gram ±{row['ngram_interval_bits']:.3f}"
        )


app = verb(
    computes=True,
    usage="reproduce NAME|all [--quick] [--as-published] [--best]",
    examples="""
        charloom reproduce shakespeare-scratch
        charloom reproduce all --quick
        charloom reproduce moliere-elman --best --json
    """,
)(reproduce)
