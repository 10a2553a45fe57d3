"""New words and documents against naive versions, in several scripts."""

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charloom.errors import DataError
from charloom.evaluation import known_word_share, unseen_share


def naive_words(text):
    """The words of a text, found character by character."""
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


WORDS = st.text("aBéœكَان'’\u200c\u200d ,.1_\u0301\ufe0f字", max_size=40)


@given(WORDS, WORDS)
@example("don't", "don t")
@example("\u0301a", "a")
def test_the_share_of_known_words_agrees_with_the_naive_version(generated, training):
    words, known = naive_words(generated), set(naive_words(training))
    assume(words)
    assert known_word_share(generated, training) == sum(word in known for word in words) / len(words)


@pytest.mark.parametrize(
    ("generated", "training", "share"),
    [
        ("Aujourd'hui, l’été!", "aujourd'hui Aujourd'hui l’été", 1.0),
        ("l'été l'hiver", "l'été été hiver", 1 / 2),
        ("كَانَ، كان.", "كَانَ يا ما", 1 / 2),  # the vowel marks belong to the word
        ("می‌خواهم می", "«می‌خواهم»", 1 / 2),  # a zero-width non-joiner inside a word
        ("हिन्दी में", "में हिन्दी", 1.0),  # vowel signs are marks that take space
        ("2024 word ☀️ word", "a word", 1.0),  # numbers and symbols are not words
        ("'tis rock 'n' roll", "tis rock and roll", 3 / 4),  # quotes at the edge of a word are not part of it
        ("a a a b", "a", 3 / 4),  # each occurrence counts
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
    assert caught.value.what == f"a text of {len(text)} characters does not contain a word"


def test_documents_are_compared_whole_and_repetitions_count():
    assert unseen_share(["ann", "anna", "ann", "ANNA"], iter(["anna", "bob"])) == 3 / 4
    assert unseen_share(["anna"], []) == 1.0


def test_no_documents_are_refused():
    with pytest.raises(DataError) as caught:
        unseen_share([], ["anna"])
    assert caught.value.what == "there are no generated documents"
