"""Bytes → text, strictly: byte-order mark, then UTF-8, then a guess that is stated; or the encoding named by the user.

No byte is ever replaced. What cannot be decoded is an error that names the byte and where it stands. A stream is
read twice, once to settle the encoding and once to decode, so that a text of any size takes a few blocks of memory.
"""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from charloom.errors import DataError, DecodeError
from charloom.text.clean import clean as clean
from charloom.text.guess import best_match
from charloom.text.plausible import character_notes, mojibake_note

_BOMS = (  # the longer first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = (
    (b"%PDF-", "a PDF document", "extract its text first, for example with pdftotext"),
    (
        b"PK\x03\x04",
        "a ZIP archive (also .docx, .odt, .epub)",
        "unpack it, or save the document as plain text",
    ),
    (b"\x89PNG", "a picture", "name a text file"),
    (b"\xff\xd8\xff", "a picture", "name a text file"),
    (b"\x7fELF", "a program", "name a text file"),
    (b"{\\rtf", "an RTF document", "save the document as plain text"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save the document as plain text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first with unzstd"),
)
_NO_TEXT_CODECS = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
}
_HEAD = 1 << 13  # bytes looked at for signatures and for UTF-16 without a mark
_SAMPLE = 1 << 18  # bytes shown to the guesser, from the first that is not UTF-8 (and a little before)
_LEAD = 1 << 14
_MAX_CONTROL_FRACTION = 0.05  # more control characters than this, and it is no text
_MIN_NULS = 0.02  # NULs a quarter of the bytes: even text without Latin letters has spaces or line ends
_TEXT_CONTROLS = b"\t\n\r\f\x0b\x1b\x1a\x08"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded text and how it was read.

    Attributes:
        text: the characters, neither normalised nor otherwise changed, without a byte-order mark.
        encoding: the name of the codec.
        confidence: 1.0 unless the encoding was guessed; then the guesser's, in [0, 1].
        notes: what a reader should know: a guess, mojibake, control characters.
    """

    text: str
    encoding: str
    confidence: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding that was settled on.

    Attributes:
        name: the codec.
        confidence: 1.0 unless guessed.
        note: what to tell the user, empty if nothing.
    """

    name: str
    confidence: float = 1.0
    note: str = ""


def decode_bytes(data: bytes, *, encoding: str | None, source: str) -> Decoded:
    """Decode a whole text.

    Args:
        data: its bytes.
        encoding: a codec's name, or none to find it.
        source: the name that errors and notes give it.

    Raises:
        DecodeError: a byte does not fit the encoding, or no encoding is plausible.
        DataError: the bytes are no text.

    Example:
        >>> decode_bytes(b"caf\\xc3\\xa9", encoding=None, source="menu.txt").text
        'café'
    """
    chosen = detect([data], encoding=encoding, source=source)
    text = "".join(decode_blocks([data], chosen.name, source))
    notes = [f"{source}: {chosen.note}"] if chosen.note else []
    found = [mojibake_note(text), *character_notes(text)]
    return Decoded(
        text, chosen.name, chosen.confidence, (*notes, *(f"{source}: {note}" for note in found if note))
    )


def detect(blocks: Iterable[bytes], *, encoding: str | None, source: str) -> Encoding:
    """Settle the encoding of a stream, reading as much of it as that takes (all, to be sure of UTF-8).

    Raises:
        DecodeError: the encoding named does not exist, or none is plausible.
        DataError: the bytes are no text.
    """
    iterator = iter(blocks)
    head = _at_least(iterator, _HEAD)
    if encoding is not None:
        return Encoding(_known_codec(encoding, source))
    for mark, name in _BOMS:
        if head.startswith(mark):
            return Encoding(name)
    _refuse_signatures(head, source)
    if b"\0" in head[:_HEAD]:
        return _without_mark(head[:_HEAD], source)
    sample = _until_not_utf8(head, iterator)
    if sample is None:
        _refuse_binary(head, source)
        return Encoding("utf-8")
    offset, part, start = sample
    return _guess(part, source, offset=offset, lead=offset - start)


