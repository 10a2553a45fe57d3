import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.text.load import corpus_from_text
from charloom.text.oov import encode_for_scoring, unseen_nats
from charloom.text.vocabulary import BOUNDARY, UNK, Vocabulary

KNOWN = tuple(map(ord, "abc"))


@given(st.text(st.sampled_from("abcé漢")), st.booleans())
def test_unseen_characters_have_a_cost_or_are_skipped(text, has_unk):
    vocab = Vocabulary("char", KNOWN, (UNK,) if has_unk else ())
    scoring = encode_for_scoring(vocab, text)
    assert scoring.unknown_counts == {char: text.count(char) for char in "é漢" if char in text}
    assert (scoring.num_chars, scoring.num_unknown) == (len(text), text.count("é") + text.count("漢"))
    kept = text if has_unk else text.replace("é", "").replace("漢", "")
    assert vocab.decode(scoring.ids, unk="?") == kept.replace("é", "?").replace("漢", "?")


def test_the_cost_is_a_uniform_choice_among_unseen_code_points():
    assert unseen_nats(Vocabulary("char", KNOWN, (UNK,))) == pytest.approx(math.log(1_114_112 - 2_048 - 3))
    assert unseen_nats(Vocabulary("char", KNOWN)) == pytest.approx(
        math.log(1_114_112 - 2_048 - 3) + 20 * math.log(2)
    )


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("mode", ["none", "line", "blank-line", "ab"])
def test_a_known_text_gets_the_same_ids_as_in_training(unit, mode):
    config = TextConfig(unit=unit, documents=mode, val_fraction=0.5)
    text = "abé漢\r\n\r\nbca\nca\n\nbab\n" * 3
    corpus = corpus_from_text(text, config)
    scoring = encode_for_scoring(corpus.vocab, text, config)
    assert scoring.ids.tolist() == np.concatenate([corpus.train, corpus.validation]).tolist()
    assert scoring.ids.dtype == corpus.vocab.dtype
    assert scoring.unknown_fraction == 0.0


def test_boundaries_are_right_if_characters_are_skipped():
    vocab = Vocabulary("char", KNOWN, (BOUNDARY,))
    scoring = encode_for_scoring(vocab, "aéb\néc\nab", TextConfig(documents="line"))
    assert vocab.decode(scoring.ids, boundary="|") == "|ab|c|ab"
    assert (scoring.num_chars, scoring.unknown_fraction) == (7, pytest.approx(2 / 7))
