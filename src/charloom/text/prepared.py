"""Prepared corpora: a text encoded once into a file of ids that training maps into memory.

    8 bytes   "CHARLOOM"
    8 bytes   length of the header, little-endian
    header    JSON: format_version, vocab, text (TextConfig), extents, num_chars, sha256, sources, name, notes, …
    ids       from the next multiple of 64 bytes on, little-endian, `vocab.dtype`

Writing takes bounded memory: one pass over the text, then one over provisional numbers in a temporary file that
needs two bytes a character beside the result.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charloom.config import TextConfig
from charloom.errors import ConfigError, DataError, ModelFileError
from charloom.files import atomic_write, unwritable
from charloom.text.assemble import Corpus, Gathered, gather
from charloom.text.gather import id_blocks
from charloom.text.readings import TEXT, absolute, corpus_name, find_readings
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

    Args:
        sources: as for `read_corpus`.
        out: the file to write; its folder must exist.
        config: how to decode, clean, split and number the text; all of it is recorded and fixed.
        val: a text to validate on.
        test: a text that is only ever tested on.
        stdin: what ``-`` reads.
        block_size: bytes read at a time.

    Returns:
        ``chars``, ``bytes`` (of text, unpacked), ``vocab_size``, ``bytes_per_s``, ``peak_rss_bytes`` (of the whole
        process; none where the system does not tell) and ``notes``.

    Raises:
        DataError: as `read_corpus`.
        RunError: `out` cannot be written.
    """
    out, config, started = Path(out), config or TextConfig(), time.perf_counter()
    readings, notes = find_readings(sources, config, val=val, test=test, stdin=stdin, block_size=block_size)
    with contextlib.ExitStack() as stack:
        gathered = gather(readings, config, lambda: stack.enter_context(_temporary(out)))
        notes = [*notes, *gathered.notes]
        header = _header(gathered, config, name=corpus_name(sources), sources=absolute(sources), notes=notes)
        atomic_write(out, lambda handle: _write(handle, header, gathered))
    num_bytes = sum(getattr(reading, "num_bytes", 0) for texts in readings.values() for reading in texts)
    return {
        "chars": gathered.parts[TEXT].num_chars,
        "bytes": num_bytes,
        "vocab_size": len(gathered.vocab),
        "bytes_per_s": num_bytes / (time.perf_counter() - started),
        "peak_rss_bytes": peak_rss_bytes(),
        "notes": notes,
    }


def open_prepared(path: str | Path) -> Corpus:
    """Map a prepared file into memory.

    Raises:
        DataError: it is not a prepared corpus, or is cut or damaged.
    """
    path = Path(path)
    header, offset = _read_header(path)
    try:
        vocab = Vocabulary.from_json(header["vocab"])
        config = TextConfig(**header["text"])
        extents = {name: (int(start), int(stop)) for name, (start, stop) in header["extents"].items()}
        num_ids = int(header["num_ids"])
        sources, notes = tuple(map(str, header["sources"])), tuple(map(str, header["notes"]))
        name, sha256, num_chars = str(header["name"]), str(header["sha256"]), int(header["num_chars"])
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, ModelFileError) as error:
        raise _damaged(path, f"its header makes no sense ({error})") from error
    expected = offset + num_ids * vocab.dtype.itemsize
    if path.stat().st_size != expected:
        raise _damaged(path, f"it has {path.stat().st_size:,} bytes where its header says {expected:,}")
    if not {"train"} <= set(extents) <= set(_PARTS) or not all(
        0 <= start < stop <= num_ids for start, stop in extents.values()
    ):
        raise _damaged(path, f"its parts {extents} do not lie in its {num_ids:,} ids")
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
    """Open the one prepared file among `sources`, refusing what its preparation has already settled otherwise.

    Raises:
        DataError: it is not the only source, has a held-out file beside it, or was prepared with other settings.
    """
    path = next(source for source in sources if is_prepared(source))
    if len(sources) > 1 or held_out is not None:
        other = held_out if held_out is not None else next(source for source in sources if source != path)
        raise DataError(
            f"{path} is prepared and {other} is not part of it",
            why="a prepared corpus has its own vocabulary and split",
            fix="prepare both texts together (charloom prepare TEXT… --val FILE --out FILE)",
        )
    corpus = open_prepared(path)
    stored, default = asdict(corpus.config), asdict(TextConfig())
    for name, value in asdict(config).items():
        if value not in (stored[name], default[name]):
            raise DataError(
                f"{path} was prepared with {name} {stored[name]}, not {value}",
                why="a prepared corpus is encoded once, with the settings of that time",
                fix=f"leave out --{name.replace('_', '-')}, or prepare the text again with it",
            )
    return corpus


def is_prepared(source: str | Path) -> bool:
    """Whether a name is that of a prepared file."""
    path = Path(source)
    if not path.is_file():  # a pipe would lose the bytes read here
        return False
    try:
        with path.open("rb") as handle:
            return handle.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def peak_rss_bytes() -> int | None:
    """The most memory this process has held; none on Windows, which keeps no such account."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def _temporary(out: Path) -> Iterator[BinaryIO]:
    """A nameless file in the result's folder: where there is room for the one there should be for the other."""
    try:
        handle = tempfile.TemporaryFile(dir=out.parent)  # noqa: SIM115 - closed below
    except OSError as error:
        raise unwritable(out, error) from error
    with handle:
        yield cast("BinaryIO", handle)


def _header(
    gathered: Gathered, config: TextConfig, *, name: str, sources: tuple[str, ...], notes: list[str]
) -> bytes:
    starts, num_ids = {}, 0
    for role, part in gathered.parts.items():
        starts[role] = num_ids
        num_ids += part.length
    document = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "vocab": gathered.vocab.to_json(),
        "text": asdict(config),
        "num_ids": num_ids,
        "extents": {
            part: [starts[role] + start, starts[role] + stop]
            for part, (role, start, stop) in gathered.extents.items()
        },
        "num_chars": gathered.parts[TEXT].num_chars,
        "sha256": gathered.sha256,
        "sources": sources,
        "notes": notes,
    }
    return json.dumps(document).encode("utf-8")


def _write(handle: BinaryIO, header: bytes, gathered: Gathered) -> None:
    header += b" " * (-(len(MAGIC) + 8 + len(header)) % _ALIGNMENT)
    handle.write(MAGIC + len(header).to_bytes(8, "little") + header)
    little = gathered.vocab.dtype.newbyteorder("<")
    for part in gathered.parts.values():
        for block in id_blocks(part, gathered.vocab):
            handle.write(block.astype(little, copy=False).tobytes())


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
        raise _damaged(path, "its header is cut or damaged") from error
    if not isinstance(header, dict) or header.get("format_version") != FORMAT_VERSION:
        raise _damaged(path, f"it is not of format version {FORMAT_VERSION}")
    return header, len(MAGIC) + 8 + length


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is no prepared corpus that can be read", why=why, fix="run charloom prepare again"
    )
