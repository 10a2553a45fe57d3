"""Known corpora: where to download them and how to verify them.

A download goes to a temporary name and is renamed only when its SHA-256 matches, so a folder never holds half a corpus.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

from charloom.errors import DownloadError
from charloom.files import atomic_write, made_folder, sha256_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT_S = 30.0
MAX_BYTES = 1 << 28
_BLOCK = 1 << 16


class KnownCorpus(NamedTuple):
    """One text of the catalogue.

    Attributes:
        url: the text, or a ZIP archive with it as `member`.
        sha256: of the text.
        chars: its number of characters after cleaning.
        licence: under which it may be used.
        what: a few words on it.
        member: the name of the text in the archive.
        parts: the usual split, as names and sizes in bytes; each part is also kept in a file of its own.
    """

    url: str
    sha256: str
    chars: int
    licence: str
    what: str
    member: str | None = None
    parts: tuple[tuple[str, int], ...] = ()


_RAW = "https://raw.githubusercontent.com"
KNOWN: Mapping[str, KnownCorpus] = MappingProxyType(
    {
        "anna": KnownCorpus(
            f"{_RAW}/udacity/deep-learning-v2-pytorch/master/recurrent-neural-networks/char-rnn/data/anna.txt",
            "568bb39fc78aca98e9db91c4329dcd1aa5ec4c3df3aca2064ce5d6f023ae16c9",
            1_985_223,
            "public domain",
            "Tolstoy, Anna Karenina, English by Garnett",
        ),
        "enwik8": KnownCorpus(
            "http://mattmahoney.net/dc/enwik8.zip",
            "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
            99_621_832,
            "CC BY-SA",
            "the first 100,000,000 bytes of English Wikipedia, 2006: a standard benchmark, use --unit byte",
            "enwik8",
            (("train", 90_000_000), ("valid", 5_000_000), ("test", 5_000_000)),
        ),
        "moliere": KnownCorpus(
            f"{_RAW}/SimonThomine/CoursDeepLearning/main/fr/05_NLP/moliere.txt",
            "9589b888061b947f572349272728147e6de1c34887a1298c92563e7cb1f10d28",
            1_687_290,
            "public domain",
            "Molière's dialogues, French",
        ),
        "names": KnownCorpus(
            f"{_RAW}/karpathy/makemore/master/names.txt",
            "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            228_145,
            "public domain",
            "32,033 given names, one per line: use --documents line",
        ),
        "tinyshakespeare": KnownCorpus(
            f"{_RAW}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1_115_394,
            "public domain",
            "40,000 lines of Shakespeare",
        ),
    }
)
ALIASES: Mapping[str, str] = MappingProxyType({"shakespeare": "tinyshakespeare"})
"""Shorter names for some of them."""


def list_corpora(*, folder: str | Path | None = None) -> list[dict[str, Any]]:
    """The catalogue, one dictionary per text: name, chars, licence, what, url, sha256, and the path if downloaded.

    Example:
        >>> [row["name"] for row in list_corpora()]
        ['anna', 'enwik8', 'moliere', 'names', 'tinyshakespeare']
    """
    paths = {name: _path_of(name, folder) for name in KNOWN}
    return [
        {
            "name": name,
            **{key: value for key, value in known._asdict().items() if key not in ("member", "parts")},
            "path": str(paths[name]) if paths[name].is_file() else None,
            "parts": {part: str(path) for part, path in parts_of(paths[name], known).items()},
        }
        for name, known in KNOWN.items()
    ]


def corpus_parts(path: Path, name: str) -> dict[str, Path]:
    """The files with the usual parts of a downloaded corpus, by their name; none for most."""
    return parts_of(path, KNOWN[ALIASES.get(name, name)])


def parts_of(path: Path, known: KnownCorpus) -> dict[str, Path]:
    """The files with the usual parts of a corpus, if it has any, beside the file of the whole."""
    return {part: path.with_name(f"{path.stem}-{part}.txt") for part, _ in known.parts}


def default_folder() -> Path:
    """The folder of downloaded corpora: ``$CHARLOOM_DATA``, else charloom/corpora in the user's cache folder."""
    if chosen := os.environ.get("CHARLOOM_DATA"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "charloom", "corpora")


def _path_of(name: str, folder: str | Path | None) -> Path:
    return (default_folder() if folder is None else Path(folder)) / f"{name}.txt"


