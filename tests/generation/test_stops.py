"""Stop texts are normalised as the training text was, and refused if they can never match."""

import pytest

from charloom.config import TextConfig
from charloom.errors import UnknownCharacterError
from charloom.generation import stop_texts
from charloom.text.vocabulary import Vocabulary

from .fakes import BYTES

FRENCH = Vocabulary.from_text("l'été\n")
LINES = Vocabulary("char", tuple(map(ord, "abc")), ("<boundary>",))


@pytest.mark.parametrize(
    ("stop", "matched"),
    [("e\u0301", "é"), ("\r\n", "\n"), ("\r", "\n"), ("te\u0301\r\n\r\n", "té\n\n"), ("l'", "l'"), ("", "")],
)
def test_the_form_is_that_of_the_training_text(stop, matched):
    assert stop_texts([stop], FRENCH, TextConfig()) == ((matched,), ())


def test_the_form_is_the_models_own():
    assert stop_texts(["ﬁ"], Vocabulary.from_text("fi"), TextConfig(normalization="nfkc"))[0] == ("fi",)
    decomposed = Vocabulary.from_text("e\u0301")
    assert stop_texts(["e\u0301"], decomposed, TextConfig(normalization="none"))[0] == ("e\u0301",)


def test_a_stop_text_that_can_never_match_is_refused_with_a_similar_character():
    with pytest.raises(UnknownCharacterError) as caught:
        stop_texts(["été", "l’"], FRENCH, TextConfig())
    assert caught.value.what == "the stop text 'l’' contains '’' (U+2019), which the model does not know"
    assert "can never end a sample" in caught.value.why
    assert caught.value.fix.startswith('write "\'" (U+0027) instead')


def test_unk_is_not_generated_so_it_matches_nothing():
    with pytest.raises(UnknownCharacterError, match="U\\+03BE"):
        stop_texts(["ξ"], Vocabulary("char", (97,), ("<unk>",)), TextConfig(min_count=2))


def test_a_byte_model_can_generate_any_text():
    assert stop_texts(["ξ漢"], BYTES, TextConfig(unit="byte"))[0] == ("ξ漢",)


@pytest.mark.parametrize(
    ("documents", "stop"),
    [
        ("line", "\n"),
        ("line", "\r\n"),
        ("blank-line", "\n\n"),
        ("blank-line", "\n \n"),
        (r"\nEND\n", "\nEND\n"),
    ],
)
def test_what_separates_documents_is_left_out_with_a_note(documents, stop):
    kept, (note,) = stop_texts(["ab", stop], LINES, TextConfig(documents=documents))
    assert kept == ("ab",)
    assert note == f"stop text {stop!r} left out: every sample ends with its document"


def test_a_separator_that_documents_keep_is_generated_and_can_be_matched():
    kept = TextConfig(documents="ab", keep_separator="end")
    assert stop_texts(["ab"], LINES, kept) == (("ab",), ())
    assert stop_texts(["ab"], LINES, TextConfig(documents="ab"))[0] == ()


def test_a_newline_inside_a_stop_text_of_a_model_of_lines_is_refused():
    with pytest.raises(UnknownCharacterError) as caught:
        stop_texts(["a\nb"], LINES, TextConfig(documents="line"))
    assert "every sample ends with its document" in caught.value.fix
