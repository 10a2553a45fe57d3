"""Words, names and copies against slow twins, in several scripts."""

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charloom.errors import DataError
from charloom.evaluation import Copy, known_word_share, longest_copy, novelty, unseen_share

ALPHABETS = ["ab", "abc\n", "aé\U0001f600\ud800", "كانا "]
texts = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.tuples(st.text(alphabet, max_size=40), st.text(alphabet, max_size=60))
)


def twin_copy(generated, training):
    """The longest common substring by dynamic programming: run[i] is the match that ends at i and at this j."""
    best, run = Copy(0, "", 0, 0), [0] * (len(generated) + 1)
    for j, char in enumerate(training):
        run = [0] + [run[i] + 1 if generated[i] == char else 0 for i in range(len(generated))]
        length = max(run)
        if length > best.length:
            end = run.index(length)
            best = Copy(length, generated[end - length : end], end - length, j + 1 - length)
    return best


def twin_words(text):
    """The words of a text, found by walking over its characters."""
    words, word = [], ""
    for i, char in enumerate(text):
        kind = unicodedata.category(char)[0]
        following = unicodedata.category(text[i + 1])[0] if i + 1 < len(text) else ""
        joins = char in "'’\u200c\u200d" and following == "L"
        if kind == "L" or (word and (kind == "M" or joins)):
            word += char
        else:
            words, word = [*words, word], ""
    return [word for word in [*words, word] if word]


@given(texts)
def test_the_longest_copy_is_the_twins(pair):
    assert longest_copy(*pair) == twin_copy(*pair)


@given(texts, st.integers(1, 9))
def test_pieces_hide_no_copy(pair, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "_PIECE", piece)
        assert longest_copy(*pair) == twin_copy(*pair)


def test_a_copy_across_two_pieces_of_a_long_text(rng):
    train = "".join(rng.choice(list("abcdefgh"), (1 << 20) + 5000))
    start = (1 << 20) - 37
    generated = "z" * 50 + train[start : start + 300] + "z" + train[7:60]
    assert longest_copy(generated, train) == Copy(300, train[start : start + 300], 50, start)


def test_windows_whose_hashes_collide_are_told_apart():
    """A Thue-Morse word and its complement have one hash mod 2⁶⁴, whatever the base, and are no copies."""
    word = "a"
    for _ in range(11):
        word += word.translate({97: "b", 98: "a"})
    complement = word.translate({97: "b", 98: "a"})
    powers, inverses = (novelty._powers(base, 3000) for base in (novelty._BASE, novelty._INVERSE_BASE))
    one, other = (novelty._Hashed.of(text, powers, inverses) for text in (word, complement))
    assert one.windows(2048) == other.windows(2048)
    assert novelty._copy_of_length(one, other, 2048) is None
    assert longest_copy(word, complement) == twin_copy(word, complement)


def test_of_equal_lengths_the_first_in_the_training_text_wins():
    assert longest_copy("ab--cd", "xcdxabxab") == Copy(2, "cd", 4, 1)


@pytest.mark.parametrize(("generated", "training"), [("", ""), ("", "abc"), ("abc", ""), ("abc", "xyz")])
def test_nothing_in_common(generated, training):
    assert longest_copy(generated, training) == Copy(0, "", 0, 0)


def test_a_text_is_a_copy_of_itself(rng):
    text = "".join(rng.choice(list("abcd"), 5000))
    assert longest_copy(text, text) == Copy(5000, text, 0, 0)


WORDS = st.text("aBéœكَان'’\u200c\u200d ,.1_\u0301\ufe0f字", max_size=40)


@given(WORDS, WORDS)
@example("don't", "don t")
@example("\u0301a", "a")
def test_known_words_are_the_twins(generated, training):
    words, known = twin_words(generated), set(twin_words(training))
    assume(words)
    assert known_word_share(generated, training) == sum(word in known for word in words) / len(words)


@pytest.mark.parametrize(
    ("generated", "training", "share"),
    [
        ("Aujourd'hui, l’été!", "aujourd'hui Aujourd'hui l’été", 1.0),
        ("l'été l'hiver", "l'été été hiver", 1 / 2),
        ("كَانَ، كان.", "كَانَ يا ما", 1 / 2),  # the vowel marks belong to the word
        ("می‌خواهم می", "«می‌خواهم»", 1 / 2),  # a zero-width non-joiner stands inside a word
        ("हिन्दी में", "में हिन्दी", 1.0),  # vowel signs are marks that take space
        ("2024 word ☀️ word", "a word", 1.0),  # numbers and signs are no words
        ("'tis rock 'n' roll", "tis rock and roll", 3 / 4),  # quotes at a word's edge are not its own
        ("a a a b", "a", 3 / 4),  # each as often as it was written
        ("The the", "the", 1 / 2),  # case counts
        ("word", "", 0.0),
    ],
)
def test_known_words_in_several_scripts(generated, training, share):
    assert known_word_share(generated, training) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "12 + 3", "'’", "\u0301"])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(DataError) as caught:
        known_word_share(text, "word")
    assert caught.value.what == f"a text of {len(text)} characters holds no word"


def test_unseen_documents_count_each_time_and_whole():
    assert unseen_share(["ann", "anna", "ann", "ANNA"], iter(["anna", "bob"])) == 3 / 4
    assert unseen_share(["anna"], []) == 1.0


def test_no_documents_are_refused():
    with pytest.raises(DataError) as caught:
        unseen_share([], ["anna"])
    assert caught.value.what == "there are no generated documents"
