import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import DataError, DecodeError
from charloom.text.decode import best_match, decode_blocks, decode_bytes, detect, looks_binary

FRENCH = "Où est passé l'été ? À la plage, près de la forêt, où le garçon naïf a mangé une pêche.\n"
RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей же чаю.\n"
MARKED = ["utf-8-sig", "utf-16", "utf-32"]
UNMARKED = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.fixture(scope="module")
def arabic(data):
    return (data / "arabic_small.txt").read_text("utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1256", "iso8859-6", *MARKED, *UNMARKED])
def test_arabic_is_read_from_every_encoding_that_can_represent_it(arabic, encoding):
    decoded = decode_bytes(arabic.encode(encoding), encoding=None, source="a.txt")
    assert (decoded.text, decoded.encoding) == (arabic, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_reported_to_the_user(arabic, encoding):
    decoded = decode_bytes(arabic.encode(encoding), encoding=None, source="a.txt")
    note = f"a.txt: read as {encoding}, without a byte-order mark; pass --encoding to override"
    assert decoded.notes == (note,)


def test_utf_16_without_a_mark_may_end_in_half_a_surrogate_pair():
    text = "x" * 4095 + "\U0001f600 and so on"  # the pair crosses the end of the examined bytes
    assert decode_bytes(text.encode("utf-16-le"), encoding=None, source="a.txt").text == text


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [(FRENCH, "latin-1", "cp1252"), (FRENCH, "cp1252", "cp1252"), (RUSSIAN, "cp1251", "cp1251")],
)
def test_a_guess_is_reported_with_its_confidence(text, encoding, guessed):
    decoded = decode_bytes(text.encode(encoding), encoding=None, source="a.txt")
    assert (decoded.text, decoded.encoding) == (text, guessed)
    assert 0.5 < decoded.confidence < 1.0
    note = f"a.txt: read as {guessed} (confidence {decoded.confidence:.2f}); pass --encoding to override"
    assert decoded.notes == (note,)


def test_few_bytes_give_low_confidence():
    name, confidence = best_match(b"caf\xe9 noir, tr\xe8s noir")
    assert name == "cp1252"
    assert confidence < 0.4


def test_utf_8_is_certain_and_gives_no_note(arabic):
    decoded = decode_bytes(arabic.encode(), encoding=None, source="a.txt")
    assert (decoded.confidence, decoded.notes) == (1.0, ())


def test_a_given_encoding_is_used():
    data = FRENCH.encode("cp1252")
    assert decode_bytes(data, encoding="cp437", source="a.txt").text == data.decode("cp437")
    assert decode_bytes(FRENCH.encode("utf-8-sig"), encoding="UTF8", source="a.txt").text == FRENCH


def test_the_mark_is_removed_even_if_the_codec_keeps_it():
    data = codecs.BOM_UTF16_LE + FRENCH.encode("utf-16-le")
    assert decode_bytes(data, encoding="utf-16-le", source="a.txt").text == FRENCH


def test_a_given_encoding_is_strict():
    data = ("A" * 70 + "é").encode() + FRENCH.encode("cp1252")
    with pytest.raises(DecodeError) as caught:
        decode_bytes(data, encoding="utf-8", source="a.txt")
    assert caught.value.what == "a.txt is not utf-8 at byte 73 (0xF9)"
    assert caught.value.why == "invalid start byte; bytes are never guessed or skipped"


def test_the_likely_encoding_is_suggested(arabic):
    with pytest.raises(DecodeError) as caught:
        decode_bytes(arabic.encode("cp1256"), encoding="utf-8", source="a.txt")
    assert caught.value.fix == "pass --encoding cp1256, which fits the bytes there"
    with pytest.raises(DecodeError) as caught:
        decode_bytes(arabic.encode(), encoding="ascii", source="a.txt")
    assert caught.value.fix == "pass --encoding utf-8, which fits the bytes there"


