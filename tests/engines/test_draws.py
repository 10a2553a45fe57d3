"""Random draws of training: a mask depends on its address only, keeps the expectation, and uses sixteen bits per element."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import draws
from charloom.rng import Purpose, normals, random_bits

PLAIN = ModelConfig(embedding_size=5, dropout_input=0.5, dropout_layer=0.5, dropout_output=0.5)
RESIDUAL = ModelConfig(block="residual", dropout_branch=0.5)


def mask(*, site="layer", seed=1, step=2, lanes=range(4), layer=1, times=1):
    masks = draws.Masks(RESIDUAL if site == "branch" else PLAIN, seed, step, lanes)
    for _ in range(times):
        kept = masks.kept(site, layer, 6, 5)
    return kept


def test_a_mask_is_a_function_of_seed_site_step_lane_and_layer():
    base = mask()
    np.testing.assert_array_equal(mask(), base)
    for lanes in (range(1), range(2, 4), range(1, 3)):  # the same lane in another batch
        np.testing.assert_array_equal(mask(lanes=lanes), base[lanes.start : lanes.stop])
    np.testing.assert_array_equal(mask(times=3), base)  # one mask per site, however often it is drawn
    others = [
        mask(seed=2),
        mask(step=3),
        mask(layer=0),
        *(mask(site=s) for s in ("input", "branch", "output")),
    ]
    others += [mask(site="branch", times=2)]  # a block's two branches differ
    for i, one in enumerate([base, *others]):
        assert not any(np.array_equal(one, other) for other in [base, *others][i + 1 :])
    assert not any(np.array_equal(base[a], base[b]) for a in range(4) for b in range(a))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate):
    masks = draws.Masks(ModelConfig(dropout_output=rate), 0, 0, range(100))
    kept = masks.kept("output", 0, 20, 50)
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation + 1 / 65536  # five deviations, and the rounded rate
    assert (kept * masks.scale("output")).mean() == pytest.approx(1.0, abs=5 * deviation / (1 - rate))


def test_character_dropout_drops_whole_embeddings():
    masks = draws.Masks(ModelConfig(embedding_size=5, dropout_char=0.5), 0, 0, range(40))
    kept = masks.kept("char", 0, 10, 5)
    assert kept.shape == (40, 10, 1)
    assert kept.any()
    assert not kept.all()


def test_dropout_uses_sixteen_bits_per_element():
    words = random_bits(9, Purpose.DROPOUT, 5, range(2), 6)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=2).reshape(2, 12)
    threshold = int(np.median(halves[0, :11]))  # one of the numbers drawn, whose element is kept
    masks = draws.Masks(ModelConfig(embedding_size=4, dropout_input=threshold / 65536), 9, 5, range(2))
    kept = masks.kept("input", 0, 3, 4)
    np.testing.assert_array_equal(kept.reshape(2, 12), halves >= threshold)


def test_site_numbers_never_change():
    assert draws.SITES == {"input": 0, "layer": 1, "branch": 2, "output": 3, "char": 4, "recurrent": 5}


def test_a_network_has_dropout_if_any_site_has_a_rate():
    assert draws.has_dropout(PLAIN)
    assert draws.has_dropout(RESIDUAL)
    assert not draws.has_dropout(ModelConfig())


def test_a_normal_initial_state_is_drawn_by_step_and_lane():
    config = TrainConfig(initial_state="normal", initial_state_scale=0.3)
    state = draws.reset_state(ModelConfig(cell="lstm", hidden_size=6), config, 7, range(1, 3))
    drawn = 0.3 * normals(0, Purpose.STATE, 7, [1, 2], 12)
    np.testing.assert_allclose(state[0]["h"], drawn[:, :6], rtol=1e-15)
    np.testing.assert_allclose(state[0]["c"], drawn[:, 6:], rtol=1e-15)


def test_the_initial_state_is_zero_by_default():
    config = ModelConfig(cell="lstm", hidden_size=6, num_layers=2)
    state = draws.reset_state(config, TrainConfig(), 7, range(3))
    assert [{key: s.shape for key, s in layer.items()} for layer in state] == 2 * [{"h": (3, 6), "c": (3, 6)}]
    assert not any(s.any() for layer in state for s in layer.values())
