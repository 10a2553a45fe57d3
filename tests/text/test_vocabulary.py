import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.errors import DataError, ModelFileError, UnknownCharacterError
from charloom.text.load import corpus_from_text
from charloom.text.vocabulary import (
    BOUNDARY,
    BOUNDARY_CODE,
    UNK,
    Vocabulary,
    build_vocabulary,
    bytes_per_id,
    code_points,
    to_bytes,
)

ANY_CHAR = st.characters(exclude_categories=())  # all of Unicode, lone surrogates included
ANY_TEXT = st.text(ANY_CHAR)
BYTES = Vocabulary("byte", tuple(range(256)))


@given(ANY_TEXT, ANY_TEXT)
def test_decode_undoes_encode_for_any_text_over_any_vocabulary(text, others):
    vocab = Vocabulary.from_text("x" + others.replace("\ufffd", "") + text.replace("\ufffd", ""))
    text = text.replace("\ufffd", "")
    assert vocab.decode(vocab.encode(text)) == text


@given(st.text())
def test_bytes_decode_undoes_encode(text):
    ids = BYTES.encode(text)
    assert BYTES.decode(ids) == text
    assert ids.tolist() == list(text.encode("utf-8"))


@given(st.text(ANY_CHAR, min_size=1).filter(lambda text: "\ufffd" not in text))
def test_symbols_are_the_distinct_code_points_in_order(text):
    vocab = Vocabulary.from_text(text)
    assert vocab.symbols == tuple(sorted({ord(char) for char in text}))
    assert vocab.encode("".join(map(chr, vocab.symbols))).tolist() == list(range(len(vocab)))


@given(st.text(ANY_CHAR, min_size=1), ANY_TEXT)
def test_contains_and_unknown_equal_their_plain_versions(known, text):
    vocab = Vocabulary("char", tuple(sorted(set(map(ord, known)))), (UNK,))
    plain = [char in known for char in text]
    assert vocab.contains(text).tolist() == plain
    found = vocab.unknown(text)
    assert list(found) == [char for char in dict.fromkeys(text) if char not in known]
    assert found == {char: text.count(char) for char in found}
    expected = [vocab.symbols.index(ord(char)) if char in known else vocab.unk_id for char in text]
    assert vocab.encode(text).tolist() == expected


def test_specials_come_last_and_change_no_id():
    plain = Vocabulary.from_text("hello")
    config = TextConfig(vocab_from="train", documents="line")
    marked = Vocabulary.from_text("hello", config)
    assert marked.specials == (UNK, BOUNDARY)
    assert (marked.unk_id, marked.boundary_id, len(marked)) == (4, 5, 6)
    assert (plain.unk_id, plain.boundary_id, len(plain)) == (None, None, 4)
    assert marked.encode("hello").tolist() == plain.encode("hello").tolist()


@pytest.mark.parametrize(
    ("num_symbols", "dtype"),
    [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)],
)
def test_dtype_is_the_smallest_that_holds_every_id(num_symbols, dtype):
    vocab = Vocabulary("char", tuple(range(num_symbols)))
    ids = vocab.encode(chr(num_symbols - 1))
    assert (vocab.dtype, ids.dtype, ids.tolist()) == (dtype, dtype, [num_symbols - 1])


def test_unknown_is_found_when_the_ids_fill_the_dtype():
    vocab = Vocabulary("char", tuple(range(256)))  # the mark for "missing" must not wrap round to id 0
    with pytest.raises(UnknownCharacterError):
        vocab.encode("\u0100")


def test_specials_are_decoded_as_requested():
    vocab = Vocabulary("char", (97, 98), (UNK, BOUNDARY))
    assert vocab.decode([3, 0, 2, 3, 1]) == "\na\ufffd\nb"
    assert vocab.decode([3, 0, 2, 3, 1], boundary="<|>", unk="") == "<|>a<|>b"


def test_a_boundary_separates_the_bytes_around_it():
    vocab = Vocabulary("byte", tuple(range(256)), (BOUNDARY,))
    assert vocab.dtype == np.uint16
    assert vocab.decode([195, 256, 169, 195, 169]) == "\\xc3\n\\xa9é"


