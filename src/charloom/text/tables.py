"""Tables of documents: the cells of one column of a CSV, JSON or Parquet file, row by row.

    .csv .tsv           RFC 4180: quotes, doubled quotes and line ends inside quotes; the first row names the columns,
                        and the delimiter is the one of , ; tab | that finds the column among them
    .jsonl .ndjson      one object per line
    .json               one list of objects
    .parquet            by pyarrow or pandas, whichever is installed

A cell is a text, or None if it is missing. Nothing else is converted to text.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, BinaryIO, Literal

from charloom.config import nearest_name
from charloom.errors import DataError, MissingExtraError

Format = Literal["csv", "jsonl", "json", "parquet"]
_FORMATS: Mapping[str, Format] = {
    "csv": "csv",
    "tsv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "parquet": "parquet",
}
_PACKED = (".gz", ".bz2", ".xz")
_PARQUET = b"PAR1"
_DELIMITERS = ",;\t|"
_CSV_FIX = "repair the file, or export it again with quotes around texts that contain delimiters, quotes or line ends"
_LARGEST_FIELD = (1 << 31) - 1
_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")


def table_format(name: str, head: bytes = b"") -> Format | None:
    """The format of a table, by the ending of its name; else, for a nameless stream, by its first bytes.

    Example:
        >>> table_format("reviews.CSV.gz"), table_format("tale.txt"), table_format("-", b'{"text": "a"}')
        ('csv', None, 'jsonl')
    """
    name = name.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    if (ending := name.rpartition(".")[2]) in _FORMATS:
        return _FORMATS[ending]
    if not head:
        return None
    if head.startswith(_PARQUET):
        return "parquet"
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"{": "jsonl", b"[": "json"}.get(first, "csv")  # type: ignore[return-value]


def cells_of_text(pieces: Iterable[str], kind: Format, column: str, source: str) -> Iterator[str | None]:
    """The cells of a column of a table that is text; errors call it `source`.

    Raises:
        DataError: there is no such column, a row is malformed, or a cell is not text.
    """
    if kind == "csv":
        return _csv_cells(_lines(pieces), column, source)
    return _json_cells(_json_rows(pieces, kind, source), column, source)


def cells_of_parquet(handle: BinaryIO, column: str, source: str) -> Iterator[str | None]:
    """The cells of a column of a Parquet file.

    Raises:
        MissingExtraError: neither pyarrow nor pandas is installed.
        DataError: it is damaged, has no such column, or a cell is not text.
    """
    if find_spec("pyarrow") is None and find_spec("pandas") is None:
        raise MissingExtraError(
            f"{source} is a Parquet file, and neither pyarrow nor pandas is installed",
            why="charloom reads Parquet through one of them, and CSV and JSON without any",
            fix="pip install pyarrow, or convert the file to .csv or .jsonl",
        )
    try:
        values = _arrow_values if find_spec("pyarrow") is not None else _pandas_values
        for number, value in enumerate(values(handle, column, source), 1):
            yield _text_or_none(value, f"row {number:,} of {source}", column)
    except (OSError, ValueError, ImportError) as error:
        raise _malformed(source, f"it cannot be read as Parquet ({error})") from error


def _arrow_values(handle: BinaryIO, column: str, source: str) -> Iterator[Any]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(handle)
    _position(column, table.schema_arrow.names, source)
    for batch in table.iter_batches(columns=[column]):
        yield from batch.column(0).to_pylist()


def _pandas_values(handle: BinaryIO, column: str, source: str) -> Iterator[Any]:
    import pandas

    frame = pandas.read_parquet(handle)
    _position(column, list(frame.columns), source)
    yield from frame[column]


def is_missing(value: object) -> bool:
    """Whether a value stands for a missing text: None, NaN or the NA of pandas."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


def _text_or_none(value: object, where: str, column: str) -> str | None:
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise DataError(
            f"{where} has {value!r:.60} in column {column}",
            why=f"a document is a text, and this is of type {type(value).__name__}",
            fix="name a column of texts with --column",
        )
    return value


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    r"""Lines with their ends, which are \n, \r\n or \r only: a cell may contain other line separators of Unicode."""
    held = ""
    for piece in pieces:
        *lines, held = _LINE_END.split(held + piece)
        if held == "" and lines and lines[-1].endswith("\r"):
            held = lines.pop()  # a newline may follow
        yield from lines
    if held:
        yield from filter(None, _LINE_END.split(held))


def _csv_cells(lines: Iterator[str], column: str, source: str) -> Iterator[str | None]:
    header = next((line for line in lines if line.strip("\r\n")), "")
    delimiter, names = _header(header, column)
    position = _position(column, names, source)
    with _any_field_size():
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        begin = 2
        try:
            for row in rows:
                if len(row) > len(names) and any(row[len(names) :]):
                    fields = f"{len(row)} fields, and the first line names {len(names)}"
                    raise _malformed(source, f"the row that begins in line {begin:,} has {fields}", _CSV_FIX)
                begin = rows.line_num + 2
                if row or len(names) == 1:
                    yield row[position] if position < len(row) else None
        except csv.Error as error:
            raise _malformed(source, f"the row that begins in line {begin:,}: {error}", _CSV_FIX) from error


def _header(line: str, column: str) -> tuple[str, list[str]]:
    """The delimiter and the column names: of the delimiters that find the column, or else split the line most often."""
    found = {}
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error):
            found[delimiter] = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    if not found:
        return ",", [line.strip()]
    best = max(found, key=lambda delimiter: (column in found[delimiter], len(found[delimiter])))
    return best, found[best]


def _position(column: str, names: list[str], source: str) -> int:
    if names.count(column) == 1:
        return names.index(column)
    if column in names:
        what, why = f"{source} has {names.count(column)} columns named {column}", "one of them has the text"
        raise DataError(what, why=why, fix="give them different names in the file")
    near = nearest_name(column, names)
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    raise DataError(
        f"{source} has no column {column!r}",
        why=f"its columns are: {shown:.200}" if names else "it has no columns",
        fix=f"did you mean --column {near}?" if near else "name one of them with --column",
    )


@contextlib.contextmanager
def _any_field_size() -> Iterator[None]:
    """Let a CSV field be as long as a text may be; the limit is one of the process."""
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json_rows(pieces: Iterable[str], kind: Format, source: str) -> Iterator[tuple[str, Any]]:
    """Each row with its place in the source."""
    if kind == "json":
        rows = _json("".join(pieces), source, "it")
        if not isinstance(rows, list):
            raise _malformed(source, "it is not a list of objects")
        yield from ((f"row {number:,} of {source}", row) for number, row in enumerate(rows, 1))
        return
    for number, line in enumerate(_lines(pieces), 1):
        if line.strip():
            yield f"line {number:,} of {source}", _json(line, source, f"line {number:,}")


def _json(text: str, source: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(source, f"{what} is not JSON ({error})") from error


def _json_cells(rows: Iterable[tuple[str, Any]], column: str, source: str) -> Iterator[str | None]:
    seen: dict[str, None] = {}
    known = False
    for where, row in rows:
        if not isinstance(row, dict):
            raise _malformed(source, f"{where} is not an object with named values")
        known = known or column in row
        if not known:
            seen.update(dict.fromkeys(row))
        yield _text_or_none(row.get(column), where, column)
    if not known:
        _position(column, list(seen), source)


def _malformed(source: str, why: str, fix: str = "repair the file, or export it again") -> DataError:
    return DataError(f"{source} is not a table that can be read", why=why, fix=fix)
