"""The texts that the cost laws are fitted on: prose, verse, code, wiki pages and messages, in a dozen languages.

A text is found where it is: the data folder (CHARLOOM_DATA), Python's and PyTorch's own files, and the system's
translated messages. ENWIK8 names the file enwik8, if there is one. A text that is missing is skipped.
"""

from __future__ import annotations

import gettext
import lzma
import os
import random
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

DATA = Path(os.environ.get("CHARLOOM_DATA", "../shared/data")).absolute()
ENWIK8 = Path(os.environ.get("ENWIK8", "enwik8"))
MESSAGES = Path("/usr/share/locale")
LANGUAGES = ("de", "ru", "ja", "zh_CN", "es", "fi", "el", "tr")
MOST_CHARS = 12_000_000
FILES = {
    "python": (Path(sysconfig.get_path("stdlib")), "*.py"),
    "perl": (Path("/usr/share/perl"), "5.*/**/*.pm"),
    "c": (Path("/usr/include"), "*.h"),
    "vim": (Path("/usr/share/vim"), "vim*/doc/*.txt"),
    "licenses": (Path("/usr/share/common-licenses"), "*"),
}


def part(name: str, offset: float, chars: int) -> str | None:
    """`chars` characters of a text from a share `offset` of it onwards; None if it is missing or ends before."""
    whole = whole_text(name)
    first = int(offset * len(whole))
    return whole[first : first + chars] if len(whole) - first >= chars else None


@cache
def whole_text(name: str) -> str:
    """A text by name; empty if it is not on this machine."""
    kind, _, rest = name.partition("-")
    readers: Mapping[str, Callable[[str], str]] = {"messages": _messages, "files": _files, "enwik8": _enwik8}
    return readers[kind](rest) if kind in readers else _of_data(name)


def _of_data(name: str) -> str:
    path = DATA / f"{name}.txt"
    if path.exists():
        return path.read_text("utf-8")[:MOST_CHARS]
    packed = DATA / f"{name}.txt.xz"
    return lzma.open(packed, "rt", encoding="utf-8").read(MOST_CHARS) if packed.exists() else ""


def _enwik8(_rest: str) -> str:
    return ENWIK8.read_bytes().decode("utf-8", "ignore") if ENWIK8.exists() else ""


def _files(what: str) -> str:
    """Source code and manuals that come with Python, PyTorch and the system; license blocks stay."""
    if what == "torch":
        import torch

        return _joined(Path(torch.__file__).parent / "include/ATen", "**/*.h")
    return _joined(*FILES[what])


def _joined(folder: Path, pattern: str) -> str:
    parts, size = [], 0
    for path in sorted({path.resolve() for path in folder.glob(pattern)}):
        parts.append(path.read_text("utf-8", "ignore"))
        size += len(parts[-1])
        if size > MOST_CHARS:
            break
    return "".join(parts)


def _messages(language: str) -> str:
    """The messages of all installed programs in a language, each once, in the order of the files."""
    seen: dict[str, None] = {}
    for path in sorted((MESSAGES / language / "LC_MESSAGES").glob("*.mo")):
        if path.name.startswith("iso_"):
            continue
        seen |= dict.fromkeys(_translations(path))
    return "\n".join(text for text in seen if text)


def _translations(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            found = vars(gettext.GNUTranslations(file))["_catalog"].values()
    except UnicodeDecodeError:  # a few say UTF-8 and are not
        return []
    return [text for text in found if isinstance(text, str)]


def respelt(text: str, spellings: int, seed: int = 0) -> str:
    """The text with each character written in one of `spellings` ways, at random: log2 of it more bits a character.

    So a vocabulary of any size has the same language behind it.
    """
    draw = random.Random(seed)
    ways = {
        char: [chr(0x4E00 + spellings * i + j) for j in range(spellings)]
        for i, char in enumerate(sorted(set(text)))
    }
    return "".join(draw.choice(ways[char]) for char in text)