def decode_blocks(blocks: Iterable[bytes], encoding: str, source: str) -> Iterator[str]:
    """Decode a stream block by block, strictly, without its byte-order mark.

    Raises:
        DecodeError: naming the byte, its offset from the start, and an encoding that would fit.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    offset, first = 0, True
    for block in _with_end(blocks):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _undecodable(error, encoding, source, offset + len(block) - _rest(error)) from error
        except UnicodeError as error:  # a codec that names no position
            raise _undecodable(error, encoding, source, offset) from error
        offset += len(block)
        if text:
            yield text.removeprefix("\ufeff") if first else text
            first = False


def looks_binary(head: bytes) -> bool:
    """Whether a file's first bytes are no text: used to pass over the pictures in a folder of texts.

    Example:
        >>> looks_binary(b"%PDF-1.7"), looks_binary("نص".encode("cp1256"))
        (True, False)
    """
    try:
        if any(head.startswith(mark) for mark, _ in _BOMS):
            return False
        _refuse_signatures(head, "")
        if b"\0" in head:
            _without_mark(head, "")
        else:
            _refuse_binary(head, "")
    except DataError:
        return True
    return False


def _rest(error: UnicodeDecodeError) -> int:
    """Bytes from the bad one to the end of what was fed: right whatever the decoder kept or skipped before."""
    return len(error.object) - error.start


def _with_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield from (block for block in blocks if block)
    yield b""


def _at_least(iterator: Iterator[bytes], size: int) -> bytes:
    parts, total = [], 0
    for block in iterator:
        parts.append(block)
        total += len(block)
        if total >= size:
            break
    return b"".join(parts)


def _known_codec(name: str, source: str) -> str:
    try:
        codec = codecs.lookup(name)
        if not getattr(codec, "_is_text_encoding", True):
            raise LookupError(name)
    except (LookupError, ValueError) as error:
        names = sorted({*encodings.aliases.aliases.values()} - _NO_TEXT_CODECS)
        near = difflib.get_close_matches(name.lower().replace("-", "_"), names, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise DecodeError(
            f"there is no encoding {name!r} for {source}",
            why="Python has no text codec of that name",
            fix=f"{hint}leave out --encoding to have it found, or name one such as utf-8, cp1252 or cp1256",
        ) from error
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def _refuse_signatures(head: bytes, source: str) -> None:
    for signature, what, fix in _SIGNATURES:
        if head.startswith(signature):
            raise DataError(f"{source} is {what}", why="only plain text can be learnt from", fix=fix)


def _refuse_binary(head: bytes, source: str) -> None:
    controls = sum(head.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    if controls > _MAX_CONTROL_FRACTION * len(head):
        raise _binary(source, f"{controls} of its first {len(head)} bytes are control characters")


def _binary(source: str, why: str) -> DataError:
    return DataError(f"{source} is no text", why=why, fix="name a text file, or its encoding with --encoding")


def _without_mark(head: bytes, source: str) -> Encoding:
    """UTF-16 or UTF-32 without a byte-order mark, as pipes of Windows shells carry: spaces leave NULs on one side."""
    zeros = [head[place::4].count(0) for place in range(4)]
    quarter = max(len(head) // 4, 1)
    candidates = {
        "utf-32-le": zeros[3] == quarter and 2 * zeros[2] > quarter > zeros[0],
        "utf-32-be": zeros[0] == quarter and 2 * zeros[1] > quarter > zeros[3],
        "utf-16-le": zeros[1] + zeros[3] > max(10 * (zeros[0] + zeros[2]), quarter * _MIN_NULS),
        "utf-16-be": zeros[0] + zeros[2] > max(10 * (zeros[1] + zeros[3]), quarter * _MIN_NULS),
    }
    for name, fits in candidates.items():
        width = 4 if "32" in name else 2
        text = head[: len(head) // width * width].decode(name, "replace")
        controls = sum(text.count(chr(code)) for code in range(32) if code not in _TEXT_CONTROLS)
        strange = text[:-1].count("\N{REPLACEMENT CHARACTER}") + controls  # the last may be half a pair
        if fits and strange <= _MAX_CONTROL_FRACTION * len(text):
            return Encoding(
                name, note=f"read as {name}, without a byte-order mark; pass --encoding to override"
            )
    raise _binary(source, f"{head.count(0)} of its first {len(head)} bytes are NUL")


def _until_not_utf8(head: bytes, rest: Iterator[bytes]) -> tuple[int, bytes, int] | None:
    """Read until a byte is not UTF-8: its offset, a sample round it and the sample's offset; none if all is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    offset, previous = 0, b""
    for block in _with_end(_chain(head, rest)):
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            bad = offset + len(block) - _rest(error)
            around = previous + block + _at_least(rest, _SAMPLE)
            start = max(bad - _LEAD, offset - len(previous))
            return bad, around[start - offset + len(previous) :][:_SAMPLE], start
        offset += len(block)
        previous = (previous + block)[-_LEAD:]
    return None


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _guess(sample: bytes, source: str, *, offset: int, lead: int) -> Encoding:
    """The legacy encoding of a sample whose byte at `lead`, `offset` in the whole, is not UTF-8."""
    text = sample.decode("utf-8", "replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    good = sum(1 for char in text if char > "\x7f") - bad
    if good > bad:  # legacy text hardly ever forms a valid sequence: this is UTF-8 with damage
        raise DecodeError(
            f"{source} is not UTF-8 at byte {offset:,} (0x{sample[lead]:02X})",
            why=f"{good} characters around it are, and {bad} are damaged: guessing another encoding would spoil the rest",
            fix=f"repair the file there (iconv -c -f utf-8 {source}), or name its encoding with --encoding",
        )
    _refuse_binary(sample, source)
    guess = best_match(sample)
    if guess is None:
        raise DecodeError(
            f"{source} is not UTF-8 at byte {offset:,} (0x{sample[lead]:02X}), and no other encoding is plausible",
            why="its bytes fit none of the encodings tried",
            fix="name its encoding with --encoding, or give a text file",
        )
    name, confidence = guess
    note = f"read as {name} (confidence {confidence:.2f}); pass --encoding to override"
    return Encoding(name, confidence, note)


def _undecodable(error: UnicodeError, encoding: str, source: str, offset: int) -> DecodeError:
    byte, likely = "", None
    if isinstance(error, UnicodeDecodeError):
        byte = f" (0x{error.object[error.start]:02X})"
        likely = _likely(bytes(error.object))
    if likely is None or codecs.lookup(likely).name == codecs.lookup(encoding.removesuffix("-sig")).name:
        fix = "name another encoding with --encoding, or leave it out to have it found"
    else:
        fix = f"pass --encoding {likely}, which fits the bytes there"
    return DecodeError(
        f"{source} is not {encoding.removesuffix('-sig')} at byte {offset:,}{byte}",
        why=f"{getattr(error, 'reason', error)}; no byte is ever guessed or left out",
        fix=fix,
    )


def _likely(block: bytes) -> str | None:
    sample = block[:_SAMPLE]
    try:
        sample[: len(sample) - 3 if len(block) > _SAMPLE else None].decode("utf-8")
    except UnicodeDecodeError:
        guess = best_match(sample)
        return None if guess is None else guess[0]
    return "utf-8"
