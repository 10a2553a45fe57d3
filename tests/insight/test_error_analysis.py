"""Error analysis: every character is charged once, in its own group, and the n-gram is charged for the same ones."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.evaluation import ngram_surprisals
from charloom.evaluation.protocols import stream_loss
from charloom.insight import error_analysis as module
from charloom.insight.error_analysis import MAX_ORDER, error_analysis, position_losses
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary
from tests.engines.cases import random_parameters


class Pricing:
    """A model that charges each target its id in bits."""

    def initial_state(self, batch_size):
        return batch_size

    def losses(self, window, state):
        assert state == len(window.inputs)
        return window.targets * math.log(2), state


TEXT = "Ab c,\nde 7 fgh. Ij\n" * 40
VOCAB = Vocabulary.from_text(TEXT)
CHARS = tuple(map(chr, VOCAB.symbols))
IDS = VOCAB.encode(TEXT).astype(int)


def test_every_character_but_the_first_is_charged_once_and_in_order():
    losses = position_losses(Pricing(), IDS) / math.log(2)
    assert losses == pytest.approx(IDS[1:])


def test_lanes_are_primed(rng):
    config = ModelConfig(cell="elman", hidden_size=6)
    model = load_engine("scratch").model(initial_parameters(config, 9, 0), config, precision="float64")
    ids = rng.integers(0, 9, 1_000)
    assert len(ids) > 2 * module.PRIMING_CHARS
    one_lane = stream_loss(model, ids).loss_nats
    assert position_losses(model, ids).mean() == pytest.approx(one_lane, rel=1e-9)


def test_a_boundary_resets_the_state(rng):
    config = ModelConfig(cell="gru", hidden_size=6)
    model = load_engine("scratch").model(random_parameters(config, rng, 9), config, precision="float64")
    ids = rng.integers(0, 9, 500)
    expected = stream_loss(model, ids, boundary_id=4).loss_nats
    assert position_losses(model, ids, boundary_id=4).mean() == pytest.approx(expected, rel=1e-9)
    assert position_losses(model, ids).mean() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("cut", ["by_class", "by_word_position", "by_line_position"])
def test_groups_partition_all_characters(cut):
    found = error_analysis(Pricing(), IDS, CHARS, None)
    groups = getattr(found, cut)
    assert sum(group.num_chars for group in groups) == found.overall.num_chars == len(IDS) - 1
    total = sum(group.num_chars * group.bits_per_char for group in groups)
    assert (
        total / (len(IDS) - 1) == pytest.approx(found.overall.bits_per_char) == pytest.approx(IDS[1:].mean())
    )
    assert all((g.ngram_bits_per_char, g.winner, g.ahead_fraction) == ((), None, None) for g in groups)


def test_the_cost_of_a_group_is_the_mean_over_its_characters():
    found = error_analysis(Pricing(), IDS, CHARS, None)
    by_class = {group.name: group for group in found.by_class}
    assert by_class["digit"].bits_per_char == pytest.approx(VOCAB.encode("7")[0])
    assert by_class["uppercase"].bits_per_char == pytest.approx(
        np.mean([VOCAB.encode(c)[0] for c in TEXT[1:] if c.isupper()])
    )
    by_word = {group.name: group for group in found.by_word_position}
    assert by_word["letter 3"].bits_per_char == pytest.approx(VOCAB.encode("h")[0])
    by_line = {group.name: group for group in found.by_line_position}
    assert by_line.keys() == {"0 to 9", "10 to 19"}
    assert by_line["10 to 19"].num_chars == 40 * 3


def test_the_ngram_is_charged_for_the_same_characters():
    train, held = IDS[: len(IDS) // 2], IDS[len(IDS) // 2 :]
    found = error_analysis(Pricing(), held, CHARS, train)
    surprisals = list(ngram_surprisals(train, held, len(CHARS), max_order=MAX_ORDER))
    assert found.overall.ngram_bits_per_char == pytest.approx([bits[1:].mean() for bits in surprisals])
    digits = np.array([char.isdigit() for char in VOCAB.decode(held)])[1:]
    (group,) = (group for group in found.by_class if group.name == "digit")
    assert group.ngram_bits_per_char == pytest.approx([bits[1:][digits].mean() for bits in surprisals])
    for k in range(MAX_ORDER):
        total = sum(group.num_chars * group.ngram_bits_per_char[k] for group in found.by_class)
        assert total / (len(held) - 1) == pytest.approx(found.overall.ngram_bits_per_char[k])


def test_the_winner_has_the_fewest_bits():
    """`Pricing` charges nothing for the newline, id 0, and more for letters than any n-gram does."""
    found = error_analysis(Pricing(), IDS[400:], CHARS, IDS[:400])
    by_class = {group.name: group for group in found.by_class}
    assert (by_class["newline"].winner, by_class["newline"].ahead_fraction) == ("network", 1.0)
    orders = by_class["lowercase"].ngram_bits_per_char
    assert by_class["lowercase"].winner == f"order {int(np.argmin(orders)) + 1}"
    assert by_class["lowercase"].ahead_fraction == 0.0
