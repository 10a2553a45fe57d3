"""A model that is served: its file, bound to an engine that decodes many rows in one call, and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from charloom.config import SampleConfig, from_dict
from charloom.engines import BatchDecoder, EngineModel, load_engine
from charloom.errors import ConfigError
from charloom.modelfile import ModelFile, read_model
from charloom.runs import model_file_of
from charloom.serve.limits import Limits
from charloom.serve.need import serving_need
from charloom.text import Vocabulary


class Decoder(EngineModel, BatchDecoder, Protocol):
    """An engine's model that reads prompts and decodes rows."""


@dataclass(frozen=True)
class ServedModel:
    """A model and the name that requests give.

    Attributes:
        name: of its run folder or file.
        file: parameters, configurations, vocabulary and card.
        decoder: the parameters bound to the fused engine.
        created: seconds since 1970 at which its file was written.
        report: where ``charloom inspect`` writes the run's report; None for a model file.
    """

    name: str
    file: ModelFile
    decoder: Decoder
    created: int
    report: Path | None = None

    @property
    def has_report(self) -> bool:
        """Whether the run was inspected."""
        return self.report is not None and self.report.is_file()

    @property
    def vocab(self) -> Vocabulary:
        """The characters that the model knows."""
        return self.file.vocab

    def sample_config(self, **settings: Any) -> SampleConfig:
        """Sampling settings: those given, then the recipe's, then the defaults, as ``charloom sample`` has them.

        Raises:
            ConfigError: a value is out of bounds.
        """
        recipe = {name: value for name, value in self.file.card.get("sample", {}).items() if name != "prompt"}
        return from_dict(SampleConfig, {**recipe, **settings}, source="the request")

    @cached_property
    def token_names(self) -> tuple[str, ...]:
        """How each id is written in log-probabilities: its character, or ``bytes:\\xNN`` for a byte that is none."""
        vocab = self.vocab
        if vocab.unit == "char":
            return (*map(chr, vocab.symbols), *vocab.specials)
        names = (chr(byte) if byte < 0x80 else f"bytes:\\x{byte:02x}" for byte in vocab.symbols)
        return (*names, *vocab.specials)


def load_models(
    places: Sequence[str], *, precision: str = "float32", limits: Limits | None = None
) -> dict[str, ServedModel]:
    """Load run folders and model files, by name, if a server of them with these limits fits into memory.

    Raises:
        OutOfMemoryError: it does not.
        ConfigError: two have one name, or this platform has no compiled kernels.
        ModelFileError: a file is missing or damaged.
        RunError: a folder is not a run folder.
    """
    models: dict[str, ServedModel] = {}
    paths = [model_file_of(Path(place)) for place in places]
    serving_need([path for path in paths if path.is_file()], limits or Limits()).check()
    for place, file_path in zip(places, paths, strict=True):
        path = Path(place)
        name = _name(path)
        if name in models:
            raise ConfigError(
                f"two models have the name {name!r}",
                why="a request chooses a model by the name of its folder or file",
                fix="rename one of them",
            )
        file = read_model(file_path)
        decoder: Any = load_engine("fused").model(file.parameters, file.model_config, precision=precision)
        report = path / "report.html" if path.is_dir() else None
        models[name] = ServedModel(name, file, decoder, int(file_path.stat().st_mtime), report)
    return models


def _name(path: Path) -> str:
    """``tales`` for ``runs/tales``, ``runs/tales/model.safetensors`` and ``tales.safetensors``."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.name == "model.safetensors" else path.stem
