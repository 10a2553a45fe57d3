"""``charloom search``: try settings on a text, alone or with other workers, and show what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.failures import StoppedError, UsageError
from charloom.cli.flags import ValidationFile, option, verb
from charloom.cli.output import Show, quoted
from charloom.cli.train import RecipeName, TestFile, Text
from charloom.config import ModelConfig, TextConfig, TrainConfig

if TYPE_CHECKING:
    from charloom.tuning import Findings
    from charloom.tuning.findings import TrialRow
    from charloom.tuning.worker import TrialEnd

FOLDER = "searches"
DEFAULT_TRIALS = 40
PAGE, BEST = "search.html", "best.toml"
SHOWN_TRIALS = 10

Trials = Annotated[int | None, option("trials in the whole search [default: 40]", metavar="N")]
Minutes = Annotated[
    float | None, option("minutes that the whole search may take; each trial gets a share", metavar="X")
]
Objectives = Annotated[
    str, option("loss, chars_per_s (of generation) or size; two with a comma", show_default=True)
]
SpaceName = Annotated[
    str | None,
    option(
        "what is varied: elman, lstm, gru, mingru, residual-lstm, residual-gru, residual-mingru or training "
        "[default: the space of the recipe's network]"
    ),
]
Storage = Annotated[
    str | None,
    option("postgresql://… of a database that workers share [default: files in the folder]", metavar="URL"),
]
SearchFolder = Annotated[Path | None, option("folder of the search [default: searches/NAME-OF-TEXT]")]
ShowOnly = Annotated[
    bool, option("train nothing; show the results, write the page and the best recipe", name="--show")
]


def search(
    show: Show,
    *text: Text,
    trials: Trials = None,
    minutes: Minutes = None,
    objective: Objectives = "loss",
    space: SpaceName = None,
    storage: Storage = None,
    out: SearchFolder = None,
    recipe: RecipeName = None,
    val: ValidationFile = None,
    test: TestFile = None,
    show_only: ShowOnly = False,
    **settings: Any,
) -> None:
    """Search.

    Each trial is a training with other settings, chosen from the results of those before it. Settings that you give are
    the same in every trial; the space varies its others. A trial whose validation curve is worse than that of most
    others is stopped early. The same command on another machine, or in another terminal, joins the search: the workers
    share the trials, and a trial whose worker was killed is taken over. Ctrl-C gives the trial back; the same command
    continues.
    """
    from charloom.files import make_folder
    from charloom.tuning import open_store

    folder = out if out is not None else Path(FOLDER) / _name(text)
    if show_only:
        if trials is not None or minutes is not None or settings:
            why = "nothing is trained with --show"
            raise UsageError("--show cannot be combined with settings", why=why, fix="leave out one of them")
        if storage is None and not (folder / "journal.log").is_file():
            what, why = f"there is no search in {folder}", "it does not contain a journal.log"
            raise UsageError(what, why=why, fix="name its folder with --out, or the same TEXT as the search")
    make_folder(folder)
    store = open_store(folder, storage)
    try:
        if not show_only:
            objectives = tuple(part.strip() for part in objective.split(","))
            number = DEFAULT_TRIALS if trials is None else trials
            how: dict[str, Any] = {
                "space": space,
                "objectives": objectives,
                "trials": number,
                "minutes": minutes,
            }
            where = {"recipe": recipe, "val": val, "test": test}
            _search(show, store, folder, _absolute(text), where, settings=settings, **how)
        _report(show, store, folder, text, draws=show_only)
    finally:
        store.close()


def _search(
    show: Show,
    store: Any,
    folder: Path,
    text: Sequence[str],
    where: Mapping[str, str | None],
    **how: Any,
) -> None:
    """Work on the search until it is finished."""
    from charloom.training.stop_signals import TrainingStopped
    from charloom.tuning import start_search, work
    from charloom.tuning.objective import Text as SearchText
    from charloom.tuning.start import Training, plan_search

    searched = SearchText(tuple(text), **where)
    study, plan = start_search(store, plan_search(searched, **how))
    show.note(f"search {folder}: {plan.trials} trials of the space {plan.space}")
    training = Training(searched, plan.objectives, folder)

    def begin(number: int, num_trials: int) -> None:
        show.progress(f"trial {number} of {num_trials}")

    try:
        for end in work(store, study, plan, training, on_begin=begin):
            show.note(_ended(end, plan.trials))
    except (TrainingStopped, KeyboardInterrupt) as error:
        why, fix = "the trial was given back", "the same command continues the search"
        raise StoppedError("interrupted", why=why, fix=fix) from error


def _ended(end: TrialEnd, num_trials: int) -> str:
    from charloom.generation.escape import visible

    values = ", ".join(f"{name} {_figure(name, value)}" for name, value in end.values.items())
    said = {
        "complete": values,
        "pruned": "pruned: its curve was worse than that of most others",
        "fail": f"failed: {visible(end.failure)}",
        "lost": "taken over by another worker",
        "stopped": "given back: the time is up",
    }[end.outcome]
    return f"trial {end.number}: {said} ({end.finished} of {num_trials} finished)"


def _figure(name: str, value: float) -> str:
    return f"{value:.4f} nats" if name == "loss" else f"{value:,.0f}"


def _report(show: Show, store: Any, folder: Path, text: Sequence[str], *, draws: bool) -> None:
    """Print the best trials, write their recipes and, if asked, the page."""
    from charloom.cli.tables import text_table
    from charloom.generation.escape import visible
    from charloom.tuning import findings_of

    found = findings_of(store)
    rows = [_row(found, one) for one in (found.trials if draws else _leading(found))]
    if rows:
        show.line(text_table(rows, list(rows[0])))
    _say_failures(show, found)
    for name, share in list(found.importance.items())[:5]:
        show.line(f"importance of {visible(name)}: {share:.0%}")
    written = _write_recipes(found, folder)
    page = _write_page(found, folder) if draws else None
    show.note(
        "wrote " + ", ".join(map(str, [*written, *([] if page is None else [page])])) if written else ""
    )
    if written:
        words = ["charloom train", *map(quoted, text), "--recipe", quoted(written[0])]
        show.line("next:\n  " + " ".join(words))
    show.object(
        {
            "search": found.name,
            "objectives": list(found.plan.objectives),
            "trials": [one.to_json() for one in found.trials],
            "best": [one.number for one in found.best],
            "importance": dict(found.importance),
            "recipes": list(map(str, written)),
            "page": None if page is None else str(page),
        }
    )


def _leading(found: Findings) -> list[TrialRow]:
    """The front, or the best ten trials of one objective."""
    if len(found.plan.objectives) == 2:
        return list(found.best)
    (name,) = found.plan.objectives
    rows = [one for one in found.trials if one.state == "complete" and name in one.values]
    return sorted(rows, key=lambda one: -one.values[name] if name == "chars_per_s" else one.values[name])[
        :SHOWN_TRIALS
    ]


def _row(found: Findings, one: TrialRow) -> dict[str, Any]:
    measured = {name: one.values.get(name) for name in ("loss", "chars_per_s", "size")}
    shown = {name: value for name, value in measured.items() if name != "chars_per_s" or _has_speed(found)}
    chosen = {name: one.params.get(name) for name in found.plan.searched.ranges}
    return {"trial": one.number, "state": one.state, **shown, **chosen}


def _has_speed(found: Findings) -> bool:
    return "chars_per_s" in found.plan.objectives


def _say_failures(show: Show, found: Findings) -> None:
    from charloom.generation.escape import visible

    failed = [one for one in found.trials if one.state == "fail"]
    if failed:
        show.notes(f"{len(failed)} trials failed; trial {failed[0].number}: {visible(failed[0].failure)}")
    if not found.best:
        show.notes("no trial is complete yet")


def _write_recipes(found: Findings, folder: Path) -> list[Path]:
    """Write the best trial as ``best.toml``, and of two objectives every trial of the front."""
    from charloom.files import atomic_write

    written = []
    for index, one in enumerate(found.best):
        names = [BEST] * (index == 0) + [f"front-{one.number:04d}.toml"] * (len(found.plan.objectives) == 2)
        for name in names:
            atomic_write(folder / name, found.recipe_of(one))
            written.append(folder / name)
    return written


def _write_page(found: Findings, folder: Path) -> Path:
    from charloom.files import atomic_write
    from charloom.tuning.page import search_page

    atomic_write(folder / PAGE, search_page(found))
    return folder / PAGE


def _name(text: Sequence[str]) -> str:
    """The default name of a search: that of its text."""
    stem = Path(text[0]).name.partition(".")[0] if text else "text"
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "text"


def _absolute(text: Sequence[str]) -> tuple[str, ...]:
    """The sources; standard input can be read only once, and every trial reads the text.

    Raises:
        UsageError: a source is standard input.
    """
    if "-" in text:
        what, why = "a search cannot read standard input", "every trial reads the text again"
        raise UsageError(what, why=why, fix="write it to a file first")
    return tuple(text)


_OWN = ("minutes", "objective")
"""Flags that mean the search here, and settings of a run elsewhere."""

app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    only=[s.name for c in (TextConfig, ModelConfig, TrainConfig) for s in fields(c) if s.name not in _OWN],
    usage="search TEXT... [--trials N] [--minutes M] [--objective O] [--storage URL] [--show] [settings]",
    examples="""
        charloom search tales.txt --trials 2 --steps 10
        charloom search tales.txt --trials 3 --steps 10 --space lstm --hidden-size 16 --out searches/lstm
        charloom search tales.txt --trials 2 --steps 10 --objective loss,size --out searches/small --json
    """,
)(search)
