"""A general-purpose compressor as a baseline: xz, primed with the training part.

    bits_per_char = 8 · (|xz(training + validation)| − |xz(training)|) / characters of validation     (1)

This is the cost of the validation part for a receiver who already has the training part. xz is LZMA2, the strongest
compressor in every Python: it copies earlier passages of the text, codes the rest with an adaptive model of short
contexts, and keeps learning while it reads. A network that needs more bits captures less than the repetitions alone.

Sizes are whole bytes, so (1) is a multiple of 8 / characters: 0.08 with 100 validation characters.
"""

import lzma
from collections.abc import Generator

from charloom.errors import ConfigError, DataError
from charloom.steps import result_of

_SMALLEST_DICTIONARY = 4096  # bytes; the format allows no smaller one
_PART = 1 << 18  # bytes between two pauses: about a quarter of a second


def xz_bits_per_char(
    train_text: str,
    validation_text: str,
    *,
    max_train_bytes: int = 8_000_000,
    max_validation: int = 1_000_000,
) -> float:
    """Bits per validation character that xz needs after it has read the training text.

    Raw LZMA2 (no container, no checksum), preset 9 extreme, UTF-8, and a dictionary that spans both texts.
    About 1 s for 1 MB, 15 s at the limits; the time grows with both texts.

    Args:
        train_text: the text that the compressor reads first; may be empty.
        validation_text: the text that is charged, at least one character.
        max_train_bytes: a longer training text is cut to its last this many bytes (next to the validation text).
        max_validation: a longer validation text is cut to its first this many characters.

    Returns:
        Equation (1) of this module. It can exceed the 8 or 16 bits of a stored character: tiny texts do not compress.

    Raises:
        ConfigError: `max_train_bytes` is negative or `max_validation` below 1.
        DataError: the validation text is empty.

    Example:
        >>> verse = "O that this too too solid flesh would melt"
        >>> xz_bits_per_char("", verse) > 8 > 1 > xz_bits_per_char(verse, verse)
        True
    """
    limits = {"max_train_bytes": (max_train_bytes, 0), "max_validation": (max_validation, 1)}
    for name, (value, least) in limits.items():
        if value < least:
            raise ConfigError(
                f"{name} is {value}", why=f"it must be at least {least}", fix=f"set {name} to {least} or more"
            )
    if not validation_text:
        raise DataError(
            "the validation text is empty",
            why="bits per character are a mean over its characters",
            fix="hold out more text with --val-fraction",
        )
    validation_text = validation_text[:max_validation]
    return result_of(xz_bits_in_steps(train_text, validation_text, max_train_bytes=max_train_bytes))


def xz_bits_in_steps(
    train_text: str, validation_text: str, *, max_train_bytes: int = 8_000_000
) -> Generator[None, None, float]:
    """Return `xz_bits_per_char` of a valid text, with a pause after each part of a text."""
    known = train_text.encode("utf-8", "surrogatepass")
    known = known[max(0, len(known) - max_train_bytes) :]  # a character cut in half costs xz nothing
    both = known + validation_text.encode("utf-8", "surrogatepass")
    known_size = yield from _size(known)
    whole_size = yield from _size(both)
    return 8 * (whole_size - known_size) / len(validation_text)  # (1)


def _size(data: bytes) -> Generator[None, None, int]:
    """Bytes that `data` takes as raw LZMA2 whose dictionary holds all of it."""
    span = max(len(data), _SMALLEST_DICTIONARY)
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": span}
    compressor, size = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[lzma2]), 0
    for start in range(0, len(data), _PART):
        size += len(compressor.compress(data[start : start + _PART]))
        yield
    return size + len(compressor.flush())
