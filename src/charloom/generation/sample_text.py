"""One sample in progress: decode ids into text and detect the end of the sample.

    ids → IncrementalDecoder → characters → StopMatcher → final text

A byte model's character is complete only with its last byte, and a character is final only when it cannot be the
start of a stop string. Both stages hold back undecided text, so text is never retracted once it is shown.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from numpy import ndarray as Array

    from charloom.text.vocabulary import Vocabulary

MAX_IDS = 1 << 20
"""How many ids a sample without a length limit accepts per call."""

FinishReason = Literal["length", "stop", "boundary", "interrupted"]
"""Why a sample ended: length reached, stop string, boundary symbol, or interrupted by the caller."""


class IncrementalDecoder:
    """Decodes ids that arrive one at a time: each is a character, or a UTF-8 byte if the vocabulary's unit is ``byte``.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> decoder = IncrementalDecoder(Vocabulary("byte", tuple(range(256))))
        >>> [decoder.push(byte) for byte in "é!".encode()]
        [[], ['é'], ['!']]
    """

    def __init__(self, vocab: Vocabulary) -> None:
        self._symbols = vocab.symbols
        self._utf8 = None
        if vocab.unit == "byte":  # an invalid byte becomes one lone surrogate, so it counts as one character
            self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def push(self, char_id: int) -> list[str]:
        """The characters that `char_id` completes; an invalid byte is shown as ``\\xNN``."""
        if self._utf8 is None:
            return [chr(self._symbols[char_id])]
        return [_shown(char) for char in self._utf8.decode(bytes([self._symbols[char_id]]))]

    def rest(self) -> list[str]:
        """The bytes of an incomplete character at the end, each as ``\\xNN``."""
        return [] if self._utf8 is None else [_shown(char) for char in self._utf8.decode(b"", final=True)]


class StopMatcher:
    """Holds text back while it may be the start of a stop string; no stop string is empty.

    The first stop string to be complete counts; if two end together, the longer one.

    Example:
        >>> matcher = StopMatcher(["END"])
        >>> [matcher.push(char) for char in "xEEND"]
        [('x', False), ('', False), ('E', False), ('', False), ('', True)]
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that is now final, and whether a stop string is complete (it and the rest are dropped)."""
        final = ""
        for char in text:
            self._held += char
            ended = [stop for stop in self._stops if self._held.endswith(stop)]
            if ended:
                final += self._held[: -max(map(len, ended))]
                self._held = ""
                return final, True
            free = self._num_free()
            final += self._held[:free]
            self._held = self._held[free:]
        return final, False

    def rest(self) -> str:
        """Release the text that is still held back, when no more text follows."""
        held, self._held = self._held, ""
        return held

    def _num_free(self) -> int:
        """How many held characters precede the longest possible start of a stop string."""
        tails = (self._held[i:] for i in range(len(self._held)))
        starts = (i for i, tail in enumerate(tails) if any(stop.startswith(tail) for stop in self._stops))
        return next(starts, len(self._held))


class SampleText:
    """A sample in progress; `finish_reason` is None until it ends.

    Args:
        index: the sample's number; with the seed, it determines the draws.
        prompt: the prompt as the model reads it.
        vocab: the vocabulary of the ids.
        stops: stop strings, none of them empty.
        length: characters to generate; None = no limit.
    """

    def __init__(
        self,
        index: int,
        prompt: str,
        vocab: Vocabulary,
        *,
        stops: Sequence[str] = (),
        length: int | None = None,
    ) -> None:
        self.index, self.prompt = index, prompt
        self.finish_reason: FinishReason | None = None
        self._vocab, self._boundary_id, self._has_stops = vocab, vocab.boundary_id, len(stops) > 0
        self._log_probs: list[float] = []
        self._decoder = IncrementalDecoder(vocab)
        self._stop_matcher = StopMatcher(stops)
        self._num_left, self._num_ids = length, 0
        self._text = io.StringIO()

    @property
    def text(self) -> str:
        """The final text so far."""
        return self._text.getvalue()

    @property
    def max_ids(self) -> int:
        """How many more ids can be used at most: a character takes at least one."""
        return MAX_IDS if self._num_left is None else min(self._num_left, MAX_IDS)

    @property
    def num_ids(self) -> int:
        """How many ids were accepted, those of a stop string or boundary included."""
        return self._num_ids

    @property
    def log_probs(self) -> tuple[float, ...]:
        """The log-probability of each accepted id, in nats."""
        return tuple(self._log_probs)

    def add(self, ids: Int64[Array, " n"], log_probs: Float[Array, " n"] | None = None) -> str:
        """Add the next ids, up to the one that ends the sample, and return the new final text, which may be empty."""
        if self._accepts_all(ids):
            accepted, final = len(ids), self._keep(self._vocab.decode(ids))
            self._num_left = None if self._num_left is None else self._num_left - accepted
            if self._num_left == 0:
                self.finish_reason = "length"
        else:
            accepted, final = 0, ""
            while accepted < len(ids) and self.finish_reason is None:
                final += self._add_one(int(ids[accepted]))
                accepted += 1
        self._num_ids += accepted
        if log_probs is not None:
            self._log_probs += log_probs[:accepted].tolist()
        return final

    def _accepts_all(self, ids: Int64[Array, " n"]) -> bool:
        """Whether every id is a final character: no bytes, no stop strings, no boundary, not too many."""
        if self._vocab.unit == "byte" or self._has_stops or (self._num_left or len(ids)) < len(ids):
            return False
        return self._boundary_id is None or int(ids.max(initial=0)) < len(self._vocab.symbols)

    def _add_one(self, char_id: int) -> str:
        if char_id == self._boundary_id:
            return self.finish("boundary")
        return self._append(self._decoder.push(char_id))

    def finish(self, reason: FinishReason) -> str:
        """End the sample and return the text that was still held back."""
        final = self._append(self._decoder.rest())
        if self.finish_reason is None:  # otherwise the rest itself was a stop string or reached the length
            self.finish_reason = reason
            final += self._keep(self._stop_matcher.rest())
        return final

    def _append(self, chars: Iterable[str]) -> str:
        final = ""
        for char in chars:
            text, stopped = self._stop_matcher.push(char)
            final += self._keep(text)
            if self._num_left is not None:
                self._num_left -= 1
            if stopped:
                self.finish_reason = "stop"
                break
            if self._num_left == 0:
                self.finish_reason = "length"
                final += self._keep(self._stop_matcher.rest())
                break
        return final

    def _keep(self, text: str) -> str:
        self._text.write(text)
        return text


def unwritable_ids(vocab: Vocabulary) -> Bool[Array, " V"]:
    """Mark the ids that are never generated: all special symbols except the boundary, which ends a sample.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> unwritable_ids(Vocabulary("char", (97, 98), ("<unk>", "<boundary>"))).tolist()
        [False, False, True, False]
    """
    banned = np.arange(len(vocab)) >= len(vocab.symbols)
    if vocab.boundary_id is not None:
        banned[vocab.boundary_id] = False
    return banned


def _shown(char: str) -> str:
    """A character, or ``\\xNN`` for the byte that a lone surrogate represents."""
    return f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char