@pytest.mark.parametrize("encoding", ["cp125", "hex", "rot13", "", "no\0such"])
def test_an_unknown_encoding_is_refused(encoding):
    with pytest.raises(DecodeError, match="unknown encoding"):
        decode_bytes(b"abc", encoding=encoding, source="a.txt")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "shift_jis", "gb18030", "cp1252"]
)
def test_the_offset_in_an_error_is_independent_of_the_block_size(size, encoding):
    head = ("漢字" if encoding in ("shift_jis", "gb18030") else "ab").encode(encoding)
    bad = {
        "utf-16": b"\x00\xd8a\x00",
        "utf-16-be": b"\xd8\x00\x00a",
        "shift_jis": b"\x85\x20",
        "cp1252": b"\x81",
    }
    data = head + bad.get(encoding, b"\xff") + b"abcd"
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    with pytest.raises(DecodeError, match=rf"at byte {len(head)} \(0x{data[len(head)]:02X}\)"):
        list(decode_blocks(blocks, encoding, "a.txt"))


@given(st.text(), st.integers(1, 9), st.sampled_from(["utf-8", *MARKED, "gb18030"]))
def test_decoding_is_independent_of_the_block_size(text, size, encoding):
    text = text.lstrip("\ufeff")
    data = text.encode(encoding)
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    assert "".join(decode_blocks(blocks, encoding, "a.txt")) == text


def test_damaged_utf_8_is_not_read_with_another_encoding(arabic):
    data, at = arabic.encode(), len(arabic[:1600].encode())
    with pytest.raises(DecodeError) as caught:
        decode_bytes(data[:at] + b"\xff" + data[at:], encoding=None, source="a.txt")
    assert caught.value.what == f"a.txt is not UTF-8 at byte {at:,} (0xFF)"
    assert "and 1 are damaged" in caught.value.why
    assert caught.value.fix == (
        "repair the file there (iconv -c -f utf-8 a.txt), or give its encoding with --encoding"
    )


def test_the_encoding_is_guessed_around_a_late_byte_that_is_not_utf_8():
    data = b"plain text, line after line.\n" * 40_000 + FRENCH.encode("cp1252") * 3
    blocks = [data[at : at + 5000] for at in range(0, len(data), 5000)]
    assert detect(blocks, encoding=None, source="a.txt").name == "cp1252"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a.txt is a PDF document"),
        (b"PK\x03\x04\x14\0", "a.txt is a ZIP archive (also .docx, .odt, .epub)"),
        (b"\x89PNG\r\n", "a.txt is a picture"),
        (bytes(range(256)) * 5, "a.txt is not text"),
        (b"\0\1\2\3" * 100, "a.txt is not text"),
        (b"\x01\x02\x03\x04" * 100, "a.txt is not text"),
        (b"ab\0" * 100, "a.txt is not text"),
    ],
)
def test_binary_data_is_refused(data, what):
    with pytest.raises(DataError) as caught:
        decode_bytes(data, encoding=None, source="a.txt")
    assert caught.value.what == what
    assert looks_binary(data)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "utf-16", "utf-16-le"])
def test_text_does_not_look_binary(encoding):
    assert not looks_binary(RUSSIAN.encode(encoding))


def test_mojibake_is_reported_and_not_repaired():
    text = FRENCH.encode().decode("latin-1")
    decoded = decode_bytes(text.encode(), encoding=None, source="a.txt")
    assert decoded.text == text
    assert "a.txt: looks like UTF-8 that was once read as" in decoded.notes[0]


def test_strange_characters_are_counted():
    decoded = decode_bytes(
        ("a line of text\n" * 5 + "a\ufffdb\u200fc\u200e\x07\n").encode(), encoding=None, source="a.txt"
    )
    assert decoded.notes == (
        "a.txt: 1 replacement character U+FFFD: some program could not decode the original",
        "a.txt: 1 control character, learnt like any other character: U+0007 (1)",
        "a.txt: 2 direction controls (bidi), invisible but learnt like any other character: U+200E (1), U+200F (1)",
    )


def test_no_bytes_give_an_empty_text():
    assert decode_bytes(b"", encoding=None, source="a.txt").text == ""
