"""Prepared corpora: a text encoded once into a file of ids that training maps into memory.

8 bytes   "CHARLOOM"
8 bytes   length of the header, little-endian
header    JSON: format_version, vocab, text (TextConfig), extents, num_chars, sha256, sources, name, notes,
          checksums (of the ids), stamps (of the sources), …
ids       from the next multiple of 64 bytes on, little-endian, `vocab.dtype`
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from charloom.config import TextConfig, stored_text_config
from charloom.errors import ConfigError, DataError, ModelFileError
from charloom.files import atomic_write
from charloom.schema import MalformedError, json_value
from charloom.text.checksums import (
    CheckedIds,
    Checksums,
    ChecksumWriter,
    checksums_to_json,
    chunk_bytes_for,
    num_chunks,
)
from charloom.text.corpus import Corpus
from charloom.text.pipes import unreadable
from charloom.text.stamps import Stamp
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import UInt
    from numpy import ndarray as Array

MAGIC = b"CHARLOOM"
FORMAT_VERSION = 1
_ALIGNMENT = 64
_MAX_HEADER = 1 << 24
_PARTS = ("train", "validation", "test")


def write_prepared(corpus: Corpus, out: str | Path) -> None:
    """Write a corpus as a prepared file; `out` appears complete or not at all.

    Raises:
        RunError: `out` cannot be written.
    """
    parts = {name: ids for name in _PARTS if (ids := getattr(corpus, name)) is not None}
    stops = np.cumsum([len(ids) for ids in parts.values()]).tolist()
    extents = {name: [stop - len(ids), stop] for (name, ids), stop in zip(parts.items(), stops, strict=True)}
    atomic_write(Path(out), lambda handle: write_ids(handle, corpus, parts.values(), extents))


def write_ids(
    handle: BinaryIO,
    corpus: Corpus,
    blocks: Iterable[UInt[Array, " n"]],
    extents: Mapping[str, Sequence[int]],
    *,
    stamps: Sequence[Stamp] = (),
) -> None:
    """Write a prepared file: the header, the ids, and then the header again with their checksums.

    Args:
        handle: an empty file, open for writing, in which one can seek.
        corpus: for the header; its own ids are not used.
        blocks: all ids, in the order of the file.
        extents: name of each part → its first id and the one after its last.
        stamps: of the sources.
    """
    little = corpus.vocab.dtype.newbyteorder("<")
    num_ids = max(stop for _, stop in extents.values())
    size = chunk_bytes_for(num_ids * little.itemsize)
    count = num_chunks(num_ids * little.itemsize, size)

    def header(values: list[int]) -> bytes:
        return _header(
            corpus, extents, num_ids=num_ids, checksums=checksums_to_json(values, size), stamps=stamps
        )

    handle.write(header([0] * count))
    writer = ChecksumWriter(size)
    for block in blocks:
        data = np.ascontiguousarray(block, little).data
        writer.update(data)
        handle.write(data)
    handle.seek(0)
    handle.write(header(writer.finish()))


def open_prepared(path: str | Path) -> Corpus:
    """Map a prepared file into memory; its checksums are compared where it is read (see `checksums`).

    Raises:
        DataError: it is not a prepared corpus, or is truncated or damaged.
    """
    path = Path(path)
    header, offset = _read_header(path)
    try:
        vocab = Vocabulary.from_json(header["vocab"])
        config = stored_text_config(header["text"], source=str(path))
        extents = {name: (int(start), int(stop)) for name, (start, stop) in header["extents"].items()}
        num_ids = int(header["num_ids"])
        sources, notes = tuple(map(str, header["sources"])), tuple(map(str, header["notes"]))
        name, sha256, num_chars = str(header["name"]), str(header["sha256"]), int(header["num_chars"])
        num_bytes = num_ids * vocab.dtype.itemsize
        checksums = Checksums.from_json(header.get("checksums"), path, num_bytes)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, ModelFileError) as error:
        raise _damaged(path, f"its header is invalid ({error})") from error
    expected = offset + num_bytes
    if path.stat().st_size != expected:
        raise _damaged(path, f"it has {path.stat().st_size:,} bytes, but its header says {expected:,}")
    if not {"train"} <= set(extents) <= set(_PARTS) or not all(
        0 <= start < stop <= num_ids for start, stop in extents.values()
    ):
        raise _damaged(path, f"its parts {extents} are not within its {num_ids:,} ids")
    ids = CheckedIds(path, vocab.dtype.newbyteorder("<"), "r", offset, (num_ids,)).checked_by(checksums)
    parts = {part: ids.part(start, stop) for part, (start, stop) in extents.items()}
    return Corpus(
        name=name,
        vocab=vocab,
        config=config,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts.get("test"),
        sha256=sha256,
        num_chars=num_chars,
        sources=(str(path.absolute()),),
        notes=(*notes, f"prepared from {', '.join(sources) or 'the built-in text'}"),
    )


def open_for(sources: Sequence[str | Path], config: TextConfig, *, held_out: str | Path | None) -> Corpus:
    """Open the prepared file among `sources`, refusing settings that differ from those it was prepared with.

    Raises:
        DataError: it is not the only source, comes with a held-out file, or was prepared with other settings.
    """
    path = next(source for source in sources if is_prepared(source))
    if len(sources) > 1 or held_out is not None:
        other = held_out if held_out is not None else next(source for source in sources if source != path)
        raise DataError(
            f"{path} is a prepared corpus and {other} is not part of it",
            why="a prepared corpus has its own vocabulary and split",
            fix="prepare both texts together (charloom prepare TEXT… --val FILE --out FILE)",
        )
    corpus = open_prepared(path)
    stored, default = asdict(corpus.config), asdict(TextConfig())
    for name, value in asdict(config).items():
        if value not in (stored[name], default[name]):
            raise DataError(
                f"{path} was prepared with {name} {stored[name]}, not {value}",
                why="a prepared corpus is encoded once, with the settings given then",
                fix=f"omit --{name.replace('_', '-')}, or prepare the text again with it",
            )
    return corpus


def is_room_for(stamps: Sequence[Stamp]) -> bool:
    """Whether a header can hold these stamps; the longest header is 16 MiB."""
    return sum(len(json.dumps(stamp.to_json())) for stamp in stamps) <= _MAX_HEADER // 2


def stored_stamps(path: Path) -> list[Stamp]:
    """The stamps of the sources of a prepared file; none if it was written before there were any.

    Raises:
        DataError: it is not a prepared corpus, or is damaged.
    """
    header, _ = _read_header(path)
    found = header.get("stamps", [])
    try:
        if not isinstance(found, list):
            raise ValueError("stamps must be a list")
        return [Stamp.from_json(document) for document in found]
    except ValueError as error:
        raise _damaged(path, f"its header is invalid ({error})") from error


def is_prepared(source: str | Path) -> bool:
    """Whether `source` is a prepared file."""
    path = Path(source)
    try:
        if not path.is_file():  # a pipe would lose the bytes read here
            return False
        with path.open("rb") as handle:
            return handle.read(len(MAGIC)) == MAGIC
    except OSError:  # unreadable, or too long for a name
        return False


def _header(
    corpus: Corpus,
    extents: Mapping[str, Sequence[int]],
    *,
    num_ids: int,
    checksums: Mapping[str, Any],
    stamps: Sequence[Stamp],
) -> bytes:
    """The bytes before the ids, padded so that these begin at a multiple of `_ALIGNMENT`."""
    document = {
        "format_version": FORMAT_VERSION,
        "name": corpus.name,
        "vocab": corpus.vocab.to_json(),
        "text": asdict(corpus.config),
        "num_ids": num_ids,
        "extents": extents,
        "num_chars": corpus.num_chars,
        "sha256": corpus.sha256,
        "sources": corpus.sources,
        "notes": corpus.notes,
        "checksums": checksums,
        "stamps": [stamp.to_json() for stamp in stamps],
    }
    header = json.dumps(document).encode("utf-8")
    header += b" " * (-(len(MAGIC) + 8 + len(header)) % _ALIGNMENT)
    return MAGIC + len(header).to_bytes(8, "little") + header


def _read_header(path: Path) -> tuple[Mapping[str, Any], int]:
    try:
        with path.open("rb") as handle:
            magic, length = handle.read(len(MAGIC)), int.from_bytes(handle.read(8), "little")
            raw = handle.read(length) if length <= _MAX_HEADER else b""
    except OSError as error:
        raise unreadable(str(path), error) from error
    if magic != MAGIC:
        raise _damaged(path, f"it does not begin with {MAGIC.decode()}")
    try:
        header = json_value(raw, finite=False)
    except MalformedError as error:
        raise _damaged(path, "its header is truncated or damaged") from error
    if not isinstance(header, dict) or header.get("format_version") != FORMAT_VERSION:
        raise _damaged(path, f"its format version is not {FORMAT_VERSION}")
    return header, len(MAGIC) + 8 + length


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a readable prepared corpus", why=why, fix="run charloom prepare again")
