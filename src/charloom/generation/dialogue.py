"""A dialogue: a text that a person and a model write in turns, with the last turns taken back on request.

dialogue.read("Once upon")       the person's part of a turn
dialogue.write(200)              the model's part, as it arrives
dialogue.undo()                  as if neither had been written
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from charloom.generation.session import Session


class Dialogue:
    """A text in turns.

    When the model has ended a document, the next turn begins another one, which the model reads without the text
    before it. The k-th document has the draws of the k-th sample of the same seed.

    Args:
        session: from which the first turn continues; nothing has been read in it.

    Attributes:
        text: everything read and written so far.
        temperature: of the turns to come; None = that of the session.
        seed: of the turns to come.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turns: list[tuple[Session, str]] = []  # before each turn
        self.text = ""
        self.temperature: float | None = None
        self.seed = session.seed

    @property
    def num_turns(self) -> int:
        """How many turns `undo` can take back."""
        return len(self._turns)

    def read(self, text: str) -> tuple[str, ...]:
        """Begin a turn: let the model read a text, which may be empty.

        Returns:
            The notes of `Session.feed`.

        Raises:
            UnknownCharacterError: as `Session.feed`; nothing is changed.
        """
        before = self._session
        session = before.next_document() if before.ended else before
        session = session.with_seed(self.seed)
        if self.temperature is not None:
            session = session.with_temperature(self.temperature)
        notes = session.feed(text)
        self._turns.append((before, self.text))
        self._session = session
        self.text += "\n" * before.ended + text
        return notes

    def write(self, length: int = 0, *, stopped: Callable[[], bool] | None = None) -> Iterator[str]:
        """Yield the model's continuation as it arrives; arguments as of `Session.stream`."""
        for piece in self._session.stream(length, stopped=stopped):
            self.text += piece
            yield piece

    def undo(self) -> bool:
        """Take back the last turn, if there is one; temperature and seed stay."""
        if not self._turns:
            return False
        self._session, self.text = self._turns.pop()
        return True

    def begin_again(self) -> None:
        """Begin a new text, with nothing read; it cannot be taken back."""
        self._session = self._turns[0][0] if self._turns else self._session
        self._turns, self.text = [], ""
