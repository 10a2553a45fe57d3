"""With unit byte, the ids are the bytes of the file: nothing is decoded, normalised or translated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig, stored_text_config
from charloom.errors import ConfigError
from charloom.text import corpus_from_text, encode_for_scoring, read_corpus, read_text
from charloom.text.vocabulary import byte_counts, to_bytes

RAW = TextConfig(unit="byte", val_fraction=0)
BYTES = b"\xef\xbb\xbfe\xcc\x81\r\nx\xff\x80\n\xed\xa0\x80abc\r" + "é漢".encode() + bytes(range(256))


@pytest.mark.parametrize("block_size", [1, 2, 3, 1 << 20])
@pytest.mark.parametrize("data", [BYTES, "une été\r\n".encode("utf-16"), b"%PDF-1.7\0\0", b"\x80\x81" * 9])
def test_any_bytes_are_read_as_they_are(tmp_path, data, block_size):
    (tmp_path / "a").write_bytes(data)
    corpus = read_corpus([tmp_path / "a"], RAW, block_size=block_size)
    assert bytes(corpus.train.tolist()) == data
    assert corpus.notes == ()
    assert bytes(corpus_from_text(data, RAW).train.tolist()) == data


def test_raw_bytes_are_split_into_documents(tmp_path):
    (tmp_path / "a").write_bytes(BYTES[:-256] + b"\n\xfe\n")
    config = TextConfig(unit="byte", documents="line", val_fraction=0)
    corpus = read_corpus([tmp_path / "a"], config)
    ids, boundary = corpus.train.tolist(), corpus.vocab.boundary_id
    parts = [bytes(part) for part in _split(ids, boundary)]
    assert parts == [line for line in (BYTES[:-256] + b"\n\xfe\n").split(b"\n") if line]
    text, _ = read_text([tmp_path / "a"], config)
    assert encode_for_scoring(corpus.vocab, text, config).ids.tolist() == ids


def _split(ids, boundary):
    documents = []
    for number in ids:
        if number == boundary:
            documents.append([])
        else:
            documents[-1].append(number)
    return documents


@given(st.binary())
def test_bytes_survive_as_text(data):
    text = data.decode("utf-8", "surrogateescape")
    assert to_bytes(text) == data
    assert byte_counts(text).sum() == len(data)


@given(st.text(st.characters(exclude_categories=())))
def test_every_character_has_as_many_bytes_as_are_counted(text):
    assert byte_counts(text).tolist() == [len(to_bytes(char)) for char in text]


def test_cleaned_bytes_can_be_asked_for(tmp_path):
    (tmp_path / "a").write_bytes("e\u0301\r\n".encode("utf-16"))
    corpus = read_corpus([tmp_path / "a"], TextConfig(unit="byte", clean_bytes=True, val_fraction=0))
    assert bytes(corpus.train.tolist()) == "é\n".encode()


def test_a_model_of_earlier_days_keeps_cleaning_its_bytes():
    earlier = {"unit": "byte", "normalization": "nfc", "documents": "none"}
    assert stored_text_config(earlier, source="a model").clean_bytes
    assert not stored_text_config({**earlier, "unit": "char"}, source="a model").clean_bytes


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "cp1252"},
        {"replace_chars": "a=b"},
        {"normalization": "nfkc"},
        {"unit": "char", "clean_bytes": True},
    ],
)
def test_settings_that_cannot_act_are_refused(settings):
    with pytest.raises(ConfigError, match="clean-bytes"):
        TextConfig(**{"unit": "byte", **settings})
