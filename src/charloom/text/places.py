"""Where characters that deserve a note occur first: the line of a file, or the number of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.text.mojibake import is_notable
from charloom.text.symbols import Symbols
from charloom.text.vocabulary import BOUNDARY_CODE


class FirstPlaces:
    """Follows a text and notes the first place of each new symbol that deserves it.

    Example:
        >>> symbols = Symbols()
        >>> places = FirstPlaces(symbols)
        >>> places.begin("a.txt")
        >>> symbols.add([0x61, 0x0A, 0xFFFD])
        >>> places.pass_over("a\\n\\ufffd".encode(), b"\\n", "line")
        >>> places.first
        {65533: 'in line 2 of a.txt'}
    """

    def __init__(self, symbols: Symbols, *, wanted: bool = True) -> None:
        self.first: dict[int, str] = {}
        self.label = ""
        self.line = 1  # of the current file; of documents in memory or in a table, the document
        self._symbols, self._wanted = symbols, wanted
        self._num_known = len(symbols)
        self._sought: list[int] = []  # numbered already, but not in the text that was passed over

    def begin(self, label: str) -> None:
        """Begin a text, unless it is the same one."""
        if label != self.label:
            self.label, self.line = label, 1

    def pass_over(self, data: bytes, end: bytes, what: str, num_ends: int | None = None) -> None:
        """Take the next piece of cleaned text, whose symbols are numbered.

        Args:
            data: the piece.
            end: what ends each line, or each document.
            what: line or document.
            num_ends: how many of them the piece has; None = count them.
        """
        if len(self._symbols) > self._num_known:
            new, self._num_known = self._symbols.codes_from(self._num_known), len(self._symbols)
            self._sought += [code for code in new if code != BOUNDARY_CODE and is_notable(code)]
        for code in list(self._sought) if self._wanted else ():
            offset = data.find(chr(code).encode("utf-8", "surrogatepass"))
            if offset >= 0:
                self._sought.remove(code)
                self.first[code] = f"in {what} {self.line + data.count(end, 0, offset):,} of {self.label}"
        self.line += data.count(end) if num_ends is None else num_ends

    def state(self) -> dict[str, Any]:
        """What has been noted, as JSON."""
        at = {"label": self.label, "line": self.line, "known": self._num_known, "sought": self._sought}
        return {"first": list(self.first.items()), **at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Return to what `state` described."""
        self.first = dict(state["first"])
        self.label, self.line = state["label"], state["line"]
        self._num_known, self._sought = state["known"], list(state["sought"])