def test_the_unknown_character_error_is_complete():
    vocab = Vocabulary.from_text("it's fine")
    with pytest.raises(UnknownCharacterError) as caught:
        vocab.encode("it’s a zoo")
    assert caught.value.what == "character '’' (U+2019) at offset 2 is not in the vocabulary"
    assert caught.value.why == (
        "this model knows 8 characters, fixed when it was trained; it does not know 4 distinct characters of the text; "
        'the nearest it knows is "\'"'
    )
    assert caught.value.fix == "retrain on text that contains it, or pass --unknown skip or --unknown similar"


def test_the_unknown_character_error_without_a_similar_character():
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary.from_text("abc").encode("a\u4e00")
    assert caught.value.why == "this model knows 3 characters, fixed when it was trained"
    assert caught.value.fix == "retrain on text that contains it, or pass --unknown skip"


@pytest.mark.parametrize(
    ("known", "char", "expected"),
    [
        ("'", "’", "'"),
        ("’", "'", "’"),
        ("ي", "ی", "ي"),
        ("ی", "ي", "ی"),
        ("e", "é", "e"),
        ("é", "e", "é"),
        ("aE", "é", "E"),
        ("eE", "É", "E"),
        ("eE", "é", "e"),
        ("3", "٣", "3"),
        ("fi", "ﬁ", "fi"),
        ("f", "ﬁ", "f"),
        ("-", "—", "-"),
        (".", "…", "..."),
        (" ", "\u00a0", " "),
        ("ا", "أ", "ا"),
        ("لا", "ﻻ", "لا"),
        ("abc", "\u4e00", None),
        ("a", "\u0301", None),
    ],
)
def test_the_similar_character_is_found(known, char, expected):
    assert Vocabulary.from_text(known).similar(char) == expected


@pytest.mark.parametrize("config", [TextConfig(min_count=2), TextConfig(vocab_from="train")])
def test_unk_is_added_if_characters_can_be_excluded(config):
    assert Vocabulary.from_text("aab", config).specials == (UNK,)


def test_min_count_drops_rare_characters():
    vocab = Vocabulary.from_text("aabbbc", TextConfig(min_count=2))
    assert (vocab.symbols, vocab.encode("abc").tolist()) == ((97, 98), [0, 1, 2])


def test_byte_vocabulary_needs_no_counts():
    config = TextConfig(unit="byte", min_count=5, vocab_from="train", documents="file")
    vocab = build_vocabulary({}, config)
    assert (vocab.symbols, vocab.specials) == (tuple(range(256)), (BOUNDARY,))


def test_the_boundary_is_not_a_symbol():
    assert build_vocabulary({97: 1, BOUNDARY_CODE: 4}, TextConfig(documents="line")).symbols == (97,)


def test_too_large_a_vocabulary_is_refused():
    with pytest.raises(DataError) as caught:
        build_vocabulary(dict.fromkeys(range(0x4E00, 0x4E00 + 20_001), 1), TextConfig())
    assert caught.value.what == "the text has 20,001 distinct characters"
    assert (
        caught.value.why
        == "with more than 20,000 it is usually not text, or was decoded with the wrong encoding"
    )
    assert caught.value.fix == (
        "give the encoding with --encoding, drop rare characters with --min-count, or use --unit byte"
    )


def test_replacement_characters_are_refused_unless_dropped():
    text = "a\ufffdaab\ufffd"  # more than one in a thousand
    with pytest.raises(DataError) as caught:
        Vocabulary.from_text(text)
    assert caught.value.what == "the text contains the replacement character U+FFFD 2 times"
    assert "--encoding, or add --replace-chars U+FFFD= to leave it out" in caught.value.fix
    assert Vocabulary.from_text(text, TextConfig(min_count=3)).symbols == (97,)


