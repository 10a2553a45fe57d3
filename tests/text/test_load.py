import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.errors import DataError, DecodeError
from charloom.text.inputs import builtin_text
from charloom.text.load import builtin_corpus, corpus_from_text, read_corpus, read_text
from charloom.text.split import floor_share
from charloom.text.vocabulary import BOUNDARY, UNK

TEXT = "the quick brown fox\njumps over the lazy dog\n" * 5
ANY_CHAR = st.characters(exclude_categories=(), exclude_characters="\r\ufffd")
PARTS = ("train", "validation", "test")


def same(left, right):
    """Whether two corpora hold the same ids, vocabulary and text."""
    for part in PARTS:
        a, b = getattr(left, part), getattr(right, part)
        if (a is None) != (b is None) or (a is not None and (a.dtype != b.dtype or a.tolist() != b.tolist())):
            return False
    return (left.vocab, left.sha256, left.num_chars, left.config) == (
        right.vocab,
        right.sha256,
        right.num_chars,
        right.config,
    )


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@given(st.text(ANY_CHAR, min_size=10), st.sampled_from([0, 1, 3, 5, 9]))
def test_the_split_is_contiguous_and_by_characters(text, tenths):
    corpus = corpus_from_text(text, TextConfig(val_fraction=tenths / 10, normalization="none"))
    num_train = len(text) * (10 - tenths) // 10
    assert corpus.vocab.decode(corpus.train) == text[:num_train]
    held_out = "" if corpus.validation is None else corpus.vocab.decode(corpus.validation)
    assert held_out == text[num_train:]
    assert corpus.num_chars == len(text)


@given(st.text(st.sampled_from("aé漢\U0001f600"), min_size=2, max_size=50), st.sampled_from([0.1, 0.3, 0.5]))
def test_the_split_of_bytes_is_by_characters_too(text, fraction):
    corpus = corpus_from_text(text, TextConfig(unit="byte", val_fraction=fraction))
    assert bytes(corpus.train.tolist()).decode() == text[: floor_share(len(text), 1 - fraction)]
    assert corpus.vocab.decode(np.concatenate([corpus.train, corpus.validation])) == text


@pytest.mark.parametrize("unit", ["char", "byte"])
@given(
    names=st.lists(st.text(st.sampled_from("abé漢"), min_size=1, max_size=9), min_size=2),
    v=st.floats(0.05, 0.9),
)
@example(names=["aa", "aa", "aaa", *["a" * 9] * 3], v=0.9)  # a tenth of 40 is 4, although 40 × (1 − 0.9) < 4
def test_no_document_is_cut(unit, names, v):
    corpus = corpus_from_text(
        "\n".join(names) + "\n", TextConfig(documents="line", unit=unit, val_fraction=v)
    )
    boundary = corpus.vocab.boundary_id
    assert corpus.train[0] == corpus.validation[0] == boundary
    ids = np.concatenate([corpus.train, corpus.validation])
    assert corpus.vocab.decode(ids) == "".join(f"\n{name}" for name in names)
    units = [
        position for name in names for position in [0, *range(1, len(name) + 1)]
    ]  # 0 at the start of a document
    target = floor_share(len(units), 1 - v)
    ends = [at for at, place in enumerate(units) if place == 0 and at > 0]
    cut = next((at for at in ends if at >= target), ends[-1])
    assert len(corpus.vocab.decode(corpus.train)) == cut


def test_shakespeare_has_the_usual_split(data):
    corpus = read_corpus([data / "tinyshakespeare.txt"], TextConfig())
    assert (len(corpus.train), len(corpus.validation), len(corpus.vocab)) == (1_003_854, 111_540, 65)
    assert corpus.sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert corpus.train.dtype == np.uint8
    assert corpus.vocab.decode(corpus.train[:14]) == "First Citizen:"


def test_names_are_documents(data):
    corpus = read_corpus([data / "names.txt"], TextConfig(documents="line"))
    assert corpus.vocab.symbols == tuple(range(ord("a"), ord("z") + 1))
    assert corpus.vocab.specials == (BOUNDARY,)
    boundaries = (corpus.train == 26).sum() + (corpus.validation == 26).sum()
    assert (boundaries, len(corpus.train) + len(corpus.validation)) == (32_033, 228_146)


