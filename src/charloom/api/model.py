"""A trained model as an object: it writes, scores, shows its states, and is saved as one file."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from charloom.config import (
    SampleConfig,
    TextConfig,
    from_dict,
    nearest,
)
from charloom.engines import Model as EngineModel
from charloom.engines import load_engine
from charloom.errors import ConfigError, DataError, RunError, missing_extra
from charloom.evaluation.copies import COPY_FROM_CHARS, Novelty, TrainingText, novelty_of
from charloom.evaluation.dynamic import dynamic_score
from charloom.evaluation.protocols import Protocol, Score, stream_loss, windows_loss
from charloom.evaluation.surprisal import Surprisals, surprisals_of
from charloom.generation import Piece, Sample, Session, Writing, encode_prompt, write
from charloom.launch import Source, corpus_of
from charloom.modelfile import ModelFile, read_model, write_model
from charloom.runs import Run
from charloom.text import Corpus, Vocabulary, encode_for_scoring, read_text

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


@dataclass(frozen=True)
class Model:
    """A trained model: it writes, scores, shows its states, and is saved as one file.

    Attributes:
        file: parameters, configurations, vocabulary and card.
        run: the run folder it came from, or None.
        engine: torch, scratch or fused; auto scores with torch where it is installed, and on a processor writes with fused.
        device: where it computes.
        precision: float32 or float64; the fused engine also has int8.
    """

    file: ModelFile
    run: Run | None = None
    engine: str = "auto"
    device: str = "cpu"
    precision: str = "float32"
    _writers: dict[Any, EngineModel] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def vocab(self) -> Vocabulary:
        """The characters it knows."""
        return self.file.vocab

    @property
    def card(self) -> dict[str, Any]:
        """What it was trained on, how, and with what result."""
        return self.file.card

    @cached_property
    def bound(self) -> EngineModel:
        """The parameters bound to the engine: `initial_state`, `forward`, `step`."""
        return load_engine(self.engine).model(
            self.file.parameters, self.file.model_config, device=self.device, precision=self.precision
        )

    def writer(self, config: SampleConfig) -> EngineModel:
        """The parameters bound to the engine that writes, which a sample's own settings may name; kept for the next time."""
        engine = self.engine if config.engine == "auto" else config.engine
        task: Literal["training", "writing"] = "writing" if self.device in ("auto", "cpu") else "training"
        precision = self.precision if config.precision == "float32" else config.precision
        key = (engine, precision, config.threads)
        if key not in self._writers:
            self._writers[key] = load_engine(engine, task=task).model(
                self.file.parameters,
                self.file.model_config,
                device=self.device,
                precision=precision,
                threads=config.threads,
            )
        return self._writers[key]

    @property
    def default_prompt(self) -> str:
        """What its recipe begins samples with, where the model knows every character of it; else nothing."""
        prompt: str = self.card.get("sample", {}).get("prompt", "")
        return "" if self.vocab.unknown(prompt) else prompt

    def sample(
        self,
        prompt: str | None = None,
        *,
        stop: str | Sequence[str] = (),
        log_probs: bool = False,
        **settings: Any,
    ) -> list[Sample]:
        """Write samples.

        Args:
            prompt: text to continue; none = `default_prompt`.
            stop: a sample ends before the first of these.
            log_probs: whether samples come with the log-probability of each character.
            **settings: fields of `SampleConfig`: length, count, temperature, top_k, top_p, min_p, seed, unknown …

        Returns:
            `count` samples, each with its text, finish reason and seed.
        """
        writing = self.write(prompt, stop=stop, log_probs=log_probs, **settings)
        return sorted((event for event in writing if isinstance(event, Sample)), key=lambda done: done.index)

    def stream(
        self, prompt: str | None = None, *, stop: str | Sequence[str] = (), **settings: Any
    ) -> Iterator[str]:
        """Write one sample, yielding its text as it comes; ``length=0`` goes on for ever."""
        for event in self.write(prompt, stop=stop, **settings | {"count": 1}):
            if isinstance(event, Piece):
                yield event.text

    def write(
        self,
        prompt: str | None = None,
        *,
        stop: str | Sequence[str] = (),
        log_probs: bool = False,
        on_note: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> Writing:
        """Begin to write: an iterator of pieces and finished samples; see `charloom.generation.write`."""
        config = self.sample_config(**settings)
        prompt = self.default_prompt if prompt is None else prompt
        ids, notes = encode_prompt(prompt, self.vocab, config.unknown, self.file.text_config)
        if on_note is not None:
            for note in notes:
                on_note(note)
        seed = secrets.randbits(32) if config.seed is None else config.seed
        return write(
            self.writer(config), self.vocab, [ids], config, seed=seed, stop=stop, log_probs=log_probs
        )

    def sample_config(self, **settings: Any) -> SampleConfig:
        """The settings of a sample: these, then its recipe's, then the defaults."""
        defaults = {name: value for name, value in self.card.get("sample", {}).items() if name != "prompt"}
        return from_dict(SampleConfig, {**defaults, **settings}, source="sample")

    def session(self, **settings: Any) -> Session:
        """Begin a text that is fed and continued: see `charloom.generation.Session`."""
        config = self.sample_config(**settings)
        seed = secrets.randbits(32) if config.seed is None else config.seed
        return Session.begin(self.writer(config), self.vocab, self.file.text_config, config, seed=seed)

    def evaluate(
        self,
        text: Source | Sequence[Source] | None = None,
        *,
        protocol: Protocol = "stream",
        window: int = 256,
        num_windows: int = 200 * 64,
        split: str = "validation",
        seed: int = 0,
        on_note: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> Score:
        """Score held-out text.

        Args:
            text: files to score; None scores a part of the run's own corpus.
            protocol: stream, windows or dynamic (see `charloom.evaluation.protocols`).
            window: characters of a window (windows).
            num_windows: how many (windows).
            split: validation, test or train, where no text is given.
            seed: chooses the windows.
            on_note: called with each sentence on how the text was read.
            **settings: how to learn while scoring (dynamic): fields of `TrainConfig`.

        Returns:
            The loss with its protocol, the characters counted and the unknown ones.
        """
        ids, unknown, extra_nats = self._ids_to_score(text, split, on_note)
        boundary = self.vocab.boundary_id
        if protocol == "dynamic":
            score = dynamic_score(
                self.file.parameters,
                self.file.model_config,
                ids,
                settings=settings,
                engine=self.engine,
                device=self.device,
                boundary_id=boundary,
            )
        elif protocol == "windows":
            score = windows_loss(
                self.bound, ids, window=window, num_windows=num_windows, seed=seed, boundary_id=boundary
            )
        elif protocol == "stream":
            score = stream_loss(self.bound, ids, boundary_id=boundary)
        else:
            raise ConfigError(
                f"protocol is {protocol!r}",
                why="losses are measured by three protocols",
                fix="use stream, windows or dynamic",
            )
        loss = score.loss_nats + extra_nats / max(1, len(ids) - 1)
        return dataclasses.replace(score, loss_nats=loss, unknown_chars=unknown)

    def score(self, text: str) -> Surprisals:
        """Charge each character of a text in one pass from the zero state: see `charloom.evaluation.surprisal`.

        Args:
            text: the text itself, at least one character; to score a file, read it first, or use ``charloom score``.

        Returns:
            The surprisal of each character in bits; its `oddities` are those that were least expected.
        """
        return surprisals_of(self.bound, self.vocab, text, self.file.text_config)

    def novelty(self, texts: str | Sequence[str], *, from_chars: int = COPY_FROM_CHARS) -> list[Novelty]:
        """Judge what of generated texts stands verbatim in the training part of the run's corpus.

        Args:
            texts: what a model wrote, without its prompts.
            from_chars: the shortest stretch that is called a copy, at least 1.

        Returns:
            One judgement a text.

        Raises:
            ConfigError: `from_chars` is below 1.
            RunError: the corpus is not at hand (see `corpus`).
        """
        if from_chars < 1:
            raise ConfigError(
                f"from_chars is {from_chars}",
                why="the shortest copy has one character",
                fix="give 1 or more",
            )
        corpus = self.corpus()
        each = [texts] if isinstance(texts, str) else list(texts)
        return novelty_of(each, TrainingText(corpus.train, corpus.vocab), from_chars=from_chars)

    def states(self, text: str, *, unknown: str = "error") -> list[dict[str, Float[Array, "T ..."]]]:
        """The state of every layer after each character of a text, from zero state.

        Returns:
            One dict a layer, its arrays (T, …) under h, c and conv.
        """
        ids, _ = encode_prompt(text, self.vocab, unknown, self.file.text_config)  # type: ignore[arg-type]
        state, states = self.bound.initial_state(1), []
        for char_id in ids:
            _, state = self.bound.step(np.array([char_id]), state)
            states.append(self.bound.export_state(state))
        return [
            {key: np.stack([at[i][key][0] for at in states]) for key in layer} if states else {}
            for i, layer in enumerate(self.bound.export_state(state))
        ]

    def torch_module(self) -> Any:
        """The network as a `torch.nn.Module`: ``logits, state = module(ids, state)``."""
        module = _torch_module()
        return module.CharModule(self.file.model_config, self.file.parameters, len(self.vocab))

    def save(self, path: Source) -> None:
        """Write the model as one safetensors file."""
        write_model(Path(path), self.file)

    def reading(self, encoding: str | None = None) -> TextConfig:
        """How another text is read for this model: as its own was, in whatever encoding it has, and to its end.

        Args:
            encoding: of that text; None = found out.
        """
        return dataclasses.replace(self.file.text_config, encoding=encoding, take_chars=None)

    def corpus(self) -> Corpus:
        """The corpus of the run this model came from, read again and checked.

        Raises:
            RunError: the model came without its run, or the corpus was changed or moved.
        """
        if self.run is None:
            raise RunError(
                "this model came as a file, without its run",
                why="only a run folder knows where its corpus is",
                fix="name a text to score, or the run folder",
            )
        return corpus_of(self.run)

    def _ids_to_score(
        self, text: Source | Sequence[Source] | None, split: str, on_note: Callable[[str], None] | None
    ) -> tuple[Any, int, float]:
        if text is None:
            parts = ("train", "validation", "test")
            if split not in parts:
                raise ConfigError(
                    f"split is {split!r}",
                    why="a run's corpus has three parts",
                    fix=f"use {nearest(split, parts) or 'validation'}",
                )
            part = getattr(self.corpus(), split)
            if part is None or len(part) < 2:
                raise DataError(
                    f"the run has no {split} part",
                    why="it was trained without one",
                    fix="name a text to score, or train with --val-fraction 0.1 or --test FILE",
                )
            return part, 0, 0.0
        sources = [text] if isinstance(text, (str, Path)) else list(text)
        words, notes = read_text(sources, self.reading())
        if on_note is not None:
            for note in notes:
                on_note(note)
        scoring = encode_for_scoring(self.vocab, words, self.file.text_config)
        charged = int((scoring.ids[1:] == self.vocab.unk_id).sum()) if self.vocab.unk_id is not None else 0
        return scoring.ids, scoring.num_unknown, charged * scoring.extra_nats


def load(path: Source, *, engine: str = "auto", device: str = "cpu", precision: str = "float32") -> Model:
    """Load a model from a run folder or a model file.

    Args:
        path: the folder or file.
        engine: who computes.
        device: where; any model loads on any device.
        precision: float32 or float64.

    Raises:
        ModelFileError: the file is missing or damaged.
        RunError: the folder is no run.
    """
    place = Path(path)
    run = Run.open(place) if place.is_dir() else None
    file = read_model(run.model_path if run is not None else place)
    return Model(file, run, engine, device, precision)


def from_torch(module: Any, vocabulary: Vocabulary, *, text_config: TextConfig | None = None) -> Model:
    """Make a model of a torch module.

    Args:
        module: from `Model.torch_module`, or any module with one `nn.RNN`, `nn.LSTM` or `nn.GRU`, one `nn.Linear` and at
            most one `nn.Embedding`.
        vocabulary: the characters behind its ids, in order.
        text_config: how its text was read.
    """
    config, params = _torch_module().parameters_of(module, len(vocabulary))
    return Model(
        ModelFile(params, config, text_config or TextConfig(), vocabulary, {"made_by": "from_torch"})
    )


def _torch_module() -> Any:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "torch_module and from_torch")
    from charloom.engines.torch import module

    return module