def test_the_advice_on_replacement_characters_changes_no_other_character():
    text = "a\ufffdaaZaë\ufffd\n"
    kept = Vocabulary.from_text(text, TextConfig(replace_chars="U+FFFD=U+FFFD"))
    assert kept.symbols == tuple(map(ord, "\nZaë\ufffd"))
    for setting, expected in (("U+FFFD=", "\nZaë"), ("U+FFFD=?", "\n?Zaë")):
        corpus = corpus_from_text(text, TextConfig(replace_chars=setting, val_fraction=0))
        assert (corpus.vocab.symbols, corpus.vocab.specials) == (tuple(map(ord, expected)), ())


def test_the_first_replacement_character_is_located():
    with pytest.raises(DataError, match=r"U\+FFFD 2 times, first in line 3 of t"):
        corpus_from_text("one\ntwo\r\nthr\ufffde\ufffd\n", name="t")


@pytest.mark.parametrize(("num_chars", "is_refused"), [(2000, True), (2001, False)])
def test_one_replacement_character_in_a_thousand_is_too_many(num_chars, is_refused):
    text = "ab\ufffdcd\n\ufffd".ljust(num_chars, "x")
    if is_refused:
        with pytest.raises(DataError, match="one in 1,000 characters"):
            corpus_from_text(text, name="t")
    else:
        expected = "2 replacement characters U+FFFD, first in line 1 of t: some program could not decode the original"
        assert expected in corpus_from_text(text, name="t").notes
        assert 0xFFFD in corpus_from_text(text).vocab.symbols


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(DataError, match="no character occurs 2 times"):
        Vocabulary.from_text("abc", TextConfig(min_count=2))


@given(
    st.sets(st.integers(0, 0x10FFFF), min_size=1), st.sampled_from([(), (UNK,), (BOUNDARY,), (UNK, BOUNDARY)])
)
def test_json_round_trip(codes, specials):
    vocab = Vocabulary("char", tuple(sorted(codes)), specials, ("Anna", "Bo"))
    assert Vocabulary.from_json(vocab.to_json()) == vocab


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "word"},
        {"unit": None},
        {"code_points": "abc"},
        {"code_points": []},
        {"code_points": [98, 97]},
        {"code_points": [97, 97]},
        {"code_points": [-1, 97]},
        {"code_points": [97, 0x110000]},
        {"code_points": [97.0, 98.0]},
        {"code_points": [True, 98]},
        {"code_points": [97, "b"]},
        {"unit": "byte"},
        {"specials": ["<pad>"]},
        {"specials": ["<boundary>", "<unk>"]},
        {"specials": ["<unk>", "<unk>"]},
        {"specials": [[]]},
        {"specials": None},
        {"labels": [1]},
        {"labels": ["a", "a"]},
        {"labels": {}},
    ],
)
def test_json_that_is_not_a_vocabulary_is_refused(change):
    document = {"unit": "char", "code_points": [97, 98], "specials": [], "labels": []}
    Vocabulary.from_json(document)
    with pytest.raises(ModelFileError, match="the vocabulary is damaged"):
        Vocabulary.from_json(document | change)


def test_code_points_of_astral_and_lone_surrogates():
    assert code_points("a\U0001f600\ud800").tolist() == [0x61, 0x1F600, 0xD800]


@pytest.mark.parametrize("unit", ["char", "byte"])
@given(text=st.text(ANY_CHAR, min_size=1))
def test_bytes_per_id_are_those_of_the_decoded_text(unit, text):
    config = TextConfig(unit=unit, normalization="none")
    try:
        vocab = Vocabulary.from_text(text, config)
    except DataError:
        return
    ids = vocab.encode(text)
    size = len(to_bytes(text) if unit == "byte" else text.encode("utf-8", "surrogatepass"))
    assert bytes_per_id(vocab, ids) == pytest.approx(size / len(ids), rel=1e-12)


def test_bytes_per_id_of_specials_and_of_nothing():
    vocab = Vocabulary("char", (97, 0x3C9), ("<unk>", "<boundary>"))
    ids = [0, 1, 2, 3]
    assert bytes_per_id(vocab, np.array(ids)) == len(vocab.decode(ids).encode("utf-8")) / 4
    assert np.isnan(bytes_per_id(vocab, np.array([], np.int64)))