def test_vocabulary_and_hash_are_independent_of_encoding_and_compression(data, tmp_path):
    text = (data / "arabic_small.txt").read_text("utf-8")
    plain = read_corpus([data / "arabic_small.txt"], TextConfig())
    assert plain.sha256 == hashlib.sha256(text.encode()).hexdigest()
    for encoding in ("cp1256", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        assert same(read_corpus([write(tmp_path / encoding, text, encoding)], TextConfig()), plain)
    for packer in (lzma, gzip, bz2):
        path = tmp_path / f"{packer.__name__}.txt"  # recognised by its content, not its name
        path.write_bytes(packer.compress(text.encode("cp1256")))
        assert same(read_corpus([path], TextConfig()), plain)
    windows = read_corpus([write(tmp_path / "crlf", text.replace("\n", "\r\n"))], TextConfig())
    assert same(windows, plain)


def test_standard_input_is_read_in_any_encoding(data):
    text = "naïve\r\nтекст\n" * 40
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        corpus = read_corpus(["-"], TextConfig(), stdin=io.BytesIO(text.encode(encoding)))
        assert same(corpus, corpus_from_text(text))
        assert (corpus.name, corpus.sources) == ("stdin", ("-",))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(TEXT,))
    writer.start()
    corpus = read_corpus([tmp_path / "pipe"], TextConfig())
    writer.join()
    assert same(corpus, corpus_from_text(TEXT))


def test_long_standard_input_goes_to_disk(monkeypatch):
    monkeypatch.setattr("charloom.text.sources._SPOOL", 100)
    monkeypatch.setattr("charloom.text.sources.BLOCK", 64)
    corpus = read_corpus(["-"], TextConfig(), stdin=io.BytesIO(TEXT.encode()))
    assert same(corpus, corpus_from_text(TEXT))


@pytest.mark.parametrize("block_size", [1, 5, 64, 1 << 20])
@pytest.mark.parametrize("mode", ["none", "line", "blank-line", "file", "fox"])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_corpus_is_independent_of_the_block_size(tmp_path, block_size, mode, unit):
    text = "The fox\r\n\r\n e\u0301te\u0301 漢字 fox\r\n" * 6
    config = TextConfig(documents=mode, unit=unit, clean_bytes=unit == "byte", val_fraction=0.3)
    files = [
        write(tmp_path / f"{n}.txt", text + "\nend" * n, e)
        for n, e in enumerate(("utf-8", "utf-16", "utf-8-sig"))
    ]
    corpus = read_corpus(files, config, block_size=block_size)
    assert same(corpus, read_corpus(files, config))
    if mode == "none":
        joined = text + (text + "\nend") + "\n" + (text + "\nend\nend")
        assert same(corpus, corpus_from_text(joined, config))


def test_folders_and_globs_are_read_in_order(tmp_path, monkeypatch):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name, text in {
        "b/deep/1.md": "one\n",
        "b/2.txt": "two\n",
        "a.txt": "three",
        "b/.hidden": "no",
    }.items():
        write(tmp_path / name, text)
    (tmp_path / "b" / "picture.dat").write_bytes(b"\x89PNG\r\n")
    write(tmp_path / "b" / "empty.txt", "")
    corpus = read_corpus([tmp_path / "b", tmp_path / "a.txt"], TextConfig(val_fraction=0))
    assert corpus.vocab.decode(corpus.train) == "two\none\nthree"
    assert corpus.notes == (
        f"{tmp_path / 'b'}: 2 of 4 files skipped as empty or not text (empty.txt, picture.dat)",
        f"{tmp_path / 'b'}: left out hidden (.hidden)",
    )
    assert corpus.name == "b+1"
    monkeypatch.chdir(tmp_path)
    corpus = read_corpus(["**/*.txt"], TextConfig(val_fraction=0))
    assert corpus.vocab.decode(corpus.train) == "three\ntwo\n"
    assert "b/empty.txt is empty" in corpus.notes
    assert corpus.sources == (str(tmp_path / "**/*.txt"),)


def test_sources_read_the_same_corpus_again(tmp_path, monkeypatch):
    write(tmp_path / "tale.txt", TEXT)
    monkeypatch.chdir(tmp_path)
    corpus = read_corpus(["tale.txt"], TextConfig())
    monkeypatch.chdir("/")
    assert same(read_corpus(corpus.sources, TextConfig()), corpus)
    assert same(read_corpus(builtin_corpus().sources, TextConfig()), builtin_corpus())


def test_the_builtin_text_is_available():
    corpus = read_corpus([], TextConfig())
    assert corpus.num_chars > 300_000
    assert (corpus.name, corpus.sources) == ("python-reference", ())


def test_the_builtin_text_has_each_paragraph_once():
    paragraphs = builtin_text().removesuffix("\n").split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs) > 1000


def test_held_out_files_are_read_with_the_text(tmp_path):
    text, val, test = (
        write(tmp_path / name, content) for name, content in [("a", "abab\n"), ("v", "abc"), ("t", "abd")]
    )
    corpus = read_corpus([text], TextConfig(), val=val, test=test)
    assert [corpus.vocab.decode(getattr(corpus, part)) for part in PARTS] == ["abab\n", "abc", "abd"]
    assert corpus.vocab.symbols == tuple(map(ord, "\nabcd"))
    assert corpus.sha256 == hashlib.sha256(b"abab\nabcabd").hexdigest()
    strict = read_corpus([text], TextConfig(vocab_from="train"), val=val)
    assert (strict.vocab.symbols, strict.vocab.specials) == (tuple(map(ord, "\nab")), (UNK,))
    assert strict.vocab.decode(strict.validation, unk="?") == "ab?"
    assert strict.notes == ("1 rare characters (1 occurrences, 12.50% of the text) become <unk>",)
    assert strict.test is None


