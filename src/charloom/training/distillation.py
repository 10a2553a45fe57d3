"""Knowledge distillation: a network learns from a text and from what another network expects at every character.

The teacher reads the training part once, before the first step, and its probabilities are kept in memory: they are the
same in every pass, so reading in every step would cost its forward pass each time. It may write text of its own before,
which follows the training part and is trained on with its probabilities alone (see `written_text`).

    p_t = teacher(x_1 … x_t)
    q_t = (1 − w) onehot(x_{t+1}) + w p_t          w = `teacher_weight`; 1 in what the teacher has written

q is kept in float16, (N + M − 1, V) for N characters of text and M of written text. The training minimises the
cross-entropy with q, and reports the loss of the characters themselves.

Source: Hinton, Vinyals & Dean (2015), "Distilling the knowledge in a neural network", at temperature 1; a chain, in which
each network is taught by the one before: Furlanello et al. (2018), "Born-again neural networks".
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import TrainConfig
from charloom.engines import EngineModel, State, load_engine
from charloom.ensemblefile import EnsembleFile, bound, read_model_or_ensemble
from charloom.errors import ConfigError, DataError
from charloom.evaluation.protocols import exact_segments, iterate_segments
from charloom.modelfile import ModelFile
from charloom.runs import Run, model_file_of
from charloom.text.batching import Plan, Window
from charloom.text.checksums import verify_windows
from charloom.text.corpus import Corpus
from charloom.text.prepared import open_prepared, write_prepared
from charloom.text.vocabulary import Vocabulary
from charloom.training.events import Preparing, announced
from charloom.training.written_text import is_whole, written_corpus

if TYPE_CHECKING:
    from jaxtyping import Float16, Int, UInt
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks


@dataclass(frozen=True)
class Teacher:
    """The model or ensemble that teaches, and the file that it was read from."""

    path: Path
    file: ModelFile | EnsembleFile

    @classmethod
    def read(cls, path: str | Path) -> Teacher:
        """Read a run's model, a model file or an ensemble.

        Raises:
            RunError: the folder is not a run folder.
            ModelFileError: the file is missing or damaged.
        """
        place = model_file_of(Path(path))
        return cls(place, read_model_or_ensemble(place))

    def to_json(self) -> dict[str, Any]:
        """What ``config.json`` and the model card record."""
        return {"path": str(self.path.absolute())}

    def check(self, vocab: Vocabulary, config: TrainConfig) -> None:
        """Refuse a training that this model cannot teach.

        Raises:
            ConfigError: its characters are not those of the text, or a setting does not go with a teacher.
        """
        if self.file.vocab.to_json() != vocab.to_json():
            raise ConfigError(
                f"the teacher {self.path} has other characters ({len(self.file.vocab)}) than the text ({len(vocab)})",
                why="its probabilities are of its own characters, in their order",
                fix="train the teacher on the same text with the same settings of the text",
            )
        settings: Mapping[str, bool] = {
            f"engine is {config.engine}": config.engine != "torch",
            "wrap_targets is on": config.wrap_targets,
        }
        what = next((what for what, is_so in settings.items() if is_so), None)
        if what is not None:
            raise ConfigError(
                f"{what}, and there is a teacher",
                why="only the torch engine learns from a teacher's probabilities, and those are of the text as it stands",
                fix="use --engine torch without --wrap-targets (pip install 'charloom[train]'), or leave out --teacher",
            )

    def reader(self) -> EngineModel:
        """The teacher on the engine that reads fastest."""
        return bound(self.file, load_engine("auto", task="scoring"))

    def writer(self, num_threads: int) -> EngineModel:
        """The teacher on the engine that writes fastest, in the precision of `reader`: it writes what it expects."""
        engine = load_engine("auto", task="writing")
        how = {"precision": "float32", "threads": num_threads} if engine.name == "fused" else {}
        return bound(self.file, engine, **how)


def teacher_for(
    path: str | Path | None, corpus: Corpus, config: TrainConfig, ranks: Ranks | None = None
) -> Teacher | None:
    """Read the model that a training asks for, and check that it can teach it; None if it asks for none.

    Raises:
        ConfigError: it cannot; see `Teacher.check`.
        RunError: the folder is not a run folder.
        ModelFileError: the file is missing or damaged.
    """
    if path is None:
        return None
    if ranks is not None:
        what, why = "--teacher under torchrun", "its probabilities are kept in the memory of one process"
        raise ConfigError(what, why=why, fix="train in one process, or leave out --teacher")
    teacher = Teacher.read(path)
    teacher.check(corpus.vocab, config)
    return teacher


def kept_teacher(run: Run, config: Mapping[str, Any]) -> Teacher | None:
    """The teacher of a run that is resumed, if it has one.

    Its copy is in the run folder, unless the process ended before it was made: then it is where it was.

    Raises:
        ModelFileError: it is missing or damaged.
    """
    if "teacher" not in config:
        return None
    return Teacher.read(run.teacher_path if run.teacher_path.exists() else config["teacher"]["path"])


def soft_targets(
    teacher: EngineModel, ids: Int[Array, "N"], vocab_size: int, *, boundary_id: int | None = None
) -> Generator[float, None, Float16[Array, "M V"]]:
    """What a teacher expects after each character but the last, in steps: yields the share that is read.

    Args:
        teacher: the model.
        ids: the training part.
        vocab_size: V.
        boundary_id: the symbol before which state is reset, or None.

    Returns:
        Probabilities (N − 1, V), float16.
    """
    num = len(ids) - 1
    found: Array = np.empty((num, vocab_size), np.float16)
    segments, done = exact_segments(num), 0

    def read(window: Window, state: State) -> tuple[Array, State]:
        return teacher.forward(window.inputs, state, window.resets)

    state = teacher.initial_state(len(segments[0]))
    for positions, counted, logits in iterate_segments(read, state, ids, segments, boundary_id=boundary_id):
        found[positions[counted]] = _softmax(logits[counted])
        done += int(counted.sum())
        yield done / num
    return found


@dataclass(frozen=True)
class Lesson:
    """What a training reads.

    Attributes:
        ids: the training part, and what the teacher has written, (N + M,).
        targets: what the network should expect after each but the last, (N + M − 1, V); None without a teacher.
        notes: what the user should know.
    """

    ids: UInt[Array, " K"]
    targets: Float16[Array, "J V"] | None = None
    notes: tuple[str, ...] = ()

    def plan(self, corpus: Corpus, config: TrainConfig) -> Plan:
        """The windows of the training."""
        return Plan(self.ids, config, boundary_id=corpus.vocab.boundary_id, soft_targets=self.targets)


def num_written(config: TrainConfig, teacher: Teacher | None) -> int:
    """How many characters a teacher writes: none without one."""
    return 0 if teacher is None else config.written_chars


def prepare_lesson(
    corpus: Corpus, config: TrainConfig, run: Run, teacher: Teacher | None, *, num_threads: int = 1
) -> Generator[Preparing, None, Lesson]:
    """Let the teacher write and read all that the training needs, and yield what it is doing.

    What it writes is kept in the run folder, where a resume finds it, complete or not.

    Raises:
        DataError: what it has written is damaged.
    """
    if teacher is None:
        return Lesson(corpus.train)
    ids, number = _verified(corpus.train), config.written_chars
    notes: tuple[str, ...] = ()
    if number:
        written = _read_written(run.written_path, corpus, number)
        if written is None or len(written.train) < number:
            keep = partial(write_prepared, out=run.written_path)
            writer = teacher.writer(num_threads)
            writing = written_corpus(writer, corpus, number, config.seed, before=written, keep=keep)
            written = yield from announced("the teacher writes", writing, Preparing)
        ids = np.concatenate([ids, written.train])
        notes = (f"the network also trains on {number:,} characters that its teacher wrote",)
    reading = mixed_targets(teacher, corpus, ids, config)
    targets = yield from announced("the teacher reads", reading, Preparing)
    return Lesson(ids, targets, notes)


def _read_written(path: Path, corpus: Corpus, number: int) -> Corpus | None:
    """What a teacher has written for this run so far, if it has begun."""
    if not path.exists():
        return None
    written = open_prepared(path)
    written = replace(written, train=_verified(written.train))
    fits = written.vocab.to_json() == corpus.vocab.to_json() and len(written.train) <= number
    if not fits or (len(written.train) < number and not is_whole(written)):
        raise DataError(
            f"{path} is not the text that the teacher of this run has written",
            why=f"it has {len(written.train):,} characters of a vocabulary of {len(written.vocab)}; "
            f"the run needs {number:,} of {len(corpus.vocab)}",
            fix="delete it: the teacher then writes its text again",
        )
    return written


def _verified(ids: UInt[Array, " N"]) -> UInt[Array, " N"]:
    """The ids as a plain array, after their checksums were compared, if they are in a file."""
    verify_windows(ids, np.zeros(1, np.int64), len(ids))
    return np.asarray(ids).view(np.ndarray)


def mixed_targets(
    teacher: Teacher, corpus: Corpus, ids: UInt[Array, " K"], config: TrainConfig
) -> Generator[float, None, Float16[Array, "J V"]]:
    """What a network should expect after each character but the last, in steps: yields the share that is done.

    Args:
        teacher: the model.
        corpus: the text, whose training part has N characters.
        ids: the training part, and what the teacher has written.
        config: the teacher's share in the targets of the text.

    Returns:
        q of this module, (N + M − 1, V), float16; a character's row has the targets of the next.
    """
    w, vocab, num_own = config.teacher_weight, corpus.vocab, len(corpus.train) - 1
    unread = num_own if w == 0 else 0
    found: Array = np.zeros((len(ids) - 1, len(vocab)), np.float16)
    if unread < len(found):
        steps = soft_targets(teacher.reader(), ids[unread:], len(vocab), boundary_id=vocab.boundary_id)
        found[unread:] = yield from steps
    own = found[:num_own]
    own *= np.float16(w)
    own[np.arange(num_own), ids[1 : num_own + 1]] += np.float16(1 - w)
    return found


def _softmax(logits: Array) -> Array:
    values: Array = logits.astype(np.float32) - logits.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values
