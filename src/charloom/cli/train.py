"""``charloom train``: set up a training, watch it, and say how it went."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from charloom.cli.failures import StoppedError, UsageError
from charloom.cli.flags import MoreSteps, option, verb
from charloom.cli.output import Show
from charloom.cli.progress import reporter
from charloom.cli.report import print_report
from charloom.cli.signals import Interrupt, quoted
from charloom.config import ModelConfig, TextConfig, TrainConfig

if TYPE_CHECKING:
    from charloom.launch import Training
    from charloom.training import Event

Text = Annotated[
    str, option("files, folders or globs; - is standard input; none takes the text every Python carries")
]


def train(
    show: Show,
    *text: Text,
    recipe: Annotated[str | None, option("a recipe's name, a TOML file, or an earlier run to repeat")] = None,
    out: Annotated[Path | None, option("the run folder [default: a new one under runs/]")] = None,
    resume: Annotated[
        Path | None, option("continue this run; with --steps +N, N steps beyond its end")
    ] = None,
    moved_to: Annotated[
        list[str] | None, option("with --resume: where the text is now", name="--text")
    ] = None,
    val: Annotated[str | None, option("a file to validate on, instead of the text's end")] = None,
    test: Annotated[str | None, option("a file kept for `charloom eval --split test`")] = None,
    **settings: Any,
) -> None:
    """Train.

    Settings that you leave out come from the recipe; with no recipe named, from a table by the size of the text and
    the device. The defaults below hold where neither says anything. The best model by validation is kept, and its
    bits per character stand beside those of an n-gram and of xz. Ctrl-C saves a checkpoint.
    """
    from charloom import launch

    if resume is not None:
        job = _resumed(resume, [*text, *(moved_to or [])], settings, recipe or out or val or test)
    else:
        _refuse_more_steps(settings)
        sources = [*text, *(moved_to or [])]
        job = launch.begin(*sources, recipe=recipe, out=out, val=val, test=test, **settings)
    show.notes(job.corpus.notes)
    run_job(show, job)
    results = launch.results_json(job.run)
    print_report(show, results, documents=job.corpus.vocab.boundary_id is not None)
    show.object(results)


def _refuse_more_steps(settings: dict[str, Any]) -> None:
    steps = settings.get("steps")
    if isinstance(steps, MoreSteps):
        raise UsageError(
            f"--steps +{steps} without --resume",
            why="only a run that exists can be extended",
            fix=f"give --steps {steps}, or --resume DIR",
        )


def _resumed(run: Path, text: list[str], settings: dict[str, Any], other: object) -> Training:
    from charloom import launch

    steps = settings.pop("steps", None)
    if settings or other or (steps is not None and not isinstance(steps, MoreSteps)):
        raise UsageError(
            "--resume stands beside other settings",
            why="a resumed run goes on with the settings it was begun with",
            fix=f"charloom train --resume {quoted(run)}, or with --steps +500 beyond its end; --text PATH if the text moved",
        )
    return launch.resume(run, more_steps=None if steps is None else int(steps), text=text or None)


def run_job(show: Show, job: Training) -> None:
    """Train to the end, showing progress; an interruption leaves a checkpoint.

    Raises:
        StoppedError: the user stopped it.
    """
    from charloom.training import Finished

    events = cast("Generator[Event]", job.events())
    inside = False  # the loop saves when it is left from its first stretch on
    with reporter(show, job) as report, Interrupt() as interrupt:
        for event in events:
            report(event)
            if interrupt.came and inside and not isinstance(event, Finished):
                events.close()
                raise _stopped(job)
            inside = True


def _stopped(job: Training) -> StoppedError:
    checkpoint, _ = job.run.newest_checkpoint()
    saved = (
        "no checkpoint was saved"
        if checkpoint is None
        else f"a checkpoint of step {checkpoint.step:,} was saved"
    )
    return StoppedError(
        "interrupted", why=saved, fix=f"continue with charloom train --resume {quoted(job.run.path)}"
    )


app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    usage="train [TEXT...] [--recipe NAME|FILE] [--out DIR] [--resume DIR] [settings]",
    examples="""
        charloom train tales.txt --minutes 2
        charloom train tales.txt --cell lstm --hidden-size 64 --steps 40 --out runs/lstm
        charloom train names.txt --documents line --steps 40 --json
        cat tales.txt | charloom train - --steps 20 --quiet
        charloom train --resume runs/tales --steps +20
    """,
)(train)
