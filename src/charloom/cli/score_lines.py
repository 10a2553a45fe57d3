"""Lines of a scored text as a table, most surprising first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charloom.evaluation import LineSurprisal


def line_table(ranked: Sequence[LineSurprisal]) -> Iterator[str]:
    """A heading, and one row for each line: its bits, bits per character, unknown characters, number and text."""
    from charloom.generation import isolated

    width = max([4, *(len(f"{one.line:,}") for one in ranked)])
    yield f"  {'bits':>10}  {'bits/char':>9}  {'unknown':>7}  {'line':>{width}}  text"
    for one in ranked:
        numbers = (
            f"{one.bits:>10,.2f}  {one.bits_per_char:>9.3f}  {one.num_unknown:>7,}  {one.line:>{width},}"
        )
        yield f"  {numbers}  {isolated(one.text)}"


def lines_as_json(ranked: Sequence[LineSurprisal]) -> list[dict[str, Any]]:
    """The same lines for the JSON object."""
    return [
        {
            "line": one.line,
            "text": one.text,
            "surprisal_bits": one.bits,
            "bits_per_char": one.bits_per_char,
            "chars": one.num_chars,
            "unknown_chars": one.num_unknown,
        }
        for one in ranked
    ]
