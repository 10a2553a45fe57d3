"""Knowledge distillation: a network learns from a text and from what another network expects at every character of it.

The teacher reads the training part once, before the first step, and its probabilities are kept in memory: they are the
same in every pass, so reading in every step would cost its forward pass each time. `engines.torch.train_step` mixes them
with the text's own characters.

    p_t = teacher(x_1 … x_t)        kept in float16, (N − 1, V)

Source: Hinton, Vinyals & Dean (2015), "Distilling the knowledge in a neural network"; a chain, in which each network is
taught by the one before: Furlanello et al. (2018), "Born-again neural networks".
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import TrainConfig
from charloom.engines import EngineModel, State, load_engine
from charloom.engines.ensemble import EnsembleModel
from charloom.ensemblefile import EnsembleFile, members_of, read_model_or_ensemble
from charloom.errors import ConfigError
from charloom.evaluation.protocols import exact_segments, iterate_segments
from charloom.modelfile import ModelFile
from charloom.runs import Run, model_file_of
from charloom.steps import result_of
from charloom.text.batching import Window
from charloom.text.corpus import Corpus
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float16, Int
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

    def model(self) -> EngineModel:
        """The teacher on the engine that reads fastest."""
        engine = load_engine("auto", task="scoring")
        models = [engine.model(file.parameters, file.model_config) for file in members_of(self.file)]
        return models[0] if len(models) == 1 else EnsembleModel(models)


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


def soft_targets_for(teacher: Teacher, corpus: Corpus) -> Float16[Array, "M V"]:
    """The soft targets of a corpus's training part."""
    vocab = corpus.vocab
    steps = soft_targets(teacher.model(), corpus.train, len(vocab), boundary_id=vocab.boundary_id)
    return result_of(steps)


def _softmax(logits: Array) -> Array:
    values: Array = logits.astype(np.float32) - logits.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values
