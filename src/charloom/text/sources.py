"""Where texts come from: files, folders, globs and standard input; plain or compressed; read in blocks.

A source can be opened more than once, because its encoding is settled in a first reading.
"""

from __future__ import annotations

import bz2
import difflib
import glob
import gzip
import io
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.clean import Cleaner
from charloom.text.decode import decode_blocks, detect, looks_binary
from charloom.text.plausible import mojibake_note

BLOCK = 1 << 20  # bytes read at a time
_SPOOL = 1 << 26  # bytes of standard input held in memory before they go to a temporary file
_BOMB_SIZE = 1 << 30  # unpacked bytes from which on the ratio is watched
_BOMB_RATIO = 250  # unpacked bytes a packed one; text reaches 10, logs 50
_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, OSError)
_PACKED = ((b"\x1f\x8b", gzip.open), (b"\xfd7zXZ\0", lzma.open), (b"BZh", bz2.open))


@dataclass(frozen=True)
class Source:
    """One text to read: a file, or standard input that was spooled.

    Attributes:
        name: what messages call it.
        path: the file, none for standard input.
        spool: the spooled bytes of standard input.
        block_size: bytes read at a time.
    """

    name: str
    path: Path | None = None
    spool: BinaryIO | None = field(default=None, repr=False)
    block_size: int = BLOCK

    def blocks(self) -> Iterator[bytes]:
        """The bytes, unpacked, from the start.

        Raises:
            DataError: the file cannot be read, is cut or damaged, or unpacks to an absurd size.
        """
        try:
            handle = self._open()
        except OSError as error:
            raise unreadable(self.name, error) from error
        try:
            yield from self._unpacked(handle)
        finally:
            if handle is not self.spool:
                handle.close()

    def head(self, size: int) -> bytes:
        """The first bytes, unpacked."""
        blocks = self.blocks()
        try:
            return next(blocks, b"")[:size]
        finally:
            cast("io.IOBase", blocks).close()

    def close(self) -> None:
        """Let go of what standard input left; the source cannot be read again."""
        if self.spool is not None:
            self.spool.close()

    def _open(self) -> BinaryIO:
        if self.path is not None:
            return self.path.open("rb")
        assert self.spool is not None
        self.spool.seek(0)
        return self.spool

    def _unpacked(self, handle: BinaryIO) -> Iterator[bytes]:
        start = handle.read(6)
        handle.seek(0)
        opener = next((opener for magic, opener in _PACKED if start.startswith(magic)), None)
        if opener is None:
            while block := handle.read(self.block_size):
                yield block
            return
        unpacked = cast("BinaryIO", opener(handle))
        total = 0
        while block := self._next_block(unpacked):
            total += len(block)
            packed = max(handle.tell(), 1)
            if total > _BOMB_SIZE and total > _BOMB_RATIO * packed:
                raise DataError(
                    f"{self.name} unpacks to more than {total:,} bytes from {packed:,}",
                    why=f"no text packs {_BOMB_RATIO}-fold, so this is a mistake or an attack on the disk",
                    fix="if it is meant, unpack it first and name the unpacked file",
                )
            yield block

    def _next_block(self, unpacked: BinaryIO) -> bytes:
        try:
            return unpacked.read(self.block_size)
        except _DAMAGED as error:
            raise DataError(
                f"{self.name} cannot be unpacked to its end",
                why=f"{error}".rstrip(".") or "it is cut or damaged",
                fix="get the file again; its size or checksum will differ",
            ) from error


@dataclass
class Reading:
    """One source being read: cleaned pieces of text, and what was found on the way.

    Attributes:
        source: what is read.
        config: encoding and normal form.
        num_bytes: unpacked bytes read so far.
        encoding: the codec that was settled on; empty until the first piece.
        notes: what a reader should know, complete when the pieces are.
    """

    source: Source
    config: TextConfig
    num_bytes: int = 0
    encoding: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.source.name

    def pieces(self) -> Iterator[str]:
        """Decode and clean, piece by piece; joined they equal the cleaned whole.

        Raises:
            DecodeError: a byte does not fit the encoding.
            DataError: it cannot be read or is no text.
        """
        try:
            yield from self._cleaned()
        finally:
            self.source.close()

    def _cleaned(self) -> Iterator[str]:
        encoding = detect(self.source.blocks(), encoding=self.config.encoding, source=self.source.name)
        self.encoding = encoding.name
        self._note(encoding.note)
        cleaner = Cleaner(self.config)
        for number, text in enumerate(decode_blocks(self._counted(), encoding.name, self.source.name)):
            if number == 0:
                self._note(mojibake_note(text))
            yield cleaner.feed(text)
        yield cleaner.feed("", final=True)

    def _counted(self) -> Iterator[bytes]:
        for block in self.source.blocks():
            self.num_bytes += len(block)
            yield block

    def _note(self, note: str | None) -> None:
        if note:
            self.notes.append(f"{self.source.name}: {note}")


