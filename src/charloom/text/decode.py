"""Bytes → text, strictly: by byte-order mark, as UTF-8, by a reported guess, or in the encoding the user names.

No byte is ever replaced: an undecodable byte raises an error with its value and offset. A stream is read twice, once
to detect the encoding and once to decode, so a text of any size takes only a few blocks of memory.
"""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from charloom.errors import DataError, DecodeError
from charloom.text.mojibake import character_notes, mojibake_note

_SETTLED = ("utf_8", "utf_7", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le")
"""Encodings recognised by their marks, NULs or strict decoding before any guessing starts."""
_COMMON = ("cp1252", "cp1256", "cp1251")
"""Preferred among encodings that fit equally well, as many do on a few bytes: the most common first."""
_EVIDENCE = 5  # with this many bytes above ASCII, the detector's confidence is halved

_BOMS = (  # the longer first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = (
    (b"PAR1", "a Parquet table", "name the column that has the text with --column"),
    (b"%PDF-", "a PDF document", "extract its text first, for example with pdftotext"),
    (b"PK\x03\x04", "a ZIP archive (also .docx, .odt, .epub)", "unzip it, or save it as plain text"),
    (b"\x89PNG", "a picture", "pass a text file"),
    (b"\xff\xd8\xff", "a picture", "pass a text file"),
    (b"\x7fELF", "a program", "pass a text file"),
    (b"{\\rtf", "an RTF document", "save the document as plain text"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save the document as plain text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first with unzstd"),
)
_NO_TEXT_CODECS = {"rot_13", *(f"{name}_codec" for name in ("base64", "bz2", "hex", "quopri", "uu", "zlib"))}
_HEAD = 1 << 13  # bytes searched for signatures and for UTF-16 without a mark
_SAMPLE = 1 << 18  # bytes shown to the detector, from shortly before the first that is not UTF-8
_LEAD = 1 << 14
_MAX_CONTROL_FRACTION = 0.05  # with more control characters than this, it is not text
_MIN_NULS = 0.02  # NULs per quarter of the bytes: even text without Latin letters has spaces or line ends
_TEXT_CONTROLS = b"\t\n\r\f\x0b\x1b\x1a\x08"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded text and how it was read.

    Attributes:
        text: the characters, not normalised or otherwise changed, without a byte-order mark.
        encoding: the name of the codec.
        confidence: 1.0 unless the encoding was guessed; then the detector's, in [0, 1].
        notes: what the user should know: a guess, mojibake, control characters.
    """

    text: str
    encoding: str
    confidence: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A detected encoding: the codec's name, the confidence (1.0 unless guessed) and a note for the user, if any."""

    name: str
    confidence: float = 1.0
    note: str = ""


def decode_bytes(data: bytes, *, encoding: str | None, source: str) -> Decoded:
    """Decode a whole text from `encoding` (None: detect it); errors and notes call it `source`.

    Raises:
        DecodeError: a byte does not fit the encoding, or no encoding is plausible.
        DataError: the bytes are not text.

    Example:
        >>> decode_bytes(b"caf\\xc3\\xa9", encoding=None, source="menu.txt").text
        'café'
    """
    chosen = detect([data], encoding=encoding, source=source)
    text = "".join(decode_blocks([data], chosen.name, source))
    notes = (chosen.note, mojibake_note(text), *character_notes(text))
    return Decoded(text, chosen.name, chosen.confidence, tuple(f"{source}: {note}" for note in notes if note))


def detect(blocks: Iterable[bytes], *, encoding: str | None, source: str) -> Encoding:
    """Detect the encoding of a stream, reading as much of it as necessary (all of it, to be sure of UTF-8).

    Raises:
        DecodeError: the given encoding does not exist, or none is plausible.
        DataError: the bytes are not text.
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
    found = _until_not_utf8(head, iterator)
    if found is None:
        _refuse_binary(head, source)
        return Encoding("utf-8")
    offset, sample, start = found
    return _guess(sample, source, offset=offset, lead=offset - start)


def is_utf8_so_far(head: bytes, source: str) -> bool:
    """Whether a text that begins like this is most likely UTF-8 without a mark: no other sign is in its first bytes.

    Raises:
        DataError: it begins like something that is not text.
    """
    if any(head.startswith(mark) for mark, _ in _BOMS) or b"\0" in head[:_HEAD]:
        return False
    _refuse_signatures(head, source)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not looks_binary(head)


def decode_blocks(blocks: Iterable[bytes], encoding: str, source: str) -> Iterator[str]:
    """Decode a stream block by block, strictly, without its byte-order mark.

    Raises:
        DecodeError: with the byte, its offset from the start, and an encoding that would fit.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    offset, first = 0, True
    for block in _with_end(blocks):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise undecodable(error, encoding, source, offset + len(block) - _rest(error)) from error
        except UnicodeError as error:  # from a codec that gives no position
            raise undecodable(error, encoding, source, offset) from error
        offset += len(block)
        if text:
            yield text.removeprefix("\ufeff") if first else text
            first = False


def raw_pieces(blocks: Iterable[bytes]) -> Iterator[str]:
    """The bytes of a stream as a text that `charloom.text.vocabulary.to_bytes` turns back into the same bytes.

    Example:
        >>> "".join(raw_pieces([b"caf\\xc3", b"\\xa9 \\xff"])).encode("utf-8", "surrogateescape")
        b'caf\\xc3\\xa9 \\xff'
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    for block in _with_end(blocks):
        yield decoder.decode(block, final=not block)


def looks_binary(head: bytes) -> bool:
    """Whether a file's first bytes are not text: used to skip the pictures in a folder of texts.

    Example:
        >>> looks_binary(b"%PDF-1.7"), looks_binary("نص".encode("cp1256"))
        (True, False)
    """
    try:
        if any(head.startswith(mark) for mark, _ in _BOMS):
            return False
        _refuse_signatures(head, "")
        check = _without_mark if b"\0" in head else _refuse_binary
        check(head, "")
    except DataError:
        return True
    return False


def _rest(error: UnicodeDecodeError) -> int:
    """Bytes from the bad one to the end of the input: correct whatever the decoder buffered or skipped before."""
    return len(error.object) - error.start


def _with_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    return itertools.chain(filter(None, blocks), (b"",))


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
            f"unknown encoding {name!r} for {source}",
            why="Python has no text codec of that name",
            fix=f"{hint}omit --encoding to detect it, or give one such as utf-8, cp1252 or cp1256",
        ) from error
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def _refuse_signatures(head: bytes, source: str) -> None:
    for signature, what, fix in _SIGNATURES:
        if head.startswith(signature):
            raise DataError(f"{source} is {what}", why="charloom reads plain text only", fix=fix)


def _refuse_binary(head: bytes, source: str) -> None:
    controls = sum(head.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    if controls > _MAX_CONTROL_FRACTION * len(head):
        raise _binary(source, f"{controls} of its first {len(head)} bytes are control characters")


def _binary(source: str, why: str) -> DataError:
    return DataError(
        f"{source} is not text", why=why, fix="pass a text file, or give its encoding with --encoding"
    )


def _without_mark(head: bytes, source: str) -> Encoding:
    """UTF-16 or UTF-32 without a byte-order mark, as from pipes of Windows shells: spaces leave NULs on one side."""
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
            note = f"read as {name}, without a byte-order mark; pass --encoding to override"
            return Encoding(name, note=note)
    raise _binary(source, f"{head.count(0)} of its first {len(head)} bytes are NUL")


def _until_not_utf8(head: bytes, rest: Iterator[bytes]) -> tuple[int, bytes, int] | None:
    """Find the first byte that is not UTF-8: its offset, a sample around it and the sample's offset, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    offset, previous = 0, b""
    for block in _with_end(itertools.chain((head,), rest)):
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


def _guess(sample: bytes, source: str, *, offset: int, lead: int) -> Encoding:
    """The legacy encoding of a sample whose byte at `lead` (at `offset` in the whole text) is not UTF-8."""
    text = sample.decode("utf-8", "replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    good = sum(1 for char in text if char > "\x7f") - bad
    if good > bad:  # legacy text rarely forms a valid sequence: this is damaged UTF-8
        raise DecodeError(
            f"{source} is not UTF-8 at byte {offset:,} (0x{sample[lead]:02X})",
            why=f"{good} characters near it are UTF-8 and {bad} are damaged: another encoding would garble the rest",
            fix=f"repair the file there (iconv -c -f utf-8 {source}), or give its encoding with --encoding",
        )
    _refuse_binary(sample, source)
    guess = best_match(sample)
    if guess is None:
        raise DecodeError(
            f"{source} is not UTF-8 at byte {offset:,} (0x{sample[lead]:02X}), and no other encoding is plausible",
            why="its bytes fit none of the encodings tried",
            fix="give its encoding with --encoding, or pass a text file",
        )
    name, confidence = guess
    return Encoding(
        name, confidence, f"read as {name} (confidence {confidence:.2f}); pass --encoding to override"
    )


def undecodable(error: UnicodeError, encoding: str, source: str, offset: int) -> DecodeError:
    """The error for a byte, at `offset` of the whole text, that does not fit the encoding."""
    byte, likely = "", None
    if isinstance(error, UnicodeDecodeError):
        byte = f" (0x{error.object[error.start]:02X})"
        likely = _likely(bytes(error.object))
    tried = encoding.removesuffix("-sig")
    if likely is None or codecs.lookup(likely).name == codecs.lookup(tried).name:
        fix = "try another --encoding, or omit it to detect the encoding"
    else:
        fix = f"pass --encoding {likely}, which fits the bytes there"
    why = f"{getattr(error, 'reason', error)}; bytes are never guessed or skipped"
    return DecodeError(f"{source} is not {tried} at byte {offset:,}{byte}", why=why, fix=fix)


def _likely(block: bytes) -> str | None:
    sample = block[:_SAMPLE]
    try:
        sample[: len(sample) - 3 if len(block) > _SAMPLE else None].decode("utf-8")
    except UnicodeDecodeError:
        guess = best_match(sample)
        return None if guess is None else guess[0]
    return "utf-8"


def best_match(sample: bytes) -> tuple[str, float] | None:
    """The most likely codec of some bytes, with a confidence in [0, 1]; None if no codec gives plausible text.

    The confidence is one minus the detector's measure of disorder, lowered if there are few bytes above ASCII.

    Example:
        >>> best_match("هذا نص عربي قصير عن اللغة والكتابة".encode("cp1256"))
        ('cp1256', 0.84...)
        >>> best_match("été à la plage".encode("latin-1"))
        ('cp1252', 0.375)
    """
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_exclusion=list(_SETTLED)))
    if not matches:
        return None
    first = matches[0]
    equal = {m.encoding for m in matches if m.chaos <= first.chaos and m.coherence >= first.coherence}
    equal |= set(first.could_be_from_charset)
    name = next((name for name in _COMMON if name in equal), first.encoding)
    above_ascii = sum(byte > 0x7F for byte in sample)
    return codecs.lookup(name).name, (1.0 - first.chaos) * above_ascii / (above_ascii + _EVIDENCE)
