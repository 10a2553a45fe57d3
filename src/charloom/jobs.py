"""Set up training jobs, new or resumed: check the settings, read the corpus, create the run folder.

`new_job` and `resume_job` return a `TrainingJob`, whose events are the training itself. The settings of a run are
recorded in its ``config.json``, and everything here reads them from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.config import (
    ModelConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from charloom.errors import ConfigError
from charloom.recipes import Resolved
from charloom.recipes.fine_tune import StartingModel, start_again
from charloom.recipes.set_up import Text, set_up
from charloom.run_corpus import Source, corpus_of, keeps_text, new_run
from charloom.runs import Run, new_run_path, newer_names, no_checkpoint
from charloom.tensorboard_log import check_tensorboard, logged
from charloom.text import (
    Corpus,
)
from charloom.text.inputs import absolute
from charloom.training import Event, extend
from charloom.training import train as run_training
from charloom.training.distillation import Teacher, kept_teacher, teacher_for
from charloom.training.ranks import continued
from charloom.versions import versions

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks

RUNS_FOLDER = "runs"


@dataclass(frozen=True)
class TrainingJob:
    """A training that is ready to start.

    Attributes:
        corpus: the text to train on.
        resolved: the settings and where they come from.
        run: the run folder.
        start: the model whose weights it starts from, or None.
        resume: whether to continue from a checkpoint.
        began: `time.monotonic` when the user's call began; its budget in minutes counts from then.
        log: where else the events are written: tensorboard, or None.
        ranks: the processes to lead, or None.
        teacher: the model whose probabilities are part of the targets, or None.
    """

    corpus: Corpus
    resolved: Resolved
    run: Run
    start: StartingModel | None = None
    resume: bool = False
    began: float | None = None
    log: str | None = None
    ranks: Ranks | None = None
    teacher: Teacher | None = None

    def events(self) -> Generator[Event, None, None]:
        """Train; see `charloom.training.train`. Closing the generator saves a checkpoint."""
        config = self.run.complete_config()
        card = {
            "corpus": {key: config["corpus"][key] for key in ("name", "sha256", "num_chars")},
            "recipe": self.resolved.recipe,
            "sample": dict(self.resolved.sample),
            "train": config["train"],
            "versions": config["versions"],
            "created": config["created"],
        }
        card |= {
            origin: config[origin] for origin in ("init_from", "branched_from", "teacher") if origin in config
        }
        events = run_training(
            self.corpus,
            self.resolved.model_config,
            self.resolved.train_config,
            self.run,
            parameters=None if self.start is None else self.start.parameters(self.corpus.vocab),
            resume=self.resume,
            card=card,
            monitor=self._monitor(),
            began=self.began,
            ranks=self.ranks,
            teacher=self.teacher,
        )
        return logged(events, self.run) if self.log == "tensorboard" else events

    def what_is_kept(self) -> str | None:
        """What a training that was stopped has saved; None if nothing, not even its folder."""
        if not self.run.config_path.exists():
            return None
        checkpoint, _ = self.run.newest_checkpoint()
        if checkpoint is not None:
            return f"a checkpoint of step {checkpoint.step:,} was saved"
        return "no checkpoint was saved" + ", but what the teacher wrote" * self.run.written_path.exists()

    def _monitor(self) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """Measure what `watch` asks for, on held-out text if there is enough."""
        if self.resolved.train_config.watch is None:
            return None
        from charloom.insight.inspection import FEWEST_CHARS
        from charloom.insight.monitor import monitor

        held_out, train = self.corpus.validation, self.corpus.train
        text = held_out if held_out is not None and len(held_out) >= FEWEST_CHARS else train
        return monitor(self.resolved.model_config, text, boundary_id=self.corpus.vocab.boundary_id)


def new_job(
    *sources: Source,
    text: Text | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    init_from: Source | None = None,
    teacher: Source | None = None,
    keep_text: bool | None = None,
    log: str | None = None,
    ranks: Ranks | None = None,
    **settings: Any,
) -> TrainingJob:
    """Check the settings, read the corpus and create the run folder; arguments as in `charloom.train`.

    With `ranks`, this process leads them.
    """
    _check_log(log)
    began = time.monotonic()
    start = None if init_from is None else StartingModel.read(init_from)
    launch = None if ranks is None else ranks.launch
    places: dict[str, Any] = {"text": text, "val": val, "test": test, "is_taught": teacher is not None}
    corpus, resolved = set_up(sources, recipe, settings, start, **places, launch=launch)
    taught = teacher_for(teacher, corpus, resolved.train_config, ranks)
    place = _place(out, corpus)
    keep, notes = keeps_text(corpus, keep_text, [*sources, val, test], in_memory=text is not None)
    run = new_run(
        place, corpus, _record(corpus, resolved, val, test, start, taught), keep=keep, teacher=taught
    )
    resolved = replace(resolved, notes=(*resolved.notes, *notes))
    return TrainingJob(corpus, resolved, run, start=start, began=began, log=log, ranks=ranks, teacher=taught)


def new_jobs(
    *sources: Source,
    seeds: int,
    text: Text | None = None,
    recipe: str | None = None,
    out: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    init_from: Source | None = None,
    teacher: Source | None = None,
    keep_text: bool | None = None,
    log: str | None = None,
    **settings: Any,
) -> Iterator[TrainingJob]:
    """Set up `seeds` runs that differ in their seed only, as `new_job` does, in folders ``x-seed0``, ``x-seed1``, ….

    The first has the seed of the settings. Everything is checked at once, and the corpus is read once; a run's folder
    is created when the iterator reaches it.

    Raises:
        ConfigError: `seeds` is below 2.
        RunError: one of the folders already contains a run.
    """
    if seeds < 2:
        what, why = f"seeds is {seeds}", "a standard deviation needs at least two runs"
        raise ConfigError(what, why=why, fix="give --seeds 3, or --seed N for a single run")
    _check_log(log)
    start = None if init_from is None else StartingModel.read(init_from)
    places: dict[str, Any] = {"text": text, "val": val, "test": test, "is_taught": teacher is not None}
    corpus, resolved = set_up(sources, recipe, settings, start, **places)
    taught = teacher_for(teacher, corpus, resolved.train_config)
    place, first = _place(out, corpus), resolved.train_config.seed
    paths = {seed: place.with_name(f"{place.name}-seed{seed}") for seed in range(first, first + seeds)}
    for path in paths.values():
        Run(path).refuse_existing()
    keep, notes = keeps_text(corpus, keep_text, [*sources, val, test], in_memory=text is not None)
    resolved = replace(resolved, notes=(*resolved.notes, *notes))

    def job_of(seed: int, path: Path) -> TrainingJob:
        of_seed = replace(resolved, train_config=replace(resolved.train_config, seed=seed))
        run = new_run(
            path, corpus, _record(corpus, of_seed, val, test, start, taught), keep=keep, teacher=taught
        )
        return TrainingJob(corpus, of_seed, run, start=start, began=time.monotonic(), log=log, teacher=taught)

    return (job_of(seed, path) for seed, path in paths.items())


def _place(out: Source | None, corpus: Corpus) -> Path:
    return Path(out) if out is not None else new_run_path(Path(RUNS_FOLDER), corpus.name)


def _check_log(log: str | None) -> None:
    if log is None:
        return
    if log != "tensorboard":
        what, why = f"log is {log!r}", "tensorboard is the only log beside the run's own record"
        raise ConfigError(what, why=why, fix="use tensorboard, or leave it out")
    check_tensorboard()


def resume_job(
    path: Source,
    *,
    more_steps: int | None = None,
    text: Sequence[Source] | None = None,
    log: str | None = None,
    ranks: Ranks | None = None,
) -> TrainingJob:
    """Continue a run from its newest valid checkpoint, with the same settings and corpus.

    Args:
        path: the run folder.
        more_steps: extend the run by this many steps.
        text: where the corpus is now, if it moved.
        log: tensorboard, or None.
        ranks: the processes to lead, or None.

    Raises:
        RunError: the run does not exist, or its corpus has changed or cannot be read.
    """
    _check_log(log)
    began = time.monotonic()
    run = Run.open(Path(path))
    config, source = run.complete_config(), str(run.config_path)
    train_config = from_dict(TrainConfig, config["train"], source=source)
    if more_steps is not None:
        checkpoint, notes = run.newest_checkpoint()
        if checkpoint is None and run.model_path.exists():
            raise no_checkpoint(run, notes)
        train_config = extend(train_config, more_steps, 0 if checkpoint is None else checkpoint.step)
    train_config, notes = continued(train_config, run, ranks)
    notes += newer_names(run)
    resolved = Resolved(
        model_config=from_dict(ModelConfig, config["model"], source=source),
        train_config=train_config,
        recipe=config.get("recipe", "default"),
        reason=f"the settings of {run.path}",
        sample=config.get("sample", {}),
        notes=notes,
    )
    start = start_again(run, config)
    corpus = corpus_of(run, text)
    teacher = kept_teacher(run, config)
    if more_steps is not None:
        run.write_config(config | {"train": to_dict(train_config)})
    return TrainingJob(
        corpus,
        resolved,
        run,
        start=start,
        resume=True,
        began=began,
        log=log,
        ranks=ranks,
        teacher=teacher,
    )


def _record(
    corpus: Corpus,
    resolved: Resolved,
    val: Source | None,
    test: Source | None,
    start: StartingModel | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """The initial contents of ``config.json``."""
    began_with = {} if start is None else {"init_from": start.to_json()}
    began_with |= {} if teacher is None else {"teacher": teacher.to_json()}
    joined = {} if start is None else {"vocab": corpus.vocab.to_json()}  # the text alone does not tell it
    return {
        **began_with,
        "schema": 1,
        "text": to_dict(corpus.config),
        "model": to_dict(resolved.model_config),
        "train": to_dict(resolved.train_config),
        "sample": dict(resolved.sample),
        "recipe": resolved.recipe,
        "corpus": {
            "name": corpus.name,
            "sources": list(corpus.sources),
            "in_memory": not corpus.sources and corpus.name == "text",
            "val": None if val is None else absolute([val])[0],
            "test": None if test is None else absolute([test])[0],
            "sha256": corpus.sha256,
            "num_chars": corpus.num_chars,
            "vocab_size": len(corpus.vocab),
            "unit": corpus.vocab.unit,
            **joined,
        },
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
