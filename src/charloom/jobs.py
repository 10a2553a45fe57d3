"""Set up training jobs, new or resumed: check the settings, read the corpus, create the run folder.

`new_job` and `resume_job` return a `TrainingJob`, whose events are the training itself. The settings of a run are
recorded in its ``config.json``, and everything here reads them from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.config import (
    ModelConfig,
    TrainConfig,
    from_dict,
    to_dict,
    without_effect,
)
from charloom.distributed import Launch
from charloom.engines import auto_engine, load_engine
from charloom.errors import ConfigError
from charloom.recipes import Recipe, Resolved, find_recipe, resolve
from charloom.recipes.fine_tune import StartingModel, start_again
from charloom.recipes.resolve import check_settings, text_config
from charloom.run_corpus import Source, corpus_of, keeps_text, new_run
from charloom.runs import Run, new_run_path, newer_names, no_checkpoint
from charloom.tensorboard_log import check_tensorboard, logged
from charloom.text import (
    Corpus,
    corpus_from_text,
    is_documents,
    read_corpus,
)
from charloom.text.inputs import absolute
from charloom.training import Event, extend
from charloom.training import train as run_training
from charloom.training.distillation import Teacher, kept_teacher, teacher_for
from charloom.training.ranks import continued, for_ranks
from charloom.versions import versions

if TYPE_CHECKING:
    from charloom.distributed.ranks import Ranks

RUNS_FOLDER = "runs"

WITHOUT_TORCH = (
    "PyTorch is not installed, so the scratch engine trains; "
    "pip install 'charloom[train]' adds residual networks and GPUs"
)

Text = str | bytes | Iterable[str]
"""A text in memory, or documents."""


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


def set_up(
    sources: Sequence[Source],
    recipe: str | None,
    settings: Mapping[str, Any],
    start: StartingModel | None,
    *,
    text: Text | None,
    val: Source | None,
    test: Source | None,
    is_taught: bool = False,
    launch: Launch | None = None,
) -> tuple[Corpus, Resolved]:
    """The corpus, and the settings for it and for this machine, or for the processes of a launch."""
    named, corpus = _read(sources, recipe, settings, start, text=text, val=val, test=test)
    resolved = settings_for(corpus, named, settings, launch=launch)
    if start is not None:
        start.check(resolved.model_config)
        corpus = start.widened(corpus)
    idle = without_effect(
        {**(named.settings if named else {}), **settings},
        corpus.config,
        resolved.model_config,
        resolved.train_config,
        validates_on_file=val is not None,
        is_taught=is_taught,
    )
    return corpus, replace(resolved, notes=idle)


def settings_for(
    corpus: Corpus, recipe: Recipe | None, settings: Mapping[str, Any], *, launch: Launch | None = None
) -> Resolved:
    """Resolve all settings for a corpus and this machine, or the processes of a launch, and check that the engine can train them.

    Raises:
        ConfigError: they are not allowed, or the engine cannot train such a network.
    """
    recipe_settings = recipe.settings if recipe else {}
    asked = {key: settings.get(key) or recipe_settings.get(key) or "auto" for key in ("engine", "device")}
    engine = load_engine(asked["engine"])
    resolved = resolve(
        recipe,
        {**settings, "engine": engine.name},
        num_chars=len(corpus.train),
        device=engine.resolve_device(asked["device"]),
    )
    if asked["engine"] == "auto" and engine.name == "scratch":
        resolved = replace(resolved, reason=f"{resolved.reason}; {WITHOUT_TORCH}")
    if launch is not None:
        device = resolved.train_config.device
        device = engine.resolve_device(device).partition(":")[0]
        resolved = replace(resolved, train_config=for_ranks(resolved.train_config, launch, device=device)[0])
    engine.check(resolved.model_config, resolved.train_config)
    return resolved


def check_job(
    *sources: Source,
    recipe: str | None = None,
    val: Source | None = None,
    test: Source | None = None,
    is_taught: bool = False,
    **settings: Any,
) -> tuple[Corpus, Resolved]:
    """Return the corpus and settings that `new_job` would use, with all its checks but the teacher's; no folder is created."""
    return set_up(sources, recipe, settings, None, text=None, val=val, test=test, is_taught=is_taught)


def resolve_job(source: Source, *, recipe: str | None = None, **settings: Any) -> tuple[Corpus, Resolved]:
    """Return the corpus and settings that `new_job` would use on a CPU; no folder is created, no engine loaded."""
    named, corpus = _read([source], recipe, settings)
    engine = settings.get("engine") or (named.settings if named else {}).get("engine") or "auto"
    engine = auto_engine() if engine == "auto" else engine
    return corpus, resolve(named, settings | {"engine": engine}, num_chars=len(corpus.train))


def _read(
    sources: Sequence[Source],
    recipe: str | None,
    settings: Mapping[str, Any],
    start: StartingModel | None = None,
    *,
    text: Text | None = None,
    val: Source | None = None,
    test: Source | None = None,
) -> tuple[Recipe | None, Corpus]:
    """Return the recipe and the corpus; every setting is checked before any text is read."""
    named = None if recipe is None else find_recipe(recipe)
    if start is not None:
        named = start.recipe if named is None else start.recipe.overridden_by(named)
    _check_sources(sources, text)
    chosen = {**(named.settings if named else {}), **settings}
    documents = {"documents": "file"} if is_documents(text) and "documents" not in chosen else {}
    config = text_config(named, {**documents, **settings} if text is not None else settings)
    check_settings(named, settings)
    if text is not None:
        return named, corpus_from_text(text, config, val=val, test=test)
    return named, read_corpus([str(source) for source in sources], config, val=val, test=test)


def _check_sources(sources: Sequence[Source], text: Text | None) -> None:
    """Refuse a text in memory given as a source, and a text given twice."""
    for source in sources:
        if not isinstance(source, str | Path):
            raise ConfigError(
                f"a source is {source!r:.60}, of type {type(source).__name__}",
                why="sources are names of files and folders",
                fix="pass documents as text=, for example charloom.train(text=documents)",
            )
    if sources and text is not None:
        what, why = f"{sources[0]} and a text in memory are both given", "a run has one corpus"
        raise ConfigError(what, why=why, fix="keep one of them")


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
