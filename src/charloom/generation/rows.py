"""One sample in progress: ids become characters, characters become text, and something ends it.

    ids → Spelling → characters → StopWatch → text that is sure to stay

A byte model's character is complete only with its last byte, and a character is sure to stay only when it cannot be
the beginning of a stop string; so both hold back what is undecided, and a reader never sees text that is taken back.
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

LONGEST_STRETCH = 1 << 20
"""Ids that a row without a limit takes at a time."""

FinishReason = Literal["length", "stop", "boundary", "interrupted"]
"""Why a sample ended: as long as asked, at a stop string, at the boundary symbol, or by the reader's wish."""


class Spelling:
    """Characters from ids that come one at a time.

    Args:
        vocab: with unit ``char`` each id is a character; with unit ``byte`` the ids are UTF-8, read incrementally.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> spelling = Spelling(Vocabulary("byte", tuple(range(256))))
        >>> [spelling.push(byte) for byte in "é!".encode()]
        [[], ['é'], ['!']]
    """

    def __init__(self, vocab: Vocabulary) -> None:
        self._symbols = vocab.symbols
        self._utf8 = None
        if (
            vocab.unit == "byte"
        ):  # an invalid byte becomes one lone surrogate, so that characters can be counted
            self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def push(self, char_id: int) -> list[str]:
        """The characters that `char_id` completes; a byte that is part of none is written as ``\\xNN``."""
        if self._utf8 is None:
            return [chr(self._symbols[char_id])]
        return [_shown(char) for char in self._utf8.decode(bytes([self._symbols[char_id]]))]

    def rest(self) -> list[str]:
        """The bytes of a character that was never completed, each as ``\\xNN``."""
        return [] if self._utf8 is None else [_shown(char) for char in self._utf8.decode(b"", final=True)]


class StopWatch:
    """Text that waits while it may be the beginning of a stop string.

    The first stop string to be complete counts; of two that end together, the longer one.

    Args:
        stops: stop strings, none of them empty.

    Example:
        >>> watch = StopWatch(["END"])
        >>> [watch.push(char) for char in "xEEND"]
        [('x', False), ('', False), ('E', False), ('', False), ('', True)]
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What is now sure to stay, and whether a stop string is complete (it and all after it is dropped)."""
        sure = ""
        for char in text:
            self._held += char
            ended = [stop for stop in self._stops if self._held.endswith(stop)]
            if ended:
                sure += self._held[: -max(map(len, ended))]
                self._held = ""
                return sure, True
            free = self._num_free()
            sure += self._held[:free]
            self._held = self._held[free:]
        return sure, False

    def rest(self) -> str:
        """What is still held back, now that nothing follows it."""
        held, self._held = self._held, ""
        return held

    def _num_free(self) -> int:
        """How many held characters come before the longest possible beginning of a stop string."""
        held = self._held
        return next(
            i
            for i in range(len(held) + 1)
            if i == len(held) or any(s.startswith(held[i:]) for s in self._stops)
        )


class Row:
    """A sample in progress.

    Args:
        index: number of the sample: with the seed, the address of its draws.
        prompt: the prompt as the model reads it.
        vocab: the vocabulary of the ids.
        stops: stop strings, none of them empty.
        length: characters to write; none = no limit.

    Attributes:
        finish_reason: why the sample ended; ``None`` while it goes on.
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
        self.index = index
        self.prompt = prompt
        self.finish_reason: FinishReason | None = None
        self._vocab, self._boundary_id, self._has_stops = vocab, vocab.boundary_id, len(stops) > 0
        self._log_probs: list[float] = []
        self._spelling = Spelling(vocab)
        self._stop_watch = StopWatch(stops)
        self._num_left = length
        self._text = io.StringIO()

    @property
    def text(self) -> str:
        """What has been written so far and is sure to stay."""
        return self._text.getvalue()

    @property
    def most(self) -> int:
        """How many more ids can be of use: a character takes at least one."""
        return LONGEST_STRETCH if self._num_left is None else min(self._num_left, LONGEST_STRETCH)

    @property
    def log_probs(self) -> tuple[float, ...]:
        """The log-probability of each id that was taken, in nats."""
        return tuple(self._log_probs)

    def read(self, ids: Int64[Array, " n"], log_probs: Float[Array, " n"] | None = None) -> str:
        """Take the next ids, up to the one that ends the sample; the text that is now sure to stay, which may be empty."""
        if self._takes_all(ids):
            taken, sure = len(ids), self._keep(self._vocab.decode(ids))
            self._num_left = None if self._num_left is None else self._num_left - taken
            if self._num_left == 0:
                self.finish_reason = "length"
        else:
            taken, sure = 0, ""
            while taken < len(ids) and self.finish_reason is None:
                sure += self._read_one(int(ids[taken]))
                taken += 1
        if log_probs is not None:
            self._log_probs += log_probs[:taken].tolist()
        return sure

    def _takes_all(self, ids: Int64[Array, " n"]) -> bool:
        """Whether every id is a character that stays: no bytes, no stop strings, no boundary, not too many."""
        if self._vocab.unit == "byte" or self._has_stops or (self._num_left or len(ids)) < len(ids):
            return False
        return self._boundary_id is None or int(ids.max(initial=0)) < len(self._vocab.symbols)

    def _read_one(self, char_id: int) -> str:
        if char_id == self._boundary_id:
            return self.finish("boundary")
        return self._write(self._spelling.push(char_id))

    def finish(self, reason: FinishReason) -> str:
        """End the sample; the text that was still held back."""
        sure = self._write(self._spelling.rest())
        if self.finish_reason is None:  # else the rest itself was a stop string, or reached the length
            self.finish_reason = reason
            sure += self._keep(self._stop_watch.rest())
        return sure

    def _write(self, chars: Iterable[str]) -> str:
        sure = ""
        for char in chars:
            text, stopped = self._stop_watch.push(char)
            sure += self._keep(text)
            if self._num_left is not None:
                self._num_left -= 1
            if stopped:
                self.finish_reason = "stop"
                break
            if self._num_left == 0:
                self.finish_reason = "length"
                sure += self._keep(self._stop_watch.rest())
                break
        return sure

    def _keep(self, text: str) -> str:
        self._text.write(text)
        return text


def never_written(vocab: Vocabulary) -> Bool[Array, " V"]:
    """The ids that stand for no text: all specials but the boundary, which ends a sample.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> never_written(Vocabulary("char", (97, 98), ("<unk>", "<boundary>"))).tolist()
        [False, False, True, False]
    """
    banned = np.arange(len(vocab)) >= len(vocab.symbols)
    if vocab.boundary_id is not None:
        banned[vocab.boundary_id] = False
    return banned


def _shown(char: str) -> str:
    """A character, or the byte that a lone surrogate stands for."""
    return f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char
