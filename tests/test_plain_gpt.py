"""The small GPT used for comparison: its size, its causality and its learning rate."""

import math

import numpy as np
import pytest

from charloom.text.batching import Window

torch = pytest.importorskip("torch")

from benchmarks.baselines import plain_gpt  # noqa: E402 - it needs torch


def windows_of(ids):
    return Window(ids[:, :-1], ids[:, 1:], np.zeros((len(ids), ids.shape[1] - 1), bool))


def test_it_has_the_documented_size():
    assert plain_gpt.PlainGPT(65).num_params == 795_904  # nanoGPT prints 0.80M


def test_weights_are_drawn_as_described():
    model = plain_gpt.PlainGPT(65).model
    assert float(model.blocks[0].up.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    for branch in (model.blocks[3].attention.proj, model.blocks[3].proj):
        assert float(branch.weight.detach().std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.02)


def test_no_loss_depends_on_a_later_character(rng):
    trainer, ids = plain_gpt.PlainGPT(9), rng.integers(0, 9, (2, 21))
    changed = ids.copy()
    changed[:, 12] = (changed[:, 12] + 1) % 9
    (before, _), (after, _) = trainer.losses(windows_of(ids)), trainer.losses(windows_of(changed))
    np.testing.assert_allclose(before[:, :11], after[:, :11], rtol=1e-5)
    assert (np.abs(before - after)[:, 11:] > 1e-6).all()


def test_an_untrained_network_is_at_chance_and_training_improves_it(rng):
    trainer, ids = plain_gpt.PlainGPT(9), rng.integers(0, 9, (4, 17))
    first = trainer.step(ids[:, :-1], ids[:, 1:])
    assert first == pytest.approx(math.log(9), abs=0.1)
    for _ in range(30):
        last = trainer.step(ids[:, :-1], ids[:, 1:])
    assert last < first - 0.3
    assert trainer.losses(windows_of(ids))[0].mean() < last


def test_only_matrices_decay():
    groups = plain_gpt.PlainGPT(9).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {w.dim() for w in groups[0]["params"]} == {2}
    assert {w.dim() for w in groups[1]["params"]} == {1}


@pytest.mark.parametrize(("step", "rate"), [(0, 1e-3 / 101), (100, 1e-3), (1_050, 5.5e-4), (2_000, 1e-4)])
def test_the_learning_rate_rises_and_falls(step, rate):
    assert plain_gpt.learning_rate(step, 2_000) == pytest.approx(rate)


def test_windows_start_anywhere_in_the_text(rng):
    ids = np.arange(12)
    inputs, targets = plain_gpt.random_windows(ids, rng, batch_size=200, length=8)
    np.testing.assert_array_equal(targets, inputs + 1)
    assert set(inputs[:, 0]) == {0, 1, 2, 3}
