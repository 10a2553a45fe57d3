"""A trained model as an object."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from charloom import threads
from charloom.api.bound_model import BoundModel, torch_module_code
from charloom.api.keywords import refuse_unknown, takes_settings
from charloom.api.sampling import start_samples
from charloom.api.scoring import measured_score, scoring_of
from charloom.api.settings import LearningSettings, SampleSettings
from charloom.config import DYNAMIC_SETTINGS, SampleConfig, TextConfig, TrainConfig
from charloom.ensemblefile import EnsembleFile, read_model_or_ensemble
from charloom.errors import ConfigError, RunError
from charloom.evaluation.memorisation import COPY_FROM_CHARS, Novelty, TrainingText, novelty_of
from charloom.evaluation.protocols import Protocol, Score
from charloom.evaluation.surprisal import Surprisals, surprisals_of
from charloom.generation import (
    DistinctSamples,
    Generation,
    Piece,
    Sample,
    Session,
    encode_prompt,
)
from charloom.modelfile import ModelFile
from charloom.run_corpus import Source
from charloom.runs import Run, is_shared_folder
from charloom.text import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class Model(BoundModel):
    """A trained model: it generates and scores text, shows its states, and is saved as one file."""

    @takes_settings(SampleConfig)
    def sample(
        self,
        prompt: str | None = None,
        *,
        stop: str | Sequence[str] = (),
        log_probs: bool = False,
        unique: bool = False,
        new: bool = False,
        **settings: Unpack[SampleSettings],
    ) -> list[Sample]:
        """Generate samples.

        Args:
            prompt: text to continue; None = `default_prompt`.
            stop: end a sample before the first of these, after normalising them as the training text was.
            log_probs: whether samples include the log-probability of each character.
            unique: whether no two samples may be equal; others are drawn instead, at most 20 times `count` or 100.
            new: whether no sample may stand in the training text: as a document, or anywhere if it has none.
            **settings: fields of `SampleConfig`, listed below; without a value, the recipe's or the default.

        Returns:
            `count` samples, each with its text, finish reason and seed; fewer, with a warning, if not enough were unique
            or new.

        Raises:
            RunError: `new`, and the run's corpus is not available.
            UnknownCharacterError: the prompt has an unknown character and `unknown` is error, or a stop text has one.
        """
        refuse_unknown(Model.sample, settings)
        events = self.generate(prompt, stop=stop, log_probs=log_probs, unique=unique, new=new, **settings)
        samples = [event for event in events if isinstance(event, Sample)]
        if isinstance(events, DistinctSamples) and events.shortfall is not None:
            warnings.warn(events.shortfall, stacklevel=2)
        return sorted(samples, key=lambda sample: sample.index)

    @takes_settings(SampleConfig)
    def stream(
        self, prompt: str | None = None, *, stop: str | Sequence[str] = (), **settings: Unpack[SampleSettings]
    ) -> Iterator[str]:
        """Generate one sample, yielding its text as it is generated; ``length=0`` never ends."""
        refuse_unknown(Model.stream, settings)
        one: SampleSettings = {**settings, "count": 1}
        for event in self.generate(prompt, stop=stop, **one):
            if isinstance(event, Piece):
                yield event.text

    @takes_settings(SampleConfig)
    def generate(
        self,
        prompt: str | None = None,
        *,
        stop: str | Sequence[str] = (),
        log_probs: bool = False,
        unique: bool = False,
        new: bool = False,
        on_note: Callable[[str], None] | None = None,
        config: SampleConfig | None = None,
        **settings: Unpack[SampleSettings],
    ) -> Generation | DistinctSamples:
        """Start generating: an iterator over pieces and finished samples (see `charloom.generation.generate`).

        Arguments are those of `sample`, with two more: `on_note` receives each note on the prompt; `config` is a result
        of `sample_config`, which saves resolving the settings again, and `settings` change it.
        """
        refuse_unknown(Model.generate, settings)
        config = self.sample_config(**settings) if config is None else dataclasses.replace(config, **settings)
        prompt = self.default_prompt if prompt is None else prompt
        return start_samples(
            self, prompt, config, stop=stop, log_probs=log_probs, unique=unique, new=new, on_note=on_note
        )

    @takes_settings(SampleConfig)
    def session(self, **settings: Unpack[SampleSettings]) -> Session:
        """Start a text that is fed and continued in steps: see `charloom.generation.Session`."""
        refuse_unknown(Model.session, settings)
        config = self.sample_config(**settings)
        seed = secrets.randbits(32) if config.seed is None else config.seed
        return Session.begin(self.decoder(config), self.vocab, self.file.text_config, config, seed=seed)

    @takes_settings(TrainConfig, only=DYNAMIC_SETTINGS)
    @threads.limited
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
        on_progress: Callable[[float], None] | None = None,
        **settings: Unpack[LearningSettings],
    ) -> Score:
        """Score held-out text.

        Args:
            text: files to score; None = a part of the run's own corpus.
            protocol: stream, windows or dynamic (see `charloom.evaluation.protocols`).
            window: characters per window (windows).
            num_windows: number of windows (windows).
            split: the part to score if no text is given: validation, test or train.
            seed: of the choice of windows (windows).
            on_note: called with each note on how the text was read.
            on_progress: called with the share of the text that is read, 0 … 1.
            **settings: how to learn while scoring: fields of `TrainConfig` (dynamic).

        Returns:
            The loss with its protocol and the numbers of scored and of unknown characters. Unknown characters of a
            text are charged by the rule of `charloom.text.oov`; ``<unk>`` in the run's own corpus costs its own
            probability only, as in training.

        Raises:
            ConfigError: a setting is unknown, or a protocol other than dynamic gets one.
        """
        refuse_unknown(Model.evaluate, settings)
        _check_protocol(protocol, settings)
        sizes = {"window": window, "num_windows": num_windows, "seed": seed}
        scoring = scoring_of(self, text, split, on_note)
        return measured_score(
            self, scoring, protocol, sizes=sizes, settings=settings, on_progress=on_progress
        )

    @threads.limited
    def score(self, text: str, *, on_progress: Callable[[float], None] | None = None) -> Surprisals:
        """Measure the surprisal of each character in one pass from the zero state: see `charloom.evaluation.surprisal`.

        Args:
            text: the text itself, at least one character; to score a file, read it first or use ``charloom score``.
            on_progress: called with the share of the text that is read, 0 … 1.

        Returns:
            The surprisal of each character in bits; its `oddities` are the least expected characters.
        """
        return surprisals_of(self.bound, self.vocab, text, self.file.text_config, on_progress=on_progress)

    def novelty(self, texts: str | Iterable[str], *, from_chars: int = COPY_FROM_CHARS) -> list[Novelty]:
        """Find passages of generated texts that are copied from the training part of the run's corpus.

        Args:
            texts: generated texts, without their prompts.
            from_chars: length of the shortest passage that counts as a copy, at least 1.

        Returns:
            One result per text.

        Raises:
            ConfigError: `from_chars` is below 1.
            RunError: the corpus is not available (see `corpus`).
        """
        if from_chars < 1:
            what, why = f"from_chars is {from_chars}", "the shortest copy has one character"
            raise ConfigError(what, why=why, fix="give 1 or more")
        corpus = self.corpus()
        training_text = TrainingText(corpus.train, corpus.vocab)
        return novelty_of(
            [texts] if isinstance(texts, str) else list(texts), training_text, from_chars=from_chars
        )

    @threads.limited
    def states(self, text: str, *, unknown: str = "error") -> list[dict[str, Float[Array, "T ..."]]]:
        """Return the state of every layer after each character of a text, from the zero state.

        Returns:
            One dict per layer with arrays (T, …) under h, c and conv.
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