def test_vocab_from_train_knows_only_the_training_part():
    corpus = corpus_from_text("ab" * 9 + "xy", TextConfig(vocab_from="train"))
    assert (corpus.vocab.symbols, corpus.validation.tolist()) == ((97, 98), [2, 2])


def test_min_count_counts_all_parts():
    corpus = corpus_from_text("ab" * 9 + "xyx", TextConfig(min_count=2))
    assert corpus.vocab.decode(corpus.validation, unk="?") == "x?x"[-len(corpus.validation) :]


def test_take_chars_applies_before_the_split():
    whole = corpus_from_text(TEXT, TextConfig(take_chars=50))
    assert same(whole, corpus_from_text(TEXT[:50], TextConfig(take_chars=50)))
    assert (whole.num_chars, len(whole.train)) == (50, 45)


def test_the_end_of_a_file_ends_a_line(tmp_path):
    files = [write(tmp_path / "a", "anna"), write(tmp_path / "b", "bo")]
    for mode in ("none", "line", "file"):
        corpus = read_corpus(files, TextConfig(documents=mode, val_fraction=0))
        assert corpus.vocab.decode(corpus.train) == ("" if mode == "none" else "\n") + "anna\nbo"


def test_read_text_gives_the_text_of_a_corpus(tmp_path):
    files = [write(tmp_path / "a", "e\u0301\r\nx"), write(tmp_path / "b", "y")]
    assert read_text(files, TextConfig())[0] == "é\nx\ny"


@pytest.mark.parametrize(
    ("content", "config", "what", "why"),
    [
        ("", TextConfig(), "{path} is empty", "nothing can be learnt from it"),
        (
            "\r\n\n",
            TextConfig(documents="line"),
            "{path} contains no documents",
            "all of its 2 characters are separators",
        ),
        ("a", TextConfig(), "the text has 1 character", "the first ⌊1 × 0.9⌋ = 0 are for training"),
        (
            "a b\nc",
            TextConfig(documents="file"),
            "the text is a single document",
            "none can be held out of 1",
        ),
        ("ab", TextConfig(min_count=2), "no character occurs 2 times", "the vocabulary would be empty"),
    ],
)
def test_too_little_text_is_refused(tmp_path, content, config, what, why):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(DataError) as caught:
        read_corpus([path], config)
    assert caught.value.what == what.format(path=path)
    assert why in caught.value.why


def test_missing_files_are_explained(tmp_path):
    write(tmp_path / "tales.txt", TEXT)
    with pytest.raises(DataError) as caught:
        read_corpus([tmp_path / "tale.txt"], TextConfig())
    assert caught.value.what == f"{tmp_path / 'tale.txt'} does not exist"
    assert caught.value.fix == f"did you mean {tmp_path / 'tales.txt'}?"
    with pytest.raises(DataError, match=r"the folder .*nowhere does not exist either"):
        read_corpus([tmp_path / "nowhere" / "tale.txt"], TextConfig())
    with pytest.raises(DataError, match="no file matches"):
        read_corpus([str(tmp_path / "*.md")], TextConfig())


def test_folders_without_text_are_refused(tmp_path):
    with pytest.raises(DataError, match="contains no files"):
        read_corpus([tmp_path], TextConfig())
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"its 1 files are empty or binary, such as a.png"):
        read_corpus([tmp_path], TextConfig())


def test_the_decode_error_names_file_and_offset(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(DecodeError, match=r"a\.txt is not utf-8 at byte 3 \(0xE9\)"):
        read_corpus([path], TextConfig(encoding="utf-8"))


@pytest.mark.parametrize("packer", [lzma, gzip, bz2])
def test_a_truncated_archive_is_refused(tmp_path, packer):
    path = tmp_path / "a.txt.packed"
    path.write_bytes(packer.compress(TEXT.encode() * 50)[:-20])
    with pytest.raises(DataError, match="cannot be decompressed to the end"):
        read_corpus([path], TextConfig())


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.text.sources._BOMB_SIZE", 1 << 20)
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(b"a" * (1 << 22)))
    with pytest.raises(DataError, match=r"decompresses from .* to more than"):
        read_corpus([path], TextConfig())


def test_notes_count_empty_documents_and_direction_controls():
    corpus = corpus_from_text("a\n\n\nb\u200f\nc\n" * 9, TextConfig(documents="line"), name="t")
    assert corpus.notes == (
        "t: 18 empty documents left out",
        "9 direction controls (bidi), invisible but learnt like any other character: U+200F (9, first in line 4 of t)",
    )
