"""Where texts come from: files, folders, globs and standard input; plain or compressed; read in blocks.

A source can be opened more than once, because a first pass detects its encoding.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import itertools
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from charloom.errors import DataError
from charloom.text.catalogue import ALIASES, KNOWN
from charloom.text.decode import looks_binary
from charloom.text.left_out import LeftOut, reason_to_leave_out, reason_to_leave_out_named
from charloom.text.passed_itself import how_to_pass, is_text_itself, passed_itself
from charloom.text.pipes import spooled_pipe, spooled_stream, unreadable
from charloom.text.tables import table_format
from charloom.text.unpack import MAX_EXPANSION, packed_format, unpacked

BLOCK = 1 << 20  # bytes read at a time


@dataclass
class Meter:
    """How many bytes of a file, compressed or not, have been read."""

    num_bytes: int = 0


@dataclass(frozen=True)
class Source:
    """One text to read: a file (`path`), or standard input (`spool`, its spooled bytes).

    Messages refer to it by `name`; `block_size` is the number of bytes read at a time, `max_expansion` the
    decompressed bytes per compressed byte that are still believed.
    """

    name: str
    path: Path | None = None
    spool: BinaryIO | None = field(default=None, repr=False)
    block_size: int = BLOCK
    max_expansion: int = MAX_EXPANSION
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)

    def blocks(self) -> Generator[bytes, None, None]:
        """The bytes, decompressed, from the start.

        Raises:
            DataError: the file cannot be read, is truncated or damaged, or decompresses to an absurd size.
        """
        if self.spool is not None:
            self.spool.seek(0)
            yield from self._decompressed(self.spool)
            return
        assert self.path is not None
        try:
            handle = self.path.open("rb")
        except OSError as error:
            raise unreadable(self.name, error) from error
        with handle:
            yield from self._decompressed(handle)

    def head(self, size: int) -> bytes:
        """The first bytes, decompressed."""
        with contextlib.closing(self.blocks()) as blocks:
            return next(blocks, b"")[:size]

    def close(self) -> None:
        """Free the spooled bytes of standard input, which cannot be read again."""
        if self.spool is not None:
            self.spool.close()

    def _decompressed(self, handle: BinaryIO) -> Iterator[bytes]:
        start = handle.read(6)
        handle.seek(0)
        packed = packed_format(start)
        if packed is not None:
            sizes = {"block_size": self.block_size, "max_expansion": self.max_expansion}
            for block in unpacked(handle, packed, self.name, **sizes):
                self.meter.num_bytes = handle.tell()
                yield block
            return
        while block := handle.read(self.block_size):
            self.meter.num_bytes = handle.tell()
            yield block


def find_sources(
    names: Sequence[str | Path],
    *,
    stdin: BinaryIO | None = None,
    block_size: int = BLOCK,
    tables: bool = False,
    max_expansion: int = MAX_EXPANSION,
) -> tuple[list[Source], list[str]]:
    """Find the texts that file names, folders, globs and ``-`` (`stdin`, or the process's standard input) refer to.

    A folder is read recursively in the order of its paths, without what is never text (see `left_out`) and without
    files that are not text, or with `tables` without files that are not tables.

    Returns:
        The sources in order, and notes on skipped files.

    Raises:
        DataError: a name matches no file, or a folder contains no text.
    """
    sources: list[Source] = []
    notes: list[str] = []
    left_out = LeftOut()
    like = Source("", block_size=block_size, max_expansion=max_expansion)
    for name in names:
        if str(name) == "-":
            spool = spooled_stream(stdin if stdin is not None else sys.stdin.buffer)
            sources.append(replace(like, name="standard input", spool=spool))
            continue
        for path in _matches(str(name), left_out):
            if (reason := reason_to_leave_out_named(path)) is not None:
                left_out.add(reason, str(path))
            elif path.is_dir():
                sources += _texts_in(path, notes, like, left_out, tables=tables)
            elif path.is_file():
                sources.append(replace(like, name=str(path), path=path, meter=Meter()))
            else:
                sources.append(replace(like, name=str(path), spool=spooled_pipe(path), meter=Meter()))
    if left_out and not sources:
        raise DataError(
            f"{', '.join(map(str, names))} contains no text",
            why=f"charloom never reads {left_out}",
            fix="name a text; to use a run's settings again, pass --recipe RUN",
        )
    if left_out:
        notes.append(f"left out {left_out}")
    return sources, notes


def _matches(name: str, left_out: LeftOut) -> list[Path]:
    path = Path(name)
    if is_text_itself(name) and not glob.glob(name, recursive=True):  # noqa: PTH207
        raise passed_itself(name)
    if path.exists():
        return [path]
    if glob.has_magic(name):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        if found:
            matches = [Path(match) for match in found if not (Path(match).is_dir() and "**" in name)]
            return [match for match in matches if not _is_left_out(match, name, left_out)]
        raise DataError(
            f"no file matches {name!r}",
            why=f"the pattern was expanded in {Path.cwd()}",
            fix="check it with ls, or list the files",
        )
    raise _missing(path)


def _is_left_out(match: Path, pattern: str, left_out: LeftOut) -> bool:
    """Whether a file that matches a pattern is in a folder that is never text; names in the pattern itself are wanted."""
    wanted = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)))
    for place in [*list(match.parents)[::-1], match]:
        if len(place.parts) > wanted and (reason := reason_to_leave_out(place)) is not None:
            left_out.add(reason, str(place))
            return True
    return False


def _missing(path: Path) -> DataError:
    if path.is_symlink():
        return DataError(
            f"{path} is a link that leads to no file",
            why=f"it names {path.readlink()}, which does not exist or leads back to it",
            fix="pass the file itself, or mend the link",
        )
    folder = path.parent
    if not folder.is_dir():
        why, fix = f"the folder {folder} does not exist either", "check the spelling of the path"
    else:
        names = [entry.name for entry in folder.iterdir()]
        corpora = [*KNOWN, *ALIASES] if folder == Path() else []
        near = difflib.get_close_matches(path.name, [*names, *corpora], 1)
        why = f"{folder.resolve()} contains {len(names)} other entries"
        default = "check the path; charloom corpus list shows texts to download"
        if not path.suffix and folder == Path():
            default += f"; if this is the text itself, {how_to_pass(path.name)}"
        fix = f"did you mean {folder / near[0]}?" if near else default
    return DataError(f"{path} does not exist", why=why, fix=fix)


def _texts_in(
    folder: Path, notes: list[str], like: Source, left_out: LeftOut, *, tables: bool
) -> list[Source]:
    files, skipped = _files_below(folder)
    if not files and skipped:
        left_out.merge(skipped, folder)
        return []
    if not files:
        what, why = f"the folder {folder} contains no files", "there is nothing to read"
        raise DataError(what, why=why, fix="pass another one")
    texts, others = [], []
    for path in files:
        source = replace(like, name=str(path), path=path, meter=Meter())
        if (table_format(path.name) is not None) if tables else _is_text(source.head(1 << 13)):
            texts.append(source)
        else:
            others.append(path.relative_to(folder).as_posix())
    wanted, unwanted = ("table", "not tables") if tables else ("text", "empty or not text")
    if not texts:
        raise DataError(
            f"the folder {folder} contains no {wanted}",
            why=f"its {len(others)} files are {unwanted.replace('not text', 'binary')}, such as {others[0]}",
            fix="pass a folder of tables, or omit --column"
            if tables
            else "pass a folder of plain text files",
        )
    if others:
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        notes.append(f"{folder}: {len(others)} of {len(files)} files skipped as {unwanted} ({some})")
    if skipped:
        notes.append(skipped.note(str(folder)))
    return texts


def _is_text(head: bytes) -> bool:
    return bool(head) and not looks_binary(head)


def _files_below(folder: Path) -> tuple[list[Path], LeftOut]:
    """The files that may be text, in the order of their paths, and what was left out."""
    found, skipped = [], LeftOut()
    for root, folders, names in os.walk(folder):
        entries = sorted(Path(root, name) for name in [*folders, *names])
        reasons = {path: reason for path in entries if (reason := reason_to_leave_out(path)) is not None}
        for path, reason in reasons.items():
            skipped.add(reason, path.relative_to(folder).as_posix())
        folders[:] = [name for name in folders if Path(root, name) not in reasons]
        found += [path for path in entries if path not in reasons and path.is_file()]
    return sorted(found, key=lambda path: path.as_posix()), skipped