def _check_protocol(protocol: str, settings: Iterable[str]) -> None:
    if protocol not in typing.get_args(Protocol):
        what, why = f"protocol is {protocol!r}", "there are three protocols"
        raise ConfigError(what, why=why, fix="use stream, windows or dynamic")
    if protocol != "dynamic" and (given := next(iter(settings), None)) is not None:
        raise ConfigError(
            f"evaluate() sets {given!r} with protocol {protocol}",
            why="only protocol dynamic trains while it scores",
            fix='leave it out, or set protocol="dynamic"',
        )


def load(path: Source, *, engine: str = "auto", device: str = "cpu", precision: str = "float32") -> Model:
    """Load a model or an ensemble from a run folder, a model file, or a folder for the Hugging Face Hub.

    Args:
        path: the folder or file.
        engine: auto, torch, scratch or fused.
        device: auto, cpu, cuda, cuda:N or mps; any model loads on any device.
        precision: float32 or float64.

    Raises:
        ModelFileError: the file is missing or damaged.
        RunError: the folder is not a run folder.
    """
    place = Path(path)
    place = Run(place).model_path if is_shared_folder(place) else place
    run = Run.open(place) if place.is_dir() else None
    file = read_model_or_ensemble(run.model_path if run is not None else place)
    if isinstance(file, EnsembleFile):
        run = _run_of(file, place)
    return Model(file, run, engine, device, precision)


def _run_of(file: EnsembleFile, place: Path) -> Run | None:
    """A run whose corpus is that of the whole ensemble, if the file names one that is still there."""
    corpus, names = file.card.get("corpus"), file.card.get("runs")
    if not isinstance(corpus, dict) or not isinstance(names, list):
        return None
    for name in names:
        run = Run(place.parent / str(name))
        with contextlib.suppress(RunError, KeyError, TypeError):
            if run.config_path.is_file() and run.config()["corpus"]["sha256"] == corpus.get("sha256"):
                return run
    return None


def from_torch(module: Any, vocabulary: Vocabulary, *, text_config: TextConfig | None = None) -> Model:
    """Make a model from a torch module.

    Args:
        module: from `Model.torch_module`, or any module with one `nn.RNN`, `nn.LSTM` or `nn.GRU`, one `nn.Linear` and
            at most one `nn.Embedding`.
        vocabulary: the characters of its ids, in order.
        text_config: how its training text was read.
    """
    config, params = torch_module_code().parameters_of(module, len(vocabulary))
    card = {"made_by": "from_torch"}
    return Model(ModelFile(params, config, text_config or TextConfig(), vocabulary, card))
