"""A session: one text that the model reads and continues, in any order and any number of times.

    session.feed("Once upon")    the model reads
    session.generate(200)        the model continues the text
    other = session.fork()       the same point in the same text; both continue independently
    session.save(path)           the session in one file, without the model

The generated text depends on the seed, the settings and the text so far, not on how it is split into calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import SampleConfig, TextConfig, from_dict, to_dict
from charloom.engines import DecodeState
from charloom.generation.decoding import new_sampler
from charloom.generation.generate import penalty_window, sampling_params
from charloom.generation.prefill import READ_LENGTH, prefill_batch, with_bos
from charloom.generation.prompts import encode_prompt
from charloom.generation.sample_text import SampleText
from charloom.modelfile import (
    check_tensors,
    damaged,
    damaged_value,
    load_tensors,
    read_header,
    write_tensors,
)
from charloom.schema import MalformedError, Schema, json_value
from charloom.schema.documents import SessionRecord

if TYPE_CHECKING:
    from charloom.engines import EngineModel
    from charloom.text.vocabulary import Vocabulary

FORMAT = "charloom-session-1"
"""The format name in the header of a saved session."""


class Session:
    """A text in progress; start one with `begin`, or with `EngineModel.session` for a loaded model.

    Args:
        model: a model of any engine, with its `vocab`.
        text_config: the training text's settings; text that is fed gets the same normal form.
        config: temperature, filters and penalty; its length and count are not used.
        seed: with `sample`, it determines the draws.
        sample: the number of the sample whose draws the session has.
        samples: the state after the text so far, one row; None if nothing has been read.

    Attributes:
        ended: whether the model has ended the document and nothing was read since.
    """

    def __init__(
        self,
        model: EngineModel,
        vocab: Vocabulary,
        text_config: TextConfig,
        config: SampleConfig,
        *,
        seed: int,
        sample: int = 0,
        samples: DecodeState | None = None,
    ) -> None:
        self._model, self._vocab, self._text_config = model, vocab, text_config
        self._config, self.seed, self.sample, self._samples = config, seed, sample, samples
        self.ended = False

    @classmethod
    def begin(
        cls,
        model: EngineModel,
        vocab: Vocabulary,
        text_config: TextConfig,
        config: SampleConfig,
        *,
        seed: int,
    ) -> Session:
        """Start a session in which nothing has been read."""
        return cls(model, vocab, text_config, config, seed=seed)

    def feed(self, text: str) -> tuple[str, ...]:
        """Let the model read a text after everything it has read and generated so far.

        Returns:
            One note per unknown character that `config.unknown` left out or changed.

        Raises:
            UnknownCharacterError: as in `encode_prompt`; nothing is read in that case.
        """
        ids, notes = encode_prompt(text, self._vocab, self._config.unknown, self._text_config)
        self.ended = False
        if self._samples is None:
            prompt, window = with_bos(ids, self._vocab), penalty_window(self._config)
            self._samples = prefill_batch(self._model, [prompt], [self.sample], window)
            return notes
        for start in range(0, len(ids), READ_LENGTH):
            self._samples = self._read(self._samples, ids[start : start + READ_LENGTH])
        return notes

    def _read(self, samples: DecodeState, ids: Any) -> DecodeState:
        logits, state = self._model.forward(ids[None], samples.state)
        recent = samples.recent
        if recent.shape[1] > 0:  # a ring buffer: sort by age, append, rotate back to the write position
            W, turn = recent.shape[1], int(samples.positions[0]) % recent.shape[1]
            by_age = np.concatenate([np.roll(recent[0], -turn), ids])[-W:]
            recent = np.roll(by_age, turn)[None]
        return replace(samples, logits=logits[:, -1], state=state, recent=recent)

    def generate(self, length: int) -> str:
        """Generate `length` characters; fewer if the model ends the document."""
        return "".join(self.stream(length))

    def stream(self, length: int = 0, *, stopped: Callable[[], bool] | None = None) -> Iterator[str]:
        """Yield generated text as it arrives; length 0 = until the model ends the document, or forever.

        The text becomes part of the session only if the iterator is exhausted. `stopped` is asked every few hundredths
        of a second; if it returns True, the text ends there.
        """
        if self._samples is None:
            self.feed("")
        assert self._samples is not None
        text = SampleText(0, "", self._vocab, length=length or None)
        params = sampling_params(self._config, self._vocab, self.seed)
        sampler = new_sampler(self._model, self._samples, params)
        while text.finish_reason is None:
            ids, lengths, _ = sampler.decode(text.max_ids)
            yield from text.add(ids[0, : lengths[0]])
            if text.finish_reason is None and stopped is not None and stopped():
                yield from text.finish("interrupted")
        self._samples, self.ended = sampler.current(), text.finish_reason == "boundary"

    def fork(self) -> Session:
        """A session at the same point; nothing is copied until one of the two continues."""
        other = Session(
            self._model,
            self._vocab,
            self._text_config,
            self._config,
            seed=self.seed,
            sample=self.sample,
            samples=self._samples,
        )
        other.ended = self.ended
        return other

    def with_seed(self, seed: int) -> Session:
        """A fork that continues with other draws."""
        other = self.fork()
        other.seed = seed
        return other

    def with_temperature(self, temperature: float) -> Session:
        """A fork that continues at another temperature.

        Raises:
            ConfigError: it is below 0.
        """
        other = self.fork()
        other._config = replace(self._config, temperature=temperature)
        return other

    def next_document(self) -> Session:
        """A session in which nothing has been read, with the draws of the next sample of the same seed."""
        return Session(
            self._model,
            self._vocab,
            self._text_config,
            self._config,
            seed=self.seed,
            sample=self.sample + 1,
        )

    def save(self, path: Path | str) -> None:
        """Write the session, without its model, as one safetensors file."""
        samples, tensors = self._samples, {}
        about = {"seed": self.seed, "sample": self.sample, "config": to_dict(self._config)}
        if samples is not None:
            tensors["logits"] = np.asarray(samples.logits)
            for i, layer in enumerate(self._model.export_state(samples.state)):
                tensors |= {f"state.{i}.{key}": leaf for key, leaf in layer.items()}
            about |= {"recent": samples.recent.tolist(), "positions": samples.positions.tolist()}
        write_tensors(Path(path), tensors, {"format": FORMAT, "session": json.dumps(about)})

    def load(self, path: Path | str) -> Session:
        """Load a session that `save` wrote with this model.

        Raises:
            ModelFileError: the file is damaged, is not a session, or belongs to another network.
        """
        path = Path(path)
        header, metadata = read_header(path)
        if metadata.get("format") != FORMAT:
            raise damaged(path, "its header does not name a session", "pass the path of a saved session")
        try:
            about = json_value(metadata["session"], finite=False)
        except (KeyError, MalformedError) as error:
            raise damaged(path, "it has no readable session") from error
        Schema(SessionRecord, damaged_value(path)).check(about, "its session")
        config = from_dict(SampleConfig, about["config"], source=str(path))
        samples, sample = None, int(about.get("sample", 0))
        if header:
            state = self._model.export_state(self._model.initial_state(1))
            shapes = {
                f"state.{i}.{k}": leaf.shape for i, layer in enumerate(state) for k, leaf in layer.items()
            }
            check_tensors(path, header, {"logits": (1, len(self._vocab)), **shapes})
            tensors = load_tensors(path)
            leaves = [{k: tensors[f"state.{i}.{k}"] for k in layer} for i, layer in enumerate(state)]
            recent, positions = (np.array(about[key], np.int64) for key in ("recent", "positions"))
            numbers = np.array([sample], np.int64)
            samples = DecodeState(
                tensors["logits"], self._model.import_state(leaves), recent, positions, numbers
            )
        how = {"seed": about["seed"], "sample": sample, "samples": samples}
        return Session(self._model, self._vocab, self._text_config, config, **how)
