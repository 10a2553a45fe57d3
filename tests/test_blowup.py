"""The study of system A's blow-up: its definition, the curvature, and the parameters that the changes freeze."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import blowup, blowup_causes
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.reproduce.train import TrainedSystem


def watched(means, spike=None):
    """A watcher after epochs with these means; batch `spike` of the last one has a loss of 9 nats."""
    watcher, done = blowup.Watcher(), TrainedSystem(blowup.SYSTEM, None, None, None, {}, steps_per_epoch=49)
    for epoch, mean in enumerate(means, 1):
        losses = np.full(49, mean)
        if spike is not None and epoch == len(means):
            losses[spike] = 9.0
        done.losses = np.append(done.losses, losses)
        watcher(done, SimpleNamespace(tensors=lambda epoch=epoch: {"after epoch": epoch}))
    return watcher


def test_a_blow_up_is_a_batch_far_above_the_best_epoch():
    watcher = watched([3.0, 0.5, 0.02, 0.03, 0.2], spike=7)
    assert watcher.blew_up_at == 4 * 49 + 7
    assert watcher.before == (3 * 49, {"after epoch": 3})


@pytest.mark.parametrize("means", [[3.0, 0.5, 0.02, 0.9], [4.0, 1.5, 3.0]])
def test_a_smaller_rise_is_not_a_blow_up(means):
    assert watched(means).blew_up_at is None


def test_the_losses_after_a_change_are_summarised():
    losses = [0.1] * 60 + [1.2, 5.0] + [2.0] * 49
    assert blowup_causes.course(losses, 100, 0.1) == {
        "blew_up_at_step": 160,
        "highest_batch_loss": 5.0,
        "last_epoch_mean": 2.0,
    }
    assert blowup_causes.course(losses[:60], 100, 0.1)["blew_up_at_step"] is None


def test_the_largest_eigenvalue_preconditioned_by_adam(rng):
    A = rng.normal(size=(6, 6))
    H, P = A @ A.T, rng.uniform(0.5, 2.0, 6)
    value, vector = blowup_causes.largest_eigenvalue(lambda w: H @ w, rng.normal(size=6), P)
    values, vectors = np.linalg.eigh(H / np.sqrt(np.outer(P, P)))
    assert value == pytest.approx(values[-1], rel=1e-3)
    assert abs(vector @ vectors[:, -1]) == pytest.approx(1, abs=1e-2)


def test_one_change_freezes_w_hh_and_its_opposite_everything_else():
    config = ModelConfig(cell="elman", hidden_size=3)
    names, held = set(), []
    for change in ("w_hh stands still", "w_hh alone learns"):
        settings = dict(blowup_causes.CHANGES[change].settings)
        train_config = TrainConfig(optimizer="adam", bias="pair", **settings)
        learner = load_engine("scratch").learner(
            initial_parameters(config, 4, 0), config, train_config, device="cpu"
        )
        names |= set(learner.params)
        held.append(set(learner.frozen))
    assert held[0] == {blowup_causes.W_HH}
    assert held[1] == names - held[0]
