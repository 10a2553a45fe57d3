"""``charloom train``: train a model, show its progress and print the results."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from charloom.cli.failures import StoppedError, UsageError
from charloom.cli.flags import MoreSteps, RunFolder, ValidationFile, option, verb
from charloom.cli.interrupt import Interrupt, quoted
from charloom.cli.output import Show
from charloom.cli.progress import reporter
from charloom.cli.train_summary import next_command, print_report
from charloom.config import ModelConfig, TextConfig, TrainConfig

if TYPE_CHECKING:
    from charloom.jobs import TrainingJob
    from charloom.training import Event

Text = Annotated[
    str, option("files, folders or globs; - reads standard input [default: a text included with Python]")
]


def train(
    show: Show,
    *text: Text,
    recipe: Annotated[
        str | None, option("name of a recipe, a TOML file, or an earlier run to repeat")
    ] = None,
    out: RunFolder = None,
    resume: Annotated[Path | None, option("continue this run; --steps +N adds N steps")] = None,
    moved_to: Annotated[
        list[str] | None, option("with --resume: where the text is now", name="--text")
    ] = None,
    val: ValidationFile = None,
    test: Annotated[str | None, option("file set aside for `charloom eval --split test`")] = None,
    **settings: Any,
) -> None:
    """Train.

    Settings that you do not give come from the recipe or, without --recipe, from a table of recipes by size of the
    text, time allowed and device. The defaults below apply to all others. The model with the best validation
    loss is kept, and its bits per character are listed with those of an n-gram and of xz. Ctrl-C saves a checkpoint.
    """
    from charloom import jobs

    sources = [*text, *(moved_to or [])]
    if resume is not None:
        job = _resumed(resume, sources, settings, recipe or out or val or test)
    elif isinstance(steps := settings.get("steps"), MoreSteps):
        what, why = f"--steps +{steps} without --resume", "only an existing run can be extended"
        raise UsageError(what, why=why, fix=f"give --steps {steps}, or add --resume DIR")
    else:
        job = jobs.new_job(*sources, recipe=recipe, out=out, val=val, test=test, **settings)
    show.notes(*job.corpus.notes)
    run_job(show, job)
    results = jobs.results_json(job.run)
    command = next_command(results["verdicts"], job.run.path, job.run.config()["corpus"])
    print_report(show, results, command=command, documents=job.corpus.vocab.boundary_id is not None)
    show.object(results)


def _resumed(run: Path, text: list[str], settings: dict[str, Any], other: object) -> TrainingJob:
    from charloom import jobs

    steps = settings.pop("steps", None)
    if settings or other or (steps is not None and not isinstance(steps, MoreSteps)):
        raise UsageError(
            "--resume cannot be combined with other settings",
            why="a resumed run keeps the settings it was started with",
            fix=f"run charloom train --resume {quoted(run)}; add --steps +500 to extend it, --text PATH if the text moved",
        )
    return jobs.resume_job(run, more_steps=None if steps is None else int(steps), text=text or None)


def run_job(show: Show, job: TrainingJob) -> None:
    """Train to the end and show the progress; an interruption leaves a checkpoint.

    Raises:
        StoppedError: the user stopped the training.
    """
    from charloom.training import Finished

    events = cast("Generator[Event]", job.events())
    inside = False  # closing the generator saves a checkpoint only after its first event
    with reporter(show, job) as report, Interrupt() as interrupt:
        for event in events:
            report(event)
            if interrupt.came and inside and not isinstance(event, Finished):
                events.close()
                raise _stopped(job)
            inside = True


def _stopped(job: TrainingJob) -> StoppedError:
    checkpoint, _ = job.run.newest_checkpoint()
    saved = "no checkpoint" if checkpoint is None else f"a checkpoint of step {checkpoint.step:,}"
    fix = f"continue with charloom train --resume {quoted(job.run.path)}"
    return StoppedError("interrupted", why=f"{saved} was saved", fix=fix)


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
