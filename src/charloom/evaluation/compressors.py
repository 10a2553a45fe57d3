"""What a general compressor makes of a text: xz, which has read the training part first.

    bits_per_char = 8 · (|xz(training + validation)| − |xz(training)|) / characters of validation     (1)

This is the price of the validation part for a reader who already holds the training part. xz is LZMA2, the strongest
compressor that every Python carries: it copies earlier stretches of the text, codes the rest with an adaptive model of
short contexts, and goes on learning while it reads. A network that needs more bits has found less than the repetitions.

Sizes are whole bytes, so (1) is a multiple of 8 / characters: on 100 validation characters it moves in steps of 0.08.
"""

import lzma

from charloom.errors import ConfigError, DataError

_SMALLEST_DICTIONARY = 4096  # bytes; the format allows no smaller one


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
        train_text: what the compressor reads first; may be empty.
        validation_text: what is charged, at least one character.
        max_train_bytes: of a longer training text, the last this many bytes are read (those next to the
            validation text).
        max_validation: of a longer validation text, the first this many characters are charged.

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
    _check_limits(max_train_bytes, max_validation)
    if not validation_text:
        raise DataError(
            "the validation text is empty",
            why="bits per character are a mean over its characters",
            fix="hold out more text with --val-fraction",
        )
    validation_text = validation_text[:max_validation]
    known = train_text.encode("utf-8", "surrogatepass")
    known = known[max(0, len(known) - max_train_bytes) :]  # a character cut in half costs xz nothing
    both = known + validation_text.encode("utf-8", "surrogatepass")
    return 8 * (_size(both) - _size(known)) / len(validation_text)  # (1)


def _size(data: bytes) -> int:
    """Bytes that `data` takes as raw LZMA2 whose dictionary holds all of it."""
    span = max(len(data), _SMALLEST_DICTIONARY)
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": span}
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=[lzma2]))


def _check_limits(max_train_bytes: int, max_validation: int) -> None:
    limits = (("max_train_bytes", max_train_bytes, 0), ("max_validation", max_validation, 1))
    for name, value, least in limits:
        if value < least:
            raise ConfigError(
                f"{name} is {value}", why=f"it must be at least {least}", fix=f"set {name} to {least} or more"
            )
