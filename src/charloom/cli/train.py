"""``charloom train``: train a model, show its progress and print the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.failures import StoppedError, UsageError
from charloom.cli.flags import MoreSteps, RunFolder, ValidationFile, option, path_option, verb
from charloom.cli.output import Show, quoted
from charloom.cli.train_summary import next_command, print_report
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.distributed import read_launch
from charloom.progress import reporter

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks
    from charloom.jobs import TrainingJob

Text = Annotated[
    str,
    path_option(
        "files, folders, globs or known corpora (see `charloom corpus list`); - reads standard input "
        "[default: a text included with Python]"
    ),
]


Resume = Annotated[Path | None, option("continue this run; --steps +N adds N steps")]
Seeds = Annotated[
    int | None,
    option("train N runs, with the seeds --seed, --seed + 1, …, in folders named after them", metavar="N"),
]
Members = Annotated[
    int | None,
    option(
        "train N runs as --seeds does, several at the same time, and combine them into an ensemble",
        metavar="N",
    ),
]
MovedTo = Annotated[list[str] | None, path_option("with --resume: where the text is now", name="--text")]
RecipeName = Annotated[
    str | None,
    path_option(
        "name of a recipe, a TOML file, or an earlier run to repeat; with --members also several, divided by commas"
    ),
]
TestFile = Annotated[str | None, path_option("file set aside for `charloom eval --split test`")]
InitFrom = Annotated[Path | None, option("start from the weights of this run or model file", metavar="MODEL")]
TeacherModel = Annotated[
    Path | None,
    option(
        "learn from this run, model file or ensemble as well as from the text (knowledge distillation)",
        metavar="MODEL",
        name="--teacher",
    ),
]
Chain = Annotated[
    bool,
    option("with --members: each member is the teacher of the next, one after the other", name="--chain"),
]
KeepText = Annotated[
    bool | None,
    option("keep the text in the run folder [default: up to 16 MB of one that came through a pipe]"),
]
Log = Annotated[
    Literal["tensorboard"] | None, option("also write the events for TensorBoard, into the run folder")
]


def train(
    show: Show,
    *text: Text,
    recipe: RecipeName = None,
    out: RunFolder = None,
    resume: Resume = None,
    seeds: Seeds = None,
    members: Members = None,
    moved_to: MovedTo = None,
    val: ValidationFile = None,
    test: TestFile = None,
    init_from: InitFrom = None,
    teacher: TeacherModel = None,
    chain: Chain = False,
    keep_text: KeepText = None,
    log: Log = None,
    **settings: Any,
) -> None:
    """Train.

    Settings that you do not give come from the recipe or, without --recipe, from a table of recipes by size of the
    text, time allowed and device. The defaults below apply to all others. The model with the best validation
    loss is kept, and its bits per character are listed with those of an n-gram and of xz. Ctrl-C saves a checkpoint.
    """
    from charloom.ranked_jobs import follow_job, joined
    from charloom.run_results import results_json

    sources = [*text, *(moved_to or [])]
    how: dict[str, Any] = {"recipe": recipe, "out": out, "val": val, "test": test, "init_from": init_from}
    how |= {"teacher": teacher, "keep_text": keep_text, "log": log}
    with _shown_by_one(show), joined() as ranks:
        if ranks is not None and ranks.rank > 0:
            return follow_job(ranks, sources, how, settings, moved=() if resume is None else sources)
        if resume is None and (seeds is not None or members is not None):
            return _train_several(
                show, ranks, sources, how, settings, seeds=seeds, members=members, chain=chain
            )
        _refuse_chain_of_one(chain=chain)
        job = _job(ranks, sources, how, settings, resume=resume, several={"seeds": seeds, "members": members})
        if isinstance(job, Path):
            return _say_finished(show, job)
        run_job(show, job)
    results = results_json(job.run)
    command = next_command(results["verdicts"], job.run.path, job.run.complete_config()["corpus"])
    print_report(show, results, command=command, documents=job.corpus.vocab.boundary_id is not None)
    show.object(results)
    return None


def _train_several(
    show: Show,
    ranks: Ranks | None,
    sources: list[str],
    how: dict[str, Any],
    settings: dict[str, Any],
    *,
    seeds: int | None,
    members: int | None,
    chain: bool,
) -> None:
    """Train runs that differ in their seed: one after the other, or side by side as the members of an ensemble."""
    from charloom import jobs
    from charloom.cli.train_members import train_ensemble

    _refuse_more_steps(settings)
    if ranks is not None:
        flag = "--seeds" if members is None else "--members"
        what, why = f"{flag} under torchrun", "the ranks share one training"
        raise UsageError(what, why=why, fix=f"leave out {flag}, or run it without torchrun")
    if members is not None:
        train_ensemble(show, sources, members, seeds=seeds, chain=chain, how=how, settings=settings)
    elif seeds is not None:
        _train_seeds(show, jobs.new_jobs(*sources, seeds=seeds, **how, **settings), seeds)


@contextlib.contextmanager
def _shown_by_one(show: Show) -> Iterator[None]:
    """Leave signs of life to rank 0."""
    launch = read_launch()
    with contextlib.nullcontext() if launch is None or launch.leads else show.reporting():
        yield


def _job(
    ranks: Ranks | None,
    sources: list[str],
    how: dict[str, Any],
    settings: dict[str, Any],
    *,
    resume: Path | None,
    several: Mapping[str, int | None],
) -> TrainingJob | Path:
    """The training that the command asks for; the folder of a run that is finished and not extended."""
    from charloom.ranked_jobs import continued_folder, end_job, leading_job
    from charloom.runs import Run

    moved, more = [], settings.get("steps")
    if resume is not None:
        given = {**how, **several}
        others = [name for name in given if name not in ("log", "out") and given[name] is not None]
        _check_resumed(resume, settings, others)
        if settings.keys() - {"steps"} or how["out"] is not None:
            return _branch(ranks, resume, sources, how, settings)
        moved = sources
    else:
        _refuse_more_steps(settings)
        attempt = 1 if ranks is None else ranks.meeting.attempt
        resume = continued_folder(how["out"], attempt)  # torchrun has restarted the same command
        settings = settings if resume is None else {}
        more = None
    if resume is not None and more is None and not moved and Run.open(resume).is_finished:
        end_job(ranks)
        return resume
    more_steps = None if more is None else int(more)
    return leading_job(ranks, sources, how, settings, resume=resume, moved=moved, more_steps=more_steps)


def _branch(
    ranks: Ranks | None, run: Path, sources: list[str], how: dict[str, Any], settings: dict[str, Any]
) -> TrainingJob:
    """A run of its own that continues another with other settings."""
    from charloom.branching import branch_job

    if ranks is not None:
        what, why = "--resume with other settings under torchrun", "a branch begins in one process"
        raise UsageError(what, why=why, fix="branch off without torchrun, then resume the branch with it")
    changes = {name: value for name, value in settings.items() if name != "steps"}
    more = settings.get("steps")
    more_steps = None if more is None else int(more)
    return branch_job(
        run, out=how["out"], more_steps=more_steps, text=sources or None, log=how["log"], **changes
    )


def _refuse_chain_of_one(*, chain: bool) -> None:
    if chain:
        what, why = "--chain without --members", "a chain has two members or more"
        raise UsageError(
            what, why=why, fix="give --members 4 --chain, or --teacher MODEL for one more network"
        )


def _refuse_more_steps(settings: dict[str, Any]) -> None:
    if isinstance(steps := settings.get("steps"), MoreSteps):
        what, why = f"--steps +{steps} without --resume", "only an existing run can be extended"
        raise UsageError(what, why=why, fix=f"give --steps {steps}, or add --resume DIR")


def _train_seeds(show: Show, training: Iterator[TrainingJob], num: int) -> None:
    """Train runs that differ in their seed, and print the figure of each and their spread."""
    from charloom.cli.compare import plus_minus
    from charloom.run_results import results_json

    found: list[dict[str, Any]] = []
    for job in training:
        seed = job.resolved.train_config.seed
        show.note(f"run {len(found) + 1} of {num}, seed {seed}")
        run_job(show, job)
        found.append({"seed": seed, **results_json(job.run)})
    bits, nats = ([one[name] for one in found] for name in ("val_bits_per_char", "val_loss_nats"))
    measured = None not in bits
    for one in found:
        figure = f"{one['val_bits_per_char']:.4f} bits/{one['unit']}" if measured else "nothing was held out"
        show.line(f"seed {one['seed']}: {figure}, {one['steps']:,} steps, run {one['run']}")
    if measured:
        show.line(f"mean ± sd: {plus_minus(bits)} bits/{found[0]['unit']}, stream protocol on held-out text")
    names = " ".join(quoted(one["run"]) for one in found)
    show.line(f"next:\n  charloom compare {names}")
    show.object(
        {"runs": found, **_spread_json("val_bits_per_char", bits), **_spread_json("val_loss_nats", nats)}
    )


def _spread_json(name: str, values: list[Any]) -> dict[str, float | None]:
    import statistics

    known = None not in values
    mean, sd = (statistics.mean(values), statistics.stdev(values)) if known else (None, None)
    return {f"{name}_mean": mean, f"{name}_sd": sd}


def _say_finished(show: Show, path: Path) -> None:
    """Report the results of a finished run, and how to extend it."""
    from charloom.run_results import results_json
    from charloom.runs import Run

    run = Run.open(path)
    results = results_json(run)
    show.note(f"{path} is finished, after {results['steps']:,} steps; --steps +N adds N steps")
    print_report(
        show, results, command=next_command(results["verdicts"], path, run.complete_config()["corpus"])
    )
    show.object(results)


def _check_resumed(run: Path, settings: dict[str, Any], others: list[str]) -> None:
    """Refuse what a resumed run cannot change."""
    from charloom.branching import CHANGEABLE

    steps = settings.get("steps")
    others = [*others, *(name for name in settings if name not in (*CHANGEABLE, "steps"))]
    if others or (steps is not None and not isinstance(steps, MoreSteps)):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in others) or f"--steps {steps}"
        raise UsageError(
            f"--resume cannot be combined with {named}",
            why="a resumed run keeps its text, its network, its batch and its steps",
            fix=f"run charloom train --resume {quoted(run)}; add --steps +500 to extend it, --text PATH if the text moved, "
            "--learning-rate X to branch off with another rate",
        )


def run_job(show: Show, job: TrainingJob) -> None:
    """Train to the end and show the progress; an interruption leaves a checkpoint.

    Raises:
        StoppedError: the user stopped the training.
    """
    from charloom.training.stop_signals import StopSignals, TrainingStopped

    try:
        with (
            show.reporting(),
            reporter(job, quiet=show.quiet) as report,
            StopSignals() as signals,
            contextlib.closing(job.events()) as events,
        ):
            for event in events:
                report(event)
                signals.check(event)
    except TrainingStopped as stopped:
        raise _stopped(job) from stopped


def _stopped(job: TrainingJob) -> StoppedError:
    kept = job.what_is_kept()
    if kept is None:
        return StoppedError("interrupted", why="nothing had been trained", fix="run the command again")
    fix = f"continue with charloom train --resume {quoted(job.run.path)}"
    return StoppedError("interrupted", why=kept, fix=fix)


app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    usage="train [TEXT...] [--recipe NAME|FILE] [--out DIR] [--seeds N] [--members N] [--resume DIR] [settings]",
    examples="""
        charloom train names --documents line --minutes 2
        charloom train tales.txt --minutes 2
        charloom train tales.txt --cell lstm --hidden-size 64 --steps 40 --out runs/lstm
        charloom train names.txt --documents line --steps 40 --json
        cat tales.txt | charloom train - --steps 20 --quiet
        charloom train tales.txt --steps 20 --log tensorboard
        charloom train tales.txt --steps 40 --seeds 3 --out runs/trio
        charloom train tales.txt --steps 40 --members 2 --out runs/duo
        charloom train tales.txt --steps 40 --members 2 --chain --out runs/chain
        charloom train tales.txt --steps 40 --teacher runs/tales --out runs/student
        charloom train --resume runs/tales --steps +20
        charloom train --resume runs/tales --steps +20 --learning-rate 0.001
        charloom train more.txt --init-from runs/tales --steps 20
    """,
)(train)
