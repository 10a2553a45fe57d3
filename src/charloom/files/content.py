"""What files contain: text of any Unicode encoding with a mark, JSON that can be written as UTF-8, and hashes."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any


def text_of_file(path: Path | Traversable) -> str:
    """The text of a small file that people or programs write: a recipe, a configuration, a log.

    It is UTF-8, or UTF-16 if it begins with that byte-order mark, as what Windows' older shells redirect to a file
    does. The mark is dropped.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is neither UTF-8 nor marked as UTF-16.
    """
    data = path.read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


def json_text(value: object, **options: Any) -> str:
    """A value as JSON that can be written as UTF-8, with its characters as they are.

    The bytes of a file name that are not UTF-8 (lone surrogates, PEP 383) are escaped, and a reader gets them back.

    Example:
        >>> json_text({"sources": ["caf\\udce9", "café"]})
        '{"sources": ["caf\\\\udce9", "café"]}'
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits, in bounded memory."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
