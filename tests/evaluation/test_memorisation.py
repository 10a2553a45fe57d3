"""Copies against naive versions: with and without the library, in parts and groups, across pieces and documents."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.evaluation import (
    CopiedSpan,
    Copy,
    Matches,
    TrainingText,
    longest_copy,
    match_lengths,
    memorisation,
    novelty_of,
)
from charloom.kernels import suffix_automaton
from charloom.text.vocabulary import BOUNDARY, UNK, Vocabulary, code_points

ALPHABETS = ["ab", "abc\n", "aé\U0001f600\ud800", "كانا "]
texts = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.tuples(st.text(alphabet, max_size=40), st.text(alphabet, max_size=60))
)
several = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.tuples(
        st.lists(st.text(alphabet, max_size=40), max_size=5), st.text(alphabet, max_size=60)
    )
)


def naive_copy(generated, training):
    """The longest common substring by dynamic programming: run[i] is the length of the match that ends at i and j."""
    best, run = Copy(0, "", 0, 0), [0] * (len(generated) + 1)
    for j, char in enumerate(training):
        run = [0] + [run[i] + 1 if generated[i] == char else 0 for i in range(len(generated))]
        length = max(run)
        if length > best.length:
            end = run.index(length)
            best = Copy(length, generated[end - length : end], end - length, j + 1 - length)
    return best


def naive_matches(generated, training):
    """[(length, offset)] for each character: the longest slice ending there that occurs in the training text."""
    found = []
    for end in range(1, len(generated) + 1):
        start = next(s for s in range(end + 1) if generated[s:end] in training)
        found.append((end - start, training.find(generated[start:end]) if end > start else 0))
    return found


def naive_spans(generated, training, least):
    """Every slice of at least `least` characters that occurs in the training text and cannot be extended."""

    def occurs(start, stop):
        return start >= 0 and stop <= len(generated) and generated[start:stop] in training

    return tuple(
        CopiedSpan(start, stop - start, training.find(generated[start:stop]))
        for start in range(len(generated))
        for stop in range(start + least, len(generated) + 1)
        if occurs(start, stop) and not occurs(start - 1, stop) and not occurs(start, stop + 1)
    )


def pieces(training, size=7):
    return [code_points(training[i : i + size]) for i in range(0, len(training), size)]


def matched(generated, training):
    return [
        list(zip(matches.lengths.tolist(), matches.text_offsets.tolist(), strict=True))
        for matches in match_lengths(generated, training)
    ]


@pytest.fixture(params=["compiled", "plain"])
def mode(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(suffix_automaton, "library", lambda: None)
    return request.param


def test_the_library_is_built_in_the_test_environment():
    assert (suffix_automaton.library() is None) == (os.environ.get("CHARLOOM_CPU") == "none")


@given(several)
def test_matches_agree_with_the_naive_version(pair):
    generated, training = pair
    assert matched(generated, pieces(training)) == [naive_matches(text, training) for text in generated]


@given(several)
def test_without_the_library_the_matches_are_the_same(pair):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suffix_automaton, "library", lambda: None)
        assert matched(pair[0], pieces(pair[1])) == [naive_matches(text, pair[1]) for text in pair[0]]


@given(several, st.integers(1, 9), st.integers(1, 3), st.integers(1, 60))
def test_parts_overlaps_and_groups_do_not_change_the_matches(pair, size, overlap, edges):
    generated, training = pair
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "_GROUP": size,
            "_SMALLEST_PART": 1,
            "_OVERLAP": overlap,
            "_MAX_EDGES": edges,
        }.items():
            patch.setattr(memorisation, name, value)
        assert matched(generated, pieces(training)) == [naive_matches(text, training) for text in generated]


@given(texts, st.integers(1, 5))
def test_copied_spans_agree_with_the_naive_version(pair, least):
    generated, training = pair
    [judged] = novelty_of([generated], pieces(training), from_chars=least)
    assert judged.stretches == naive_spans(generated, training, least)
    inside = [any(s.start <= i < s.start + s.length for s in judged.stretches) for i in range(len(generated))]
    marked = [any(start <= i < stop for start, stop in judged.spans) for i in range(len(generated))]
    assert marked == inside
    assert judged.copied_share == pytest.approx(np.mean(inside) if inside else 0.0)
    assert judged.longest_copy_chars == naive_copy(generated, training).length
    assert all(left[1] < right[0] for left, right in zip(judged.spans, judged.spans[1:], strict=False))


@given(texts)
def test_the_longest_copy_agrees_with_the_naive_version(pair):
    assert longest_copy(*pair) == naive_copy(*pair)


def test_groups_are_bounded_and_each_reads_the_training_text_once():
    class Counted(list):
        readings = 0

        def __iter__(self):
            self.readings += 1
            return super().__iter__()

    training = Counted(pieces("the end"))
    match_lengths(["then"] * 20_001, training)  # 80,004 characters and 20,001 separators
    assert training.readings == 3
    match_lengths(["", ""], training)
    assert training.readings == 3


@pytest.mark.parametrize("num_signs", [60, 3000, 20_000])
def test_the_table_stays_small_for_every_alphabet(num_signs, rng, monkeypatch):
    sizes = []

    class Recorded(suffix_automaton.Automaton):
        def __init__(self, columns, num_columns):
            sizes.append(2 * len(columns) * num_columns)
            super().__init__(columns, num_columns)

    monkeypatch.setattr(suffix_automaton, "Automaton", Recorded)
    text = "".join(map(chr, 0x4E00 + rng.integers(0, num_signs, 60_000)))
    train = "".join(map(chr, 0x4E00 + rng.integers(0, num_signs, 1000))) + text[40_000:40_900]
    [judged] = novelty_of([text], [code_points(train)])
    assert judged.stretches == (CopiedSpan(40_000, 900, 1000),)
    assert len(sizes) > 1
    assert max(sizes) <= memorisation._MAX_EDGES


def test_quantiles_are_lengths_that_occur():
    [judged] = novelty_of(["abcdefghij"], [code_points("abcdefghi")])
    assert judged.match_length_quantiles_chars == {0.1: 0, 0.5: 4, 0.9: 8, 0.99: 9}


def test_a_copy_across_two_pieces_of_a_long_text(rng, mode):
    size = 1 << (20 if mode == "compiled" else 16)
    train = "".join(rng.choice(list("abcdefgh"), size + 5000))
    start = size - 37
    generated = "z" * 50 + train[start : start + 300] + "z" + train[7:60]
    assert longest_copy(generated, train) == Copy(300, train[start : start + 300], 50, start)


def test_a_long_text_that_is_one_long_copy_is_matched_across_its_parts(rng):
    train = "".join(rng.choice(list("abcd"), 120_000))
    text = "z" + train[100:119_000]
    [judged] = novelty_of([text], pieces(train, 1 << 16))
    assert judged.stretches == (CopiedSpan(1, 118_900, 100),)


def test_of_equally_long_copies_the_first_in_the_training_text_is_returned():
    assert longest_copy("ab--cd", "xcdxabxab") == Copy(2, "cd", 4, 1)


@pytest.mark.parametrize(("generated", "training"), [("", ""), ("", "abc"), ("abc", ""), ("abc", "xyz")])
def test_texts_with_nothing_in_common(generated, training, mode):
    assert longest_copy(generated, training) == Copy(0, "", 0, 0)


def test_a_text_is_a_copy_of_itself(rng, mode):
    text = "".join(rng.choice(list("abcd"), 5000))
    assert longest_copy(text, text) == Copy(5000, text, 0, 0)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_copies_do_not_cross_boundaries_which_count_as_one_character(unit):
    symbols = tuple(range(256)) if unit == "byte" else tuple(map(ord, "abél\n"[4] + "abél"))
    if unit == "char":
        symbols = tuple(sorted(symbols))
    vocab = Vocabulary(unit, symbols, (BOUNDARY,))
    boundary = np.array([vocab.boundary_id])
    ids = np.concatenate([part for name in ("éla", "bél", "la") for part in (boundary, vocab.encode(name))])
    assert matched(["labé", "a\nb", "béla"], TrainingText(ids, vocab)) == [
        [(1, 2), (2, 2), (1, 5), (2, 5)],
        [(1, 3), (0, 0), (1, 5)],
        [(1, 5), (2, 5), (3, 5), (3, 1)],
    ]


def test_the_unknown_symbol_matches_nothing():
    vocab = Vocabulary("char", tuple(map(ord, "ab")), (UNK,))
    assert matched(["a\ufffdb", "ab", "a", "b"], TrainingText(vocab.encode("axb"), vocab)) == [
        [(1, 0), (0, 0), (1, 2)],
        [(1, 0), (1, 2)],
        [(1, 0)],  # nor does the separator between two samples
        [(1, 2)],
    ]


@given(st.lists(st.binary(max_size=12), max_size=5), st.integers(1, 5))
def test_bytes_are_read_as_a_byte_model_shows_them(documents, size):
    vocab = Vocabulary("byte", tuple(range(256)), (BOUNDARY,))
    ids = np.array([i for document in documents for i in (256, *document)], np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorisation, "_PIECE", size)
        read = [code for piece in TrainingText(ids, vocab) for code in piece.tolist()]
    shown = [[0x110000, *map(ord, vocab.decode(list(document)))] for document in documents]
    assert read == [code for document in shown for code in document]


def test_a_memory_map_is_read_piece_by_piece(tmp_path, monkeypatch):
    vocab = Vocabulary.from_text("abc")
    ids = np.memmap(tmp_path / "ids", np.uint8, "w+", shape=(1000,))
    ids[:] = np.tile([0, 1, 2, 1], 250)
    monkeypatch.setattr(memorisation, "_PIECE", 64)
    read = list(TrainingText(ids, vocab))
    assert max(map(len, read)) == 64
    assert matched(["cbab"], TrainingText(ids, vocab)) == [[(1, 2), (2, 2), (3, 2), (4, 2)]]


def histogram_by_hand(lengths):
    edges = [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64)]
    counts = [(low, high, sum(low <= n <= high for n in lengths)) for low, high in edges]
    last = max((i for i, (_, _, num) in enumerate(counts) if num), default=-1)
    return counts[: last + 1]


@given(st.lists(st.lists(st.integers(0, 64), max_size=30), min_size=1, max_size=3))
def test_the_histogram_counts_every_length_once(lengths):
    matches = [Matches(np.array(one, np.int32), np.zeros(len(one), np.int64)) for one in lengths]
    found = [tuple(one) for one in memorisation.length_histogram(*matches)]
    assert found == histogram_by_hand([n for one in lengths for n in one])


def test_the_histogram_is_part_of_the_result():
    [judged] = novelty_of(["abxbaa"], [code_points("baab")])
    assert [tuple(one) for one in judged.match_length_histogram] == [
        (0, 0, 1),
        (1, 1, 2),
        (2, 2, 2),
        (3, 4, 1),
    ]
