"""Prepared corpora: a text encoded once into a file of ids that training maps into memory.

    8 bytes   "CHARLOOM"
    8 bytes   length of the header, little-endian
    header    JSON: format_version, vocab, text (TextConfig), extents, num_chars, sha256, sources, name, notes, …
    ids       from the next multiple of 64 bytes on, little-endian, `vocab.dtype`

Writing takes bounded memory: one pass over the text, then one over provisional numbers in a temporary file, which
takes two bytes per character in addition to the result.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charloom.config import TextConfig, stored_text_config
from charloom.errors import ConfigError, DataError, ModelFileError
from charloom.files import atomic_write, unwritable
from charloom.text.catalogue import with_known_corpora
from charloom.text.corpus import Corpus
from charloom.text.encode import Encoded, encode_parts, id_blocks
from charloom.text.inputs import TEXT, absolute, corpus_name, find_inputs
from charloom.text.sources import BLOCK, unreadable
from charloom.text.vocabulary import Vocabulary

MAGIC = b"CHARLOOM"
FORMAT_VERSION = 1
_ALIGNMENT = 64
_MAX_HEADER = 1 << 24
_PARTS = ("train", "validation", "test")


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    config: TextConfig | None = None,
    *,
    val: str | Path | None = None,
    test: str | Path | None = None,
    stdin: BinaryIO | None = None,
    block_size: int = BLOCK,
) -> dict[str, Any]:
    """Encode texts to an id file, in bounded memory; `out` appears complete or not at all.

    The arguments are those of `read_corpus`, except `out`, the file to write, in a folder that must exist. The file
    records `config`, which can no longer be changed.

    Returns:
        ``chars``, ``bytes`` (of text, decompressed), ``vocab_size``, ``bytes_per_s``, ``peak_rss_bytes`` (of the
        whole process; None if the system does not report it) and ``notes``.

    Raises:
        DataError: as `read_corpus`.
        RunError: `out` cannot be written.
    """
    out, config, started = Path(out), config or TextConfig(), time.perf_counter()
    sources, known = with_known_corpora(sources)
    inputs, notes = find_inputs(sources, config, val=val, test=test, stdin=stdin, block_size=block_size)
    with contextlib.ExitStack() as stack:
        encoded = encode_parts(inputs, config, lambda _: stack.enter_context(_temporary(out)))
        notes = [*known, *notes, *encoded.notes]
        header = _prepared(encoded, config, name=corpus_name(sources), sources=absolute(sources), notes=notes)
        atomic_write(out, lambda handle: _write(handle, header, encoded))
    num_bytes = sum(getattr(text, "num_bytes", 0) for texts in inputs.values() for text in texts)
    return {
        "chars": encoded.parts[TEXT].num_chars,
        "bytes": num_bytes,
        "vocab_size": len(encoded.vocab),
        "bytes_per_s": num_bytes / (time.perf_counter() - started),
        "peak_rss_bytes": peak_rss_bytes(),
        "notes": notes,
    }


def write_prepared(corpus: Corpus, out: str | Path) -> None:
    """Write a corpus as a prepared file; `out` appears complete or not at all.

    Raises:
        RunError: `out` cannot be written.
    """
    parts = {name: ids for name in _PARTS if (ids := getattr(corpus, name)) is not None}
    stops = np.cumsum([len(ids) for ids in parts.values()]).tolist()
    extents = {name: [stop - len(ids), stop] for (name, ids), stop in zip(parts.items(), stops, strict=True)}
    header = _header(corpus, extents, num_ids=stops[-1])
    little = corpus.vocab.dtype.newbyteorder("<")

    def write(handle: BinaryIO) -> None:
        handle.write(header)
        for ids in parts.values():
            handle.write(np.ascontiguousarray(ids, little).data)

    atomic_write(Path(out), write)


def open_prepared(path: str | Path) -> Corpus:
    """Map a prepared file into memory.

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
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, ModelFileError) as error:
        raise _damaged(path, f"its header is invalid ({error})") from error
    expected = offset + num_ids * vocab.dtype.itemsize
    if path.stat().st_size != expected:
        raise _damaged(path, f"it has {path.stat().st_size:,} bytes, but its header says {expected:,}")
    if not {"train"} <= set(extents) <= set(_PARTS) or not all(
        0 <= start < stop <= num_ids for start, stop in extents.values()
    ):
        raise _damaged(path, f"its parts {extents} are not within its {num_ids:,} ids")
    ids = np.memmap(path, vocab.dtype.newbyteorder("<"), "r", offset, (num_ids,))
    parts = {part: ids[start:stop] for part, (start, stop) in extents.items()}
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


def peak_rss_bytes() -> int | None:
    """The peak memory of this process; None on Windows, which does not report it."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _temporary(out: Path) -> BinaryIO:
    """An unnamed temporary file in the folder of the result, so that both use the same disk."""
    try:
        return cast("BinaryIO", tempfile.TemporaryFile(dir=out.parent))  # `prepare` closes it
    except OSError as error:
        raise unwritable(out, error) from error


def _prepared(
    encoded: Encoded, config: TextConfig, *, name: str, sources: tuple[str, ...], notes: list[str]
) -> bytes:
    """The header of a corpus that is still in spools."""
    starts, num_ids = {}, 0
    for role, part in encoded.parts.items():
        starts[role] = num_ids
        num_ids += part.length
    extents = {
        part: [starts[role] + start, starts[role] + stop]
        for part, (role, start, stop) in encoded.extents.items()
    }
    nothing = np.empty(0, encoded.vocab.dtype)
    facts = Corpus(
        name=name,
        vocab=encoded.vocab,
        config=config,
        train=nothing,
        validation=None,
        test=None,
        sha256=encoded.sha256,
        num_chars=encoded.parts[TEXT].num_chars,
        sources=sources,
        notes=tuple(notes),
    )
    return _header(facts, extents, num_ids=num_ids)


def _header(corpus: Corpus, extents: Mapping[str, Sequence[int]], *, num_ids: int) -> bytes:
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
    }
    header = json.dumps(document).encode("utf-8")
    header += b" " * (-(len(MAGIC) + 8 + len(header)) % _ALIGNMENT)
    return MAGIC + len(header).to_bytes(8, "little") + header


def _write(handle: BinaryIO, header: bytes, encoded: Encoded) -> None:
    handle.write(header)
    little = encoded.vocab.dtype.newbyteorder("<")
    for part in encoded.parts.values():
        for block in id_blocks(part, encoded.vocab):
            handle.write(block.astype(little, copy=False).data)


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
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is truncated or damaged") from error
    if not isinstance(header, dict) or header.get("format_version") != FORMAT_VERSION:
        raise _damaged(path, f"its format version is not {FORMAT_VERSION}")
    return header, len(MAGIC) + 8 + length


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a readable prepared corpus", why=why, fix="run charloom prepare again")
