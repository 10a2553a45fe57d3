"""Train the members of an ensemble: runs that differ in their seed and perhaps in their recipe, each in its own process.

In a chain, each member also learns from the one before (`training.distillation`), so they train one after the other.
Otherwise, as many train at the same time as there are cores for, and a member that ends makes room for the next. Each process sets
up its own job, reads the text itself and writes its own run folder, so that a member that is killed can be resumed with
``charloom train --resume``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom import threads
from charloom.ensemblefile import check_same_reading
from charloom.errors import CharloomError, ConfigError, RunError
from charloom.jobs import RUNS_FOLDER, new_job
from charloom.recipes.set_up import check_job
from charloom.run_corpus import Source
from charloom.runs import Run, new_run_path
from charloom.training import Progress
from charloom.training.stop_signals import StopSignals, TrainingStopped

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from charloom.config import TrainConfig

MOST_MEMBERS = 64


@dataclass(frozen=True, slots=True)
class MembersPlan:
    """What is trained.

    Attributes:
        paths: {seed: run folder}.
        sources: of the text.
        recipes: {seed: recipe, or None for the default}.
        settings: keywords of `new_job`, without recipe, seed and threads.
        workers: how many train at the same time.
        threads_each: threads of each.
        chain: whether each is the teacher of the next.
    """

    paths: Mapping[int, Path]
    sources: tuple[str, ...]
    recipes: Mapping[int, str | None]
    settings: Mapping[str, Any]
    workers: int
    threads_each: int
    chain: bool = False


def plan_members(
    sources: Sequence[Source], members: int, out: Source | None, *, chain: bool = False, **settings: Any
) -> MembersPlan:
    """Check everything and decide how the cores are shared; nothing is written.

    Args:
        sources: of the text, not standard input.
        members: how many; their seeds are `seed`, `seed` + 1, ….
        out: the run folders are named after it, with ``-seed0``, …; None = a new name.
        chain: whether each is the teacher of the next.
        **settings: keywords of `new_job`; a `recipe` may name several, divided by commas, which the members take in turns.

    Raises:
        ConfigError: the number or a setting is not allowed, a source is standard input, or the recipes read the text in
            different ways.
        RunError: one of the folders already contains a run.
    """
    if not 2 <= members <= MOST_MEMBERS:
        what, why = f"members is {members}", f"an ensemble has 2 to {MOST_MEMBERS} members"
        raise ConfigError(what, why=why, fix="give --members 4, or leave it out to train one model")
    if "-" in map(str, (*sources, settings.get("val"), settings.get("test"))):
        what, why = (
            "the members cannot read standard input",
            "each member reads the text in a process of its own",
        )
        raise ConfigError(what, why=why, fix="write the text to a file first")
    how = {name: value for name, value in settings.items() if value is not None or name not in _PLACES}
    names = _recipe_names(how.pop("recipe", None), members)
    configs = _checked(sources, names, how, is_taught=chain or "teacher" in how)
    config = configs[0]
    first = config.seed
    place = Path(out) if out is not None else new_run_path(Path(RUNS_FOLDER), _stem(sources))
    paths = {seed: place.with_name(f"{place.name}-seed{seed}") for seed in range(first, first + members)}
    for path in paths.values():
        Run(path).refuse_existing()
    cores = threads.available()
    workers = min(members, max(1, cores // config.threads) if config.threads is not None else cores)
    if chain or any(one.device not in ("auto", "cpu") for one in configs):
        workers = 1  # on another device they would share its memory
    each = config.threads if config.threads is not None else max(1, cores // workers)
    kept = {name: value for name, value in how.items() if name not in ("seed", "threads")}
    recipes = {seed: names[k % len(names)] for k, seed in enumerate(paths)}
    return MembersPlan(paths, tuple(map(str, sources)), recipes, kept, workers, each, chain)


def _checked(
    sources: Sequence[Source], recipes: Sequence[str | None], how: Mapping[str, Any], *, is_taught: bool
) -> list[TrainConfig]:
    """Check the trainings of all recipes, and that they read the text in one way; how each trains."""
    unread = ("init_from", "teacher", "keep_text", "log")
    checked = {name: value for name, value in how.items() if name not in unread}
    jobs = [check_job(*sources, recipe=name, **checked, is_taught=is_taught) for name in recipes]
    check_same_reading([(corpus.vocab, corpus.config) for corpus, _ in jobs], "recipe")
    return [resolved.train_config for _, resolved in jobs]


def _recipe_names(given: str | None, members: int) -> list[str | None]:
    """The recipes that a name stands for: itself, or several divided by commas."""
    if given is None or "," not in given or Path(given).exists():
        return [given]
    names: list[str | None] = [name.strip() for name in given.split(",")]
    if len(names) > members:
        what, why = f"{len(names)} recipes for {members} members", "each recipe needs a member"
        raise ConfigError(what, why=why, fix=f"give --members {len(names)}, or fewer recipes")
    return names


_PLACES = ("recipe", "val", "test", "init_from", "teacher", "keep_text", "log")


def _stem(sources: Sequence[Source]) -> str:
    return Path(sources[0]).name.partition(".")[0] if sources else "text"


def train_members(plan: MembersPlan, *, on_share: Callable[[float], None] | None = None) -> list[Run]:
    """Train all members; returns their runs in the order of the seeds.

    Args:
        plan: from `plan_members`.
        on_share: called with the share of all steps that is done.

    Raises:
        CharloomError: a member failed; the others were stopped, each with a checkpoint.
        RunError: a member's process was killed.
        TrainingStopped: a signal to end arrived; every member has saved a checkpoint.
    """
    team = _Team(plan, on_share or (lambda _: None))
    with StopSignals() as signals:
        try:
            while team.is_busy:
                team.begin_more()
                team.listen()
                if signals.number is not None:
                    raise TrainingStopped(signals.number)
        finally:
            team.stop()
    return [Run(path) for path in plan.paths.values()]


class _Team:
    """The processes that train, and what they have said."""

    def __init__(self, plan: MembersPlan, on_share: Callable[[float], None]) -> None:
        self._plan, self._on_share = plan, on_share
        self._waiting = list(plan.paths.items())
        self._running: dict[Connection, tuple[int, SpawnProcess]] = {}
        self._shares = dict.fromkeys(plan.paths, 0.0)
        self._last: Path | None = None

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting or self._running)

    def begin_more(self) -> None:
        """Start members while there is room."""
        context = multiprocessing.get_context("spawn")
        while self._waiting and len(self._running) < self._plan.workers:
            seed, path = self._waiting.pop(0)
            ours, theirs = context.Pipe(duplex=False)
            plan = self._plan
            own = {"recipe": plan.recipes[seed], "seed": seed, "threads": plan.threads_each}
            settings = {**plan.settings, **own}
            if self._plan.chain and self._last is not None:
                settings["teacher"] = str(self._last)
            self._last = path
            process = context.Process(
                target=_train_one, args=(theirs, self._plan.sources, str(path), settings)
            )
            process.start()
            theirs.close()
            self._running[ours] = seed, process

    def listen(self) -> None:
        """Wait a moment for what the members say.

        Raises:
            CharloomError: a member failed.
        """
        for connection in wait(list(self._running), timeout=0.2):
            assert isinstance(connection, Connection)
            seed, process = self._running[connection]
            try:
                said = connection.recv()
            except EOFError:
                self._end(connection, seed, process)
                continue
            if isinstance(said, CharloomError):
                raise said
            self._shares[seed] = float(said)
        self._on_share(sum(self._shares.values()) / len(self._shares))

    def _end(self, connection: Connection, seed: int, process: SpawnProcess) -> None:
        del self._running[connection]
        connection.close()
        process.join()
        self._shares[seed] = 1.0
        if process.exitcode:
            code = process.exitcode
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise RunError(
                f"the process of the member with seed {seed} ended with {how}",
                why="it was killed, perhaps because the memory was full, or it failed without an explanation",
                fix=f"continue it with charloom train --resume {self._plan.paths[seed]}",
            )

    def stop(self) -> None:
        """Ask those that still train to save a checkpoint and end."""
        for _, process in self._running.values():
            process.terminate()
        for connection, (_, process) in self._running.items():
            process.join()
            connection.close()
        self._running.clear()
        self._waiting.clear()


def _train_one(
    connection: Connection, sources: tuple[str, ...], out: str, settings: Mapping[str, Any]
) -> None:
    """Train one member in its process, and say how far it is."""
    threads.calm_blas()
    try:
        job = new_job(*sources, out=out, **settings)
        with StopSignals() as signals, contextlib.closing(job.events()) as events:
            for event in events:
                if isinstance(event, Progress):
                    connection.send(event.progress)
                signals.check(event)
    except CharloomError as error:
        connection.send(error)
    except (KeyboardInterrupt, BrokenPipeError):  # the parent has been stopped too
        return
