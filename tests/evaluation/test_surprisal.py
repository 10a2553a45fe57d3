"""Surprisal against a plain computation from logits, positions in the text, and the mean of `stream_loss`."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.evaluation import surprisal as module
from charloom.evaluation import surprisals_of
from charloom.evaluation.protocols import stream_loss
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary, encode_for_scoring, unseen_nats
from charloom.text.vocabulary import BOUNDARY, UNK

CLOSE = 1e-10  # float64; `by_hand` reads one character at a time
NETWORK = ModelConfig(cell="gru", hidden_size=8, init="uniform", init_scale=0.9)
TEXT = "the cat sat on the mat\nand the dog sat too\n"


def model_of(vocab, seed=3):
    params = initial_parameters(NETWORK, len(vocab), seed)
    return load_engine("scratch").model(params, NETWORK, precision="float64")


def by_hand(model, ids, boundary_id=None):
    """For each id after the first: nats, the likeliest id and its probability, from one step at a time."""
    state, found = model.initial_state(1), []
    for char_id, target in zip(ids, ids[1:], strict=False):
        if char_id == boundary_id:
            state = model.initial_state(1)
        logits, state = model.step(np.array([char_id]), state)
        probs = np.exp(logits[0] - logits[0].max())
        probs /= probs.sum()
        found.append((-math.log(probs[target]), int(probs.argmax()), float(probs.max())))
    return found


def test_each_surprisal_follows_from_the_logits():
    vocab = Vocabulary.from_text(TEXT)
    model = model_of(vocab)
    found = surprisals_of(model, vocab, TEXT)
    hand = by_hand(model, vocab.encode(TEXT))
    assert "".join(found.chars) == TEXT
    assert math.isnan(found.bits[0])  # read, not charged
    assert found.bits[1:] == pytest.approx([nats / math.log(2) for nats, _, _ in hand], rel=CLOSE)
    assert found.expected_ids.tolist() == [-1, *(char_id for _, char_id, _ in hand)]
    assert found.expected_probabilities[1:] == pytest.approx([p for _, _, p in hand], rel=CLOSE)
    assert found.num_predictions == len(TEXT) - 1


@pytest.mark.parametrize("length", [2, 256, 257, 258, 900])
def test_the_mean_equals_that_of_the_stream_protocol(length, rng):
    vocab = Vocabulary.from_text("abcd")
    text = "".join(rng.choice(list("abcd"), length))
    model = model_of(vocab)
    score = stream_loss(model, vocab.encode(text))
    assert surprisals_of(model, vocab, text).bits_per_char == pytest.approx(score.bits_per_char, rel=CLOSE)


def test_a_long_text_is_read_in_the_segments_of_the_protocol(monkeypatch, rng):
    monkeypatch.setattr("charloom.evaluation.protocols.EXACT_STREAM_CHARS", 300)
    monkeypatch.setattr("charloom.evaluation.protocols.PRIMING_CHARS", 100)
    vocab = Vocabulary.from_text("abcd")
    text = "".join(rng.choice(list("abcd"), 1000))
    model = model_of(vocab)
    found = surprisals_of(model, vocab, text)
    assert not np.isnan(found.bits[1:]).any()
    assert found.bits_per_char == pytest.approx(
        stream_loss(model, vocab.encode(text)).bits_per_char, rel=CLOSE
    )
    alone = by_hand(model, vocab.encode(text[:250]))
    assert found.bits[1:250] == pytest.approx([nats / math.log(2) for nats, _, _ in alone], rel=CLOSE)


def test_unknown_characters_are_charged_and_not_read():
    vocab = Vocabulary.from_text("abc")
    model = model_of(vocab)
    found = surprisals_of(model, vocab, "aξbψc")
    assert found.unknown.tolist() == [False, True, False, True, False]
    charge = unseen_nats(vocab) / math.log(2)
    assert charge == pytest.approx(20 + math.log2(1_114_112 - 2_048 - 3))
    assert math.isnan(found.bits[0])
    assert found.bits[[1, 3]] == pytest.approx([charge, charge])
    hand = by_hand(model, vocab.encode("abc"))
    assert found.bits[[2, 4]] == pytest.approx([nats / math.log(2) for nats, _, _ in hand], rel=CLOSE)
    assert (found.num_unknown, found.num_predictions) == (2, 4)
    assert found.unknown_bits == pytest.approx(2 * charge)
    assert found.total_bits == pytest.approx(2 * charge + found.bits[[2, 4]].sum())
    assert [one.unknown for one in found.oddities(2)] == [True, True]


@pytest.mark.parametrize("specials", [(), (UNK,)])
def test_an_unknown_first_character_is_charged(specials):
    vocab = Vocabulary("char", (97, 98, 99), specials)
    found = surprisals_of(model_of(vocab), vocab, "ξab")
    assert found.bits[0] == pytest.approx(unseen_nats(vocab) / math.log(2))
    assert found.num_predictions == np.isfinite(found.bits).sum()


@pytest.mark.parametrize("specials", [(), (UNK,)])
def test_a_line_with_unknown_characters_is_never_likelier_than_a_known_one(specials):
    vocab = Vocabulary("char", tuple(map(ord, "\nCNO")), (*specials, BOUNDARY))
    config = TextConfig(documents="line")
    found = surprisals_of(model_of(vocab), vocab, "CCO\nC[Xe]Q\nCNO\n", config)
    worst, *others = found.lines()
    assert (worst.line, worst.text, worst.num_unknown) == (2, "C[Xe]Q", 5)
    assert worst.bits > 5 * 20
    assert [one.num_unknown for one in others] == [0, 0]
    assert sum(one.bits for one in found.lines()) == pytest.approx(found.total_bits)
    assert len(found.lines(1)) == 1


def test_unknown_characters_are_charged_as_unk_plus_a_uniform_choice():
    vocab = Vocabulary("char", (97, 98, 99), (UNK,))
    model = model_of(vocab)
    found = surprisals_of(model, vocab, "aξb")
    (unk, _, _), (b, _, _) = by_hand(model, [0, 3, 1])
    expected = [(unk + unseen_nats(vocab)) / math.log(2), b / math.log(2)]
    assert found.bits[1:] == pytest.approx(expected, rel=CLOSE)
    assert found.unknown.tolist() == [False, True, False]


def test_with_unit_byte_a_character_costs_the_sum_of_its_bytes():
    vocab = Vocabulary("byte", tuple(range(256)))
    model = model_of(vocab)
    found = surprisals_of(model, vocab, "aé€")
    nats = [one for one, _, _ in by_hand(model, list("aé€".encode()))]
    assert found.chars == ("a", "é", "€")
    expected = [sum(nats[:2]) / math.log(2), sum(nats[2:]) / math.log(2)]
    assert found.bits[1:] == pytest.approx(expected, rel=CLOSE)
    assert (found.num_predictions, found.unit) == (5, "byte")
    assert found.bits_per_char == pytest.approx(sum(nats) / 5 / math.log(2), rel=CLOSE)
    assert found.expected_ids[1] == by_hand(model, list("aé".encode()))[0][1]  # the first byte's


@pytest.mark.parametrize(
    ("mode", "text", "chars"),
    [
        ("line", "ab\n\nba\n", ["a", "b", "\n\n", "b", "a", "\n"]),
        ("blank-line", "\nab\nb\n \n\nba", ["\n", "a", "b", "\n", "b", "\n \n\n", "b", "a"]),
        ("<ab>", "<ab>b\n<ab>\n<ab>ba<ab>", ["<ab>", "b", "\n<ab>\n<ab>", "b", "a", "<ab>"]),
        ("file", "ab\nba\n", ["a", "b", "\n", "b", "a", "\n"]),
    ],
)
def test_in_documents_every_symbol_is_assigned_to_its_character(mode, text, chars):
    vocab = Vocabulary("char", (10, 97, 98), (BOUNDARY,))
    model, config = model_of(vocab), TextConfig(documents=mode)
    found = surprisals_of(model, vocab, text, config)
    ids = encode_for_scoring(vocab, text, config).ids
    assert list(found.chars) == chars
    assert found.num_predictions == len(ids) - 1
    nats = [one for one, _, _ in by_hand(model, ids, boundary_id=3)]
    charged = found.bits[~np.isnan(found.bits)]
    assert charged == pytest.approx(np.array(nats) / math.log(2), rel=CLOSE)
    ends = {0, len(chars) - 1}  # text before the first and after the last document is not charged
    assert {i for i in range(len(chars)) if np.isnan(found.bits[i])} <= ends


def test_oddities_are_sorted_from_the_highest_and_have_their_positions():
    vocab = Vocabulary.from_text(TEXT)
    found = surprisals_of(model_of(vocab), vocab, TEXT)
    odd = found.oddities(len(TEXT) + 5)
    assert [one.bits for one in odd] == sorted(found.bits[1:].tolist(), reverse=True)
    lines = TEXT.split("\n")
    for one in odd:
        assert TEXT[one.offset] == one.char
        assert ([*lines[one.line - 1], "\n"])[one.column - 1] == one.char
        assert one.before + one.char + one.after in TEXT
        assert one.before == TEXT[max(0, one.offset - module.CONTEXT_CHARS) : one.offset]
        assert one.expected in vocab.decode(range(len(vocab)))
    assert found.oddities(0) == []
    assert [one.offset for one in found.oddities(3)] == [one.offset for one in odd[:3]]


def test_equal_surprisals_are_in_text_order():
    vocab = Vocabulary.from_text("ab")
    params = {name: 0 * array for name, array in initial_parameters(NETWORK, 2, 0).items()}
    even = load_engine("scratch").model(params, NETWORK, precision="float64")
    found = surprisals_of(even, vocab, "abba")
    assert found.bits[1:].tolist() == [1, 1, 1]
    assert [one.offset for one in found.oddities()] == [1, 2, 3]


def test_without_a_charged_character_the_mean_is_nan():
    vocab = Vocabulary.from_text("abc")
    found = surprisals_of(model_of(vocab), vocab, "a")
    assert found.chars == ("a",)
    assert math.isnan(found.bits_per_char)
    assert (found.num_predictions, found.oddities()) == (0, [])


def test_an_empty_text_is_an_error():
    vocab = Vocabulary.from_text("abc")
    with pytest.raises(DataError, match="the text is empty"):
        surprisals_of(model_of(vocab), vocab, "")


def test_the_text_is_normalised_like_the_training_text():
    vocab = Vocabulary.from_text("é\n")
    found = surprisals_of(model_of(vocab), vocab, "é\r\ne\N{COMBINING ACUTE ACCENT}", TextConfig())
    assert found.chars == ("é", "\n", "é")
    assert found.num_unknown == 0
