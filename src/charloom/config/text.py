"""The settings of a text: how bytes become ids, and which of them are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.config.separators import NAMED_SEPARATORS, parse_replacements, unescaped
from charloom.errors import ConfigError

_VAL_FRACTION = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which ids are held out."""

    encoding: str | None = setting(
        None, "text encoding; none = detect from a byte-order mark, UTF-8, then a guess that is reported"
    )
    column: str | None = setting(
        None,
        "column of a .csv, .tsv, .jsonl, .json or .parquet file that has the text; each row is a document",
    )
    unit: Literal["char", "byte"] = setting(
        "char", "what each id represents: a code point, or a byte of the file as it is"
    )
    clean_bytes: bool = setting(
        False,
        "with unit byte: decode and normalise the text first, as with unit char, and encode it as UTF-8",
    )
    normalization: Literal["nfc", "nfd", "nfkc", "nfkd", "none"] = setting(
        "nfc", "Unicode normalisation applied to the text and to prompts; changes are counted and shown"
    )
    replace_chars: str | None = setting(
        None,
        "characters to replace in the text and in prompts: U+FFFD= leaves one out, U+2019=' replaces one; "
        "separated by commas",
    )
    min_count: int = setting(1, "characters that occur less often become <unk>", at_least=1)
    vocab_from: Literal["all", "train"] = setting(
        "all", "the part of the text that defines the vocabulary; train adds <unk>"
    )
    documents: str = setting(
        "none",
        r"document separator: none, line, blank-line, file (or row of a table), or a string, in which \n is a "
        r"newline, \t a tab and \\ a backslash",
    )
    keep_separator: Literal["no", "begin", "end"] = setting(
        "no", "a separator string is dropped, or kept at the beginning or at the end of a document"
    )
    val_fraction: float = setting(
        _VAL_FRACTION, "fraction of the text held out for validation", at_least=0.0, below=1.0
    )
    val_count: int | None = setting(
        None, "documents held out for validation, instead of a fraction; none = by val_fraction", at_least=1
    )
    split: Literal["contiguous", "random"] = setting(
        "contiguous", "what is held out: the end of the text, or documents drawn at random"
    )
    split_seed: int = setting(
        0, "seed of a random split; --seed does not change what is held out", at_least=0, below=2**64
    )
    take_chars: int | None = setting(None, "characters to use, from the start; none = all", at_least=1)

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.documents:
            raise ConfigError(
                "documents is empty",
                why="a separator needs at least one character",
                fix="use none, line, blank-line, file or a separator string",
            )
        if self.column is not None and self.documents == "none":
            object.__setattr__(self, "documents", "file")  # each row is a document
        self._check_separator()
        self._check_cleaning()
        self._check_split()

    @property
    def is_raw(self) -> bool:
        """Whether the ids are the bytes of the text as they are: nothing is decoded, normalised or replaced."""
        return self.unit == "byte" and not self.clean_bytes

    def _check_separator(self) -> None:
        if self.keep_separator == "no":
            return
        named = self.documents in NAMED_SEPARATORS
        if named or not unescaped(self.documents).strip("\n"):
            raise ConfigError(
                f"keep_separator is {self.keep_separator} and documents is {self.documents}",
                why="newlines at either end of a document are always dropped, so nothing would be kept",
                fix="omit --keep-separator, or give a separator string such as --documents '\\n>'",
            )

    def _check_cleaning(self) -> None:
        if self.replace_chars is not None:
            parse_replacements(self.replace_chars)
        if self.clean_bytes and self.unit == "char":
            raise ConfigError(
                "clean_bytes is on and unit is char",
                why="there are no bytes to clean: a text of characters is always decoded and normalised",
                fix="omit --clean-bytes, or add --unit byte",
            )
        given = {name: getattr(self, name) for name in ("encoding", "replace_chars")}
        given["normalization"] = None if self.normalization in ("nfc", "none") else self.normalization
        for name in [name for name, value in given.items() if value is not None and self.is_raw]:
            raise ConfigError(
                f"{name} is {given[name]!r} and unit is byte",
                why="the bytes of the text are read as they are, so nothing is decoded, normalised or replaced",
                fix=f"omit --{name.replace('_', '-')}, or add --clean-bytes",
            )

    def _check_split(self) -> None:
        needs_documents = {"split": self.split == "random", "val_count": self.val_count is not None}
        for name in [name for name, used in needs_documents.items() if used and self.documents == "none"]:
            raise ConfigError(
                f"{name} is {getattr(self, name)} and documents is none",
                why="whole documents are drawn and counted, and this text is one stream",
                fix=f"say what separates them, such as --documents line, or omit --{name.replace('_', '-')}",
            )
        if self.val_count is not None and self.val_fraction != _VAL_FRACTION:
            raise ConfigError(
                f"val_count is {self.val_count} and val_fraction is {self.val_fraction:g}",
                why="both say how much is held out",
                fix="keep only one of --val-count and --val-fraction",
            )