def with_known_corpora(names: Sequence[str | Path]) -> tuple[list[str | Path], list[str]]:
    """Replace each name of a known corpus by its file, which is downloaded first if it is not there.

    An existing file or folder of that name wins.

    Returns:
        The names, and a note on each corpus: what it is, and where it is kept.

    Raises:
        DownloadError: there is no network; it says where to put the file.
    """
    found: list[str | Path] = []
    notes: list[str] = []
    for name in names:
        known = ALIASES.get(str(name), str(name))
        if known not in KNOWN or Path(name).exists():
            found.append(name)
            continue
        there = _path_of(known, None).is_file()
        path = _brought(str(name), known)
        found.append(path)
        how = "" if there else "downloaded to "
        notes.append(f"{name}: {KNOWN[known].what} ({how}{path})")
    return found, notes


def _brought(name: str, known: str) -> Path:
    try:
        return get_corpus(known)
    except DownloadError as error:
        path = _path_of(known, None)
        raise DownloadError(
            f"{name!r} is not a file here, and the corpus {known} cannot be downloaded",
            why=f"{error.what}: {error.why}",
            fix=f"save {KNOWN[known].url} as {path}, from another machine if need be, or name a text of your own",
        ) from error


def get_corpus(
    name: str, *, folder: str | Path | None = None, url: str | None = None, timeout_s: float = TIMEOUT_S
) -> Path:
    """Download a known corpus, unless it is already there, and return its path.

    Args:
        name: a key of `KNOWN` or of `ALIASES`.
        folder: where to keep it; None means `default_folder`.
        url: another address of the same file, such as a mirror.
        timeout_s: seconds to wait for the server to respond.

    Raises:
        DownloadError: the name is unknown, there is no network, or the download is truncated or a different file.
        RunError: the folder cannot be written to.
    """
    name = ALIASES.get(name, name)
    if name not in KNOWN:
        raise _unknown(name)
    known, path = KNOWN[name], _path_of(name, folder)
    if not (path.is_file() and sha256_of(path) == known.sha256):
        with made_folder(path.parent):
            atomic_write(path, lambda handle: _fetch(url or known.url, handle, known, timeout_s))
    _divide(path, known)
    return path


def _divide(path: Path, known: KnownCorpus) -> None:
    """Write the usual parts of a corpus, unless they are there."""
    start = 0
    for (_, size), part in zip(known.parts, parts_of(path, known).values(), strict=True):
        if not (part.is_file() and part.stat().st_size == size):
            with path.open("rb") as whole:
                whole.seek(start)
                atomic_write(part, whole.read(size))
        start += size


def _fetch(url: str, handle: BinaryIO, known: KnownCorpus, timeout_s: float) -> None:
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            expected = response.headers.get("Content-Length")
            digest, received = _receive_text(response, handle, url, known)
    except urllib.error.HTTPError as error:
        error.close()
        raise _failed(url, f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _failed(url, f"no connection ({error.reason})") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, f"the connection failed ({error})") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError) as error:
        raise _failed(url, f"it is not an archive with {known.member} ({error})") from error
    if expected is not None and received != int(expected):
        raise _failed(url, f"the connection was cut after {received:,} of {int(expected):,} bytes")
    if digest != known.sha256:
        raise DownloadError(
            f"{url} is not the expected corpus",
            why=f"its SHA-256 is {digest}, not {known.sha256}",
            fix="the file has changed upstream or was altered in transit: download it elsewhere and pass its path",
        )


def _receive_text(response: HTTPResponse, handle: BinaryIO, url: str, known: KnownCorpus) -> tuple[str, int]:
    """Receive a text, out of its archive if it comes in one: (its SHA-256, bytes received)."""
    if known.member is None:
        return _receive(response, handle, url)
    with tempfile.TemporaryFile() as archive:
        digest, received = _receive(response, archive, url)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened, opened.open(known.member) as member:
                digest, _ = _receive(member, handle, url)
        else:  # a mirror of the text itself
            archive.seek(0)
            shutil.copyfileobj(archive, handle)
    return digest, received


def _receive(response: HTTPResponse | IO[bytes], handle: BinaryIO | IO[bytes], url: str) -> tuple[str, int]:
    digest, received = hashlib.sha256(), 0
    while block := response.read(_BLOCK):
        received += len(block)
        if received > MAX_BYTES:
            raise _failed(url, f"the server sent more than {MAX_BYTES:,} bytes")
        digest.update(block)
        handle.write(block)
    return digest.hexdigest(), received


def _failed(url: str, why: str) -> DownloadError:
    return DownloadError(
        f"cannot fetch {url}",
        why=why,
        fix="check the network and try again, or download the file another way and pass its path",
    )


def _unknown(name: str) -> DownloadError:
    near = difflib.get_close_matches(name, KNOWN, 1)
    return DownloadError(
        f"unknown corpus {name!r}",
        why=f"the catalogue has {', '.join(KNOWN)}",
        fix=f"did you mean {near[0]}?" if near else "choose one of them, or pass a file of your own",
    )