def find_sources(
    names: Sequence[str | Path], *, stdin: BinaryIO | None = None, block_size: int = BLOCK
) -> tuple[list[Source], list[str]]:
    """The texts behind file names, folders, globs and ``-``.

    A folder is read recursively in the order of its paths; hidden files and files that hold no text are left out.

    Args:
        names: as the user gave them.
        stdin: what ``-`` reads; the process's standard input if none.
        block_size: bytes read at a time.

    Returns:
        The sources in order, and notes on what was left out.

    Raises:
        DataError: a name leads to nothing, or a folder to no text.
    """
    sources: list[Source] = []
    notes: list[str] = []
    for name in names:
        if str(name) == "-":
            spool = _spooled(stdin if stdin is not None else sys.stdin.buffer)
            sources.append(Source("standard input", spool=spool, block_size=block_size))
            continue
        for path in _matches(str(name)):
            if path.is_dir():
                sources += _texts_in(path, notes, block_size)
            elif path.is_file():
                sources.append(Source(str(path), path, block_size=block_size))
            else:
                sources.append(Source(str(path), spool=_spooled_pipe(path), block_size=block_size))
    return sources, notes


def unreadable(name: str, error: OSError) -> DataError:
    """The error for a file that the system does not let us read."""
    return DataError(
        f"cannot read {name}",
        why=error.strerror or str(error),
        fix="check the file's permissions and its disk",
    )


def _spooled(stdin: BinaryIO) -> BinaryIO:
    """Standard input, kept so that it can be read twice: in memory, or on the disk when it is long."""
    memory = io.BytesIO()
    while block := stdin.read(BLOCK):
        memory.write(block)
        if memory.tell() > _SPOOL:
            disk = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - `Reading.pieces` closes it
            disk.write(memory.getbuffer())
            shutil.copyfileobj(stdin, disk, BLOCK)
            return disk
    return memory


def _spooled_pipe(path: Path) -> BinaryIO:
    """A pipe under a name, as ``<(command)`` makes one: it can be read only once, like standard input."""
    try:
        with path.open("rb") as pipe:
            return _spooled(pipe)
    except OSError as error:
        raise unreadable(str(path), error) from error


def _matches(name: str) -> list[Path]:
    path = Path(name)
    if path.exists():
        return [path]
    if glob.has_magic(name):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        if found:
            return [Path(match) for match in found if not (Path(match).is_dir() and "**" in name)]
        raise DataError(
            f"no file matches {name!r}",
            why=f"the pattern was looked up in {Path.cwd()}",
            fix="check it with ls, or name the files",
        )
    raise _missing(path)


def _missing(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            f"there is no file {path}",
            why=f"there is no folder {folder} either",
            fix="check the path, letter by letter",
        )
    names = [entry.name for entry in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, 1)
    fix = (
        f"did you mean {folder / near[0]}?"
        if near
        else "check the path; charloom corpus list names texts to fetch"
    )
    return DataError(
        f"there is no file {path}", why=f"{folder.resolve()} holds {len(names)} other entries", fix=fix
    )


def _texts_in(folder: Path, notes: list[str], block_size: int) -> list[Source]:
    files = _files_below(folder)
    if not files:
        raise DataError(
            f"the folder {folder} holds no files", why="there is nothing to read", fix="name another one"
        )
    texts, others = [], []
    for path in files:
        source = Source(str(path), path, block_size=block_size)
        head = source.head(1 << 13)
        if not head or looks_binary(head):
            others.append(path.relative_to(folder).as_posix())
        else:
            texts.append(source)
    if not texts:
        raise DataError(
            f"the folder {folder} holds no text",
            why=f"its {len(others)} files are empty or binary, such as {others[0]}",
            fix="name a folder of plain text files",
        )
    if others:
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        notes.append(f"{folder}: {len(others)} of {len(files)} files left out as empty or no text ({some})")
    return texts


def _files_below(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted((path for path in found if path.is_file()), key=lambda path: path.as_posix())
