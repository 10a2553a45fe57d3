import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.errors import UnknownCharacterError
from charloom.generation import encode_prompt
from charloom.text.vocabulary import Vocabulary

from .fakes import BYTES

PLAIN = TextConfig()
FRENCH = Vocabulary.from_text("l'été\n")
WITH_UNK = Vocabulary("char", tuple(map(ord, "abc")), ("<unk>",))


def read(text, vocab, policy, config=PLAIN):
    ids, notes = encode_prompt(text, vocab, policy, config)
    assert ids.dtype == np.int64
    return vocab.decode(ids), notes


@pytest.mark.parametrize("policy", ["error", "skip", "similar", "replace"])
def test_known_characters_are_accepted_under_every_policy(policy):
    assert read("l'été", FRENCH, policy) == ("l'été", ())
    assert read("", FRENCH, policy) == ("", ())


def test_the_prompt_gets_the_normal_form_and_newlines_of_the_training_text():
    assert read("e\u0301te\u0301\r\nl\r", FRENCH, "error") == ("été\nl\n", ()), "é typed as two characters"
    assert read("ﬁ", Vocabulary.from_text("fi"), "error", TextConfig(normalization="nfkc")) == ("fi", ())
    with pytest.raises(UnknownCharacterError, match=r"U\+0301"):
        encode_prompt("e\u0301", Vocabulary.from_text("eé"), "error", TextConfig(normalization="none"))


def test_an_unknown_character_is_reported_with_the_most_similar_one_and_two_fixes():
    with pytest.raises(UnknownCharacterError) as caught:
        encode_prompt("l’été", FRENCH, "error", PLAIN)
    assert caught.value.what == "the prompt contains '’' (U+2019), which the model does not know"
    assert caught.value.why == (
        'it knows 5 characters, fixed when it was trained; the most similar is "\'" (U+0027)'
    )
    assert caught.value.fix == "retrain on text that contains it, or pass --unknown skip or --unknown similar"


def test_an_unknown_character_without_a_similar_one_is_reported_with_one_fix():
    with pytest.raises(UnknownCharacterError) as caught:
        encode_prompt("ж", FRENCH, "error", PLAIN)
    assert caught.value.why.endswith("none of them is similar")
    assert caught.value.fix == "retrain on text that contains it, or pass --unknown skip"


def test_several_unknown_characters_are_named_in_the_order_of_the_prompt():
    with pytest.raises(
        UnknownCharacterError, match=r"contains 'z' \(U\+007A\) \(also 'a' \(U\+0061\)\), which"
    ):
        encode_prompt("zaz", FRENCH, "error", PLAIN)
    with pytest.raises(UnknownCharacterError, match=r"contains 'z' .*'w' \(U\+0077\)\), which"):
        encode_prompt("zyxw", FRENCH, "error", PLAIN)
    with pytest.raises(UnknownCharacterError, match=r"contains 'z' .*'w' \(U\+0077\) and 1 more\), which"):
        encode_prompt("zyxwb", FRENCH, "error", PLAIN)


@pytest.mark.parametrize("char", ["\u202e", "\x1b", "\udc80"])
def test_the_error_message_has_no_control_characters(char):
    with pytest.raises(UnknownCharacterError) as caught:
        encode_prompt(char, FRENCH, "error", PLAIN)
    assert char not in str(caught.value)


def test_skip_leaves_characters_out_and_reports_them():
    assert read("xlxé", FRENCH, "skip") == ("lé", ("left out 'x' (U+0078), 2 times",))
    assert read("x", FRENCH, "skip") == ("", ("left out 'x' (U+0078)",))


def test_similar_reads_the_most_similar_character_and_reports_it():
    text, notes = read("l’eTe’", FRENCH, "similar")
    assert text == "l'été'"
    assert notes == (
        "read '’' (U+2019) as \"'\" (U+0027), 2 times",
        "read 'e' (U+0065) as 'é' (U+00E9), 2 times",
        "read 'T' (U+0054) as 't' (U+0074)",
    )
    assert read("ﬁ", Vocabulary.from_text("fi"), "similar") == (
        "fi",
        ("read 'ﬁ' (U+FB01) as 'fi' (U+0066 U+0069)",),
    )


def test_substitutes_are_not_substituted_again():
    vocab = Vocabulary.from_text("'")
    assert read("’‘", vocab, "similar")[0] == "''"


def test_similar_without_a_similar_character_is_an_error():
    with pytest.raises(UnknownCharacterError, match=r"'ж' \(U\+0436\).*similar enough.*--unknown skip"):
        encode_prompt("lж", FRENCH, "similar", PLAIN)


def test_replace_reads_unk_and_reports_it():
    ids, notes = encode_prompt("axbx", WITH_UNK, "replace", PLAIN)
    assert ids.tolist() == [0, 3, 1, 3]
    assert notes == ("read 'x' (U+0078) as <unk>, 2 times",)


def test_replace_needs_unk():
    with pytest.raises(UnknownCharacterError, match=r"trained without <unk>.*--unknown skip"):
        encode_prompt("x", FRENCH, "replace", PLAIN)


@pytest.mark.parametrize(("policy", "text"), [("error", "bá"), ("error", "bж"), ("similar", "bж")])
def test_a_model_with_unk_still_changes_nothing_silently(policy, text):
    with pytest.raises(UnknownCharacterError):
        encode_prompt(text, WITH_UNK, policy, PLAIN)


def test_a_byte_vocabulary_knows_every_character():
    ids, notes = encode_prompt("é\r\n", BYTES, "error", PLAIN)
    assert (ids.tolist(), notes) == ([0xC3, 0xA9, 0x0A], ())
