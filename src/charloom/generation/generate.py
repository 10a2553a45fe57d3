"""Generation: a batch of samples as a stream of events that can be displayed as they arrive.

The uniform number of sample s at output position t is a function of (seed, s, t) alone. So a single sample can be
regenerated, and the batch, the grouping of prompts and the engine cannot change a draw. (On torch and scratch, logits
may differ in their last bits between batch sizes: that is the engine's arithmetic, not a draw.)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import SampleConfig
from charloom.engines import DecodeState, SamplingParams
from charloom.errors import ConfigError
from charloom.generation.decoding import new_sampler, select
from charloom.generation.prefill import prefill_batch, with_bos
from charloom.generation.sample_text import FinishReason, SampleText, unwritable_ids
from charloom.summary import Summarised, Summary

if TYPE_CHECKING:
    from jaxtyping import Int, Int64
    from numpy import ndarray as Array

    from charloom.engines import EngineModel
    from charloom.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Piece:
    """New final text, at least one character, of the sample with the number `sample`."""

    sample: int
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Sample(Summarised):
    """A finished sample.

    Attributes:
        index: its number; to `generate` it again, pass ``first_sample=index`` and the same seed.
        prompt: the prompt as the model read it.
        text: the generated text, without prompt, stop string and boundary symbol.
        finish_reason: ``length``, ``stop``, ``boundary`` or ``interrupted``.
        seed: the seed of the whole call.
        log_probs: on request, the model's log-probability of each generated character in nats, at temperature 1 and
            before all filters (of each byte, with a byte model).
    """

    index: int
    prompt: str
    text: str
    finish_reason: FinishReason
    seed: int
    log_probs: tuple[float, ...] | None = None

    def summary(self) -> Summary:
        """The text, and how it came about."""
        how = f"{len(self.text):,} characters, ended by {self.finish_reason}, seed {self.seed}"
        prompt = (("prompt", self.prompt),) if self.prompt else ()
        return Summary(f"Sample {self.index}: {how}", (*prompt, ("text", self.text)))


class Generation(Iterator[Piece | Sample]):
    """Samples in progress: an iterator of events, made by `generate`.

    Each sample yields its pieces, which joined are its text, and then itself. The samples of a batch advance together
    and end in any order; waiting samples take the free rows. To stop early, call `interrupt` for the unfinished ones.
    """

    def __init__(
        self,
        model: EngineModel,
        vocab: Vocabulary,
        prompts: Sequence[Int[Array, " T"]],
        *,
        config: SampleConfig,
        seed: int,
        stops: tuple[str, ...],
        first_sample: int,
        log_probs: bool,
    ) -> None:
        self._model, self._vocab, self._config = model, vocab, config
        self._seed, self._stops, self._log_probs = seed, stops, log_probs
        self._prompts_with_bos = [with_bos(prompt, vocab) for prompt in prompts]
        self._prompts = [vocab.decode(prompt) for prompt in prompts]
        self._first = first_sample
        self._waiting = iter(range(first_sample, first_sample + config.count))
        self._prefilled: DecodeState | None = None
        self._open: dict[int, SampleText] = {}
        self._events = self._generate_all()

    def __iter__(self) -> Generator[Piece | Sample]:
        return self._events

    def __next__(self) -> Piece | Sample:
        return next(self._events)

    def interrupt(self) -> list[Sample]:
        """Stop now, for example after a `KeyboardInterrupt`.

        Returns:
            The samples that were started and not yet yielded, with all their text, including text held back as the
            possible start of a stop string; ``finish_reason`` is ``interrupted`` unless a sample had just ended.
        """
        self._events.close()
        for text in self._open.values():
            if text.finish_reason is None:
                text.finish("interrupted")
        return [self._closed(text) for text in list(self._open.values())]

    def _generate_all(self) -> Generator[Piece | Sample]:
        texts, samples = self._start(self._config.batch)
        params = sampling_params(self._config, self._vocab, self._seed)
        sampler = new_sampler(self._model, samples, params, log_probs=self._log_probs)
        while texts:
            ids, lengths, log_probs = sampler.decode(min(text.max_ids for text in texts))
            for b, text in enumerate(texts):
                if piece := text.add(ids[b, : lengths[b]], log_probs[b, : lengths[b]]):
                    yield Piece(text.index, piece)
                if text.finish_reason is not None:
                    yield self._closed(text)
            unfinished = [b for b, text in enumerate(texts) if text.finish_reason is None]
            if len(unfinished) < len(texts):
                texts = [texts[b] for b in unfinished]
                sampler.keep(np.array(unfinished, np.int64))
            free = self._config.batch - len(texts)
            if 4 * free >= self._config.batch:  # not one by one: adding samples costs about a step
                started, samples = self._start(free)
                if started:
                    texts += started
                    sampler.add(samples)

    def _start(self, free: int) -> tuple[list[SampleText], DecodeState]:
        """Start up to `free` waiting samples and read their prompts."""
        numbers = list(islice(self._waiting, free))
        which = [(number - self._first) % len(self._prompts) for number in numbers]
        texts = [self._opened(number, prompt) for number, prompt in zip(numbers, which, strict=True)]
        if len(self._prompts_with_bos) > 1 or not numbers:
            return texts, self._prefill([self._prompts_with_bos[prompt] for prompt in which], numbers)
        if self._prefilled is None:  # one prompt for all: read once and kept for later samples
            self._prefilled = self._prefill(self._prompts_with_bos, [0])
        same = select(self._prefilled, np.zeros(len(numbers), np.int64))
        return texts, replace(same, samples=np.array(numbers, np.int64))

    def _prefill(self, prompts: list[Int64[Array, " T"]], numbers: list[int]) -> DecodeState:
        return prefill_batch(self._model, prompts, numbers, penalty_window(self._config))

    def _opened(self, index: int, prompt: int) -> SampleText:
        length = self._config.length or None
        text = SampleText(index, self._prompts[prompt], self._vocab, stops=self._stops, length=length)
        self._open[index] = text
        return text

    def _closed(self, text: SampleText) -> Sample:
        assert text.finish_reason is not None
        del self._open[text.index]
        log_probs = text.log_probs if self._log_probs else None
        return Sample(text.index, text.prompt, text.text, text.finish_reason, self._seed, log_probs)


def sampling_params(config: SampleConfig, vocab: Vocabulary, seed: int) -> SamplingParams:
    """Derive the sampling parameters from a configuration and a vocabulary."""
    return SamplingParams(
        seed,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        banned=unwritable_ids(vocab),
        end_id=vocab.boundary_id,
    )


def penalty_window(config: SampleConfig) -> int:
    """How many characters the repetition penalty looks back; 0 without a penalty."""
    return 0 if config.repetition_penalty is None else config.repetition_window


def generate(
    model: EngineModel,
    vocab: Vocabulary,
    prompts: Sequence[Int[Array, " T"]],
    config: SampleConfig,
    *,
    seed: int,
    stop: str | Sequence[str] = (),
    first_sample: int = 0,
    log_probs: bool = False,
) -> Generation:
    """Generate `config.count` samples, up to `config.batch` of them at a time.

    The model reads the whole prompt first and then carries its state from character to character. In documents mode a
    sample ends at the boundary symbol. ``<unk>`` is never generated.

    Args:
        model: a model of any engine.
        vocab: its vocabulary.
        prompts: ids from `encode_prompt`: one prompt for all samples, or one per sample.
        config: length in characters (0 = until stopped), count, batch, temperature and filters; `config.seed` is not
            used, because the caller has already chosen a seed.
        seed: with a sample's number, it determines the draws.
        stop: a sample ends before the first of these to be complete in the generated text (the prompt does not
            count); pieces never contain a part of it.
        first_sample: the first sample's number.
        log_probs: whether to record the log-probability of each character.

    Returns:
        An iterator of `Piece` and `Sample`: pieces as they arrive, and each sample when it has ended.

    Raises:
        ConfigError: there are neither one nor `config.count` prompts, or a stop string is empty. Raised by this call,
            before the first character.

    Example:
        >>> from types import SimpleNamespace
        >>> from charloom.text.vocabulary import Vocabulary
        >>> always_b = SimpleNamespace(
        ...     initial_state=lambda rows: [],
        ...     forward=lambda ids, state: (np.array([[[-99.0, 99.0]]]), state),
        ...     step=lambda ids, state: (np.array([[-99.0, 99.0]]), state),
        ... )
        >>> for event in generate(always_b, Vocabulary.from_text("ab"), [[0]], SampleConfig(length=2), seed=5):
        ...     print(event)
        Piece(sample=0, text='b')
        Piece(sample=0, text='b')
        Sample 0: 2 characters, ended by length, seed 5
          prompt: a
          text: bb
    """
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    _check(len(prompts), config.count, stops)
    return Generation(
        model,
        vocab,
        prompts,
        config=config,
        seed=seed,
        stops=stops,
        first_sample=first_sample,
        log_probs=log_probs,
    )


def sample(
    model: EngineModel,
    vocab: Vocabulary,
    prompts: Sequence[Int[Array, " T"]],
    config: SampleConfig,
    *,
    seed: int,
    stop: str | Sequence[str] = (),
    first_sample: int = 0,
) -> list[Sample]:
    """Generate samples and return them in the order of their numbers: `generate` without the pieces.

    Raises:
        ConfigError: as in `generate`, and if `config.length` is 0 and nothing can end a sample.
    """
    if config.length == 0 and vocab.boundary_id is None and not stop:
        raise never_ending()
    events = generate(model, vocab, prompts, config, seed=seed, stop=stop, first_sample=first_sample)
    return sorted((event for event in events if isinstance(event, Sample)), key=lambda done: done.index)


def never_ending() -> ConfigError:
    """The error for a list of samples that would never be complete."""
    return ConfigError(
        "length is 0 and nothing ends a sample",
        why="without a stop string or documents the text never ends, so the list is never complete",
        fix="set --length or --stop, or read the pieces of generate() as they arrive",
    )


def _check(num_prompts: int, count: int, stops: tuple[str, ...]) -> None:
    if num_prompts not in (1, count):
        raise ConfigError(
            f"{num_prompts} prompts for {count} samples",
            why="either all samples share one prompt, or each has its own",
            fix=f"give 1 prompt or {count}, or set --count {max(num_prompts, 1)}",
        )
    if "" in stops:
        raise ConfigError(
            "a stop string is empty",
            why="it would end every sample before its first character",
            fix="give --stop at least one character, or omit it",
        )
