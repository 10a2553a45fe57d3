"""Training jobs that torchrun starts: rank 0 sets the run up and leads, the others read the text and follow.

    torchrun --nproc-per-node 2 --max-restarts 3 -m charloom train tales.txt --out runs/tales

Every rank runs the same command. After a failure torchrun starts all of them again with the same words; `leading_job`
then finds the run in its folder and continues it from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom import threads
from charloom.distributed import read_launch
from charloom.errors import ConfigError
from charloom.jobs import TrainingJob, new_job, resume_job
from charloom.recipes.fine_tune import StartingModel
from charloom.recipes.set_up import set_up
from charloom.run_corpus import Source, corpus_of_record
from charloom.runs import Run
from charloom.training.ranks import follow, threads_of_rank
from charloom.training.stop_signals import SIGNALS

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks


@contextlib.contextmanager
def joined() -> Iterator[Ranks | None]:
    """Meet the other ranks for the block; None if torchrun did not start this process, or started it alone.

    Each rank gets its share of its host's cores. What fails in the block is told to the other ranks.
    """
    launch = read_launch()
    if launch is None or launch.size == 1:
        yield None
        return
    from charloom.distributed.ranks import Ranks

    with threads.at_most(threads_of_rank(launch)), Ranks(launch) as ranks, ranks.reporting():
        ranks.failures.announce()
        yield ranks


def continued_folder(out: Path | None, attempt: int = 1) -> Path | None:
    """The run to continue because torchrun has restarted its processes; None if there is no such run.

    `attempt` counts the starts of the ranks: where another host's rank failed, this host counts no restart.

    Raises:
        ConfigError: several ranks have no `out`, by whose name they would find the run after a restart.
    """
    launch = read_launch()
    if launch is None:
        return None
    if out is None:
        if launch.size == 1:
            return None
        raise ConfigError(
            f"there are {launch.size} ranks and no --out",
            why="after a restart, the run is found by the name of its folder",
            fix="name a folder for the run, for example --out runs/tales",
        )
    restarted = launch.restarts > 0 or attempt > 1
    return out if restarted and Run(out).config_path.is_file() else None


def leading_job(
    ranks: Ranks | None,
    sources: Sequence[Source],
    how: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    resume: Path | None = None,
    moved: Sequence[Source] = (),
    more_steps: int | None = None,
) -> TrainingJob:
    """Set up the job of rank 0 or of a process by itself, and tell the other ranks which text they need.

    Args:
        ranks: the processes; None = this one alone.
        sources: as in `jobs.new_job`.
        how: its other arguments but the settings.
        settings: the settings.
        resume: the run to continue, or None for a new one.
        moved: with `resume`, where the text is now on this host.
        more_steps: with `resume`, by how many steps to extend it.
    """
    record = None if resume is None else Run.open(resume).complete_config()
    if ranks is not None:
        ranks.tell({"do": "set up", "folder": None if resume is None else str(resume), "record": record})
    if resume is None:
        return new_job(*sources, ranks=ranks, **how, **settings)
    return resume_job(resume, more_steps=more_steps, text=moved or None, log=how["log"], ranks=ranks)


def end_job(ranks: Ranks | None) -> None:
    """Let the other ranks end before they have begun: the run is finished."""
    if ranks is not None:
        ranks.tell({"do": "end"})
        ranks.released = True


def follow_job(
    ranks: Ranks,
    sources: Sequence[Source],
    how: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    moved: Sequence[Source] = (),
) -> None:
    """Take part in a training as a rank other than 0; arguments as in `leading_job`.

    Signals to stop are left to rank 0, which saves a checkpoint first.
    """
    with _deaf():
        order, _ = ranks.hear()
        if order["do"] == "end":
            return
        if order["record"] is not None:
            corpus = corpus_of_record(Run(Path(order["folder"])), order["record"], moved or None)
        else:
            start = None if how["init_from"] is None else StartingModel.read(how["init_from"])
            places = {name: how[name] for name in ("val", "test")}
            corpus, _ = set_up(
                sources, how["recipe"], settings, start, text=None, launch=ranks.launch, **places
            )
        follow(ranks, corpus)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore signals to stop inside the block."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
