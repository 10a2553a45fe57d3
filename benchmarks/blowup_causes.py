"""What makes system A blow up: its curvature as Adam measures it, epoch by epoch, and one change at a time.

Adam moves by η m̂ / P, where P = √v̂ + ε. Along a direction of curvature it settles only while

    λ < (2 + 2 β₁) / ((1 − β₁) η) = 38,000             (1)
    λ = the largest eigenvalue of P^(−½) H P^(−½)      (2)  H is the Hessian of the mean loss

and swings further with every step beyond it. λ is found by power iteration with differences of gradients, in float64, on every fourth
batch; its eigenvector says which parameters swing. Then training goes on from four epochs before a blow-up, with one thing changed.

Needs ``results/blowup.json`` (python -m benchmarks blowup). Source: (1): Cohen et al. (2022), for a P that stands still.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.blowup import EPOCHS, RISE, STEPS_PER_EPOCH, SYSTEM
from benchmarks.harness import RESULTS, write_results
from charloom import threads
from charloom.engines import Learner, load_engine
from charloom.parameters import initial_parameters
from charloom.reproduce.rehearse import Rehearsal, rehearse
from charloom.text.windows import Plan

SEED, BEFORE, ON = 0, 4, 12
"""The training looked at; epochs before its blow-up where the changes begin; epochs that training goes on."""

MEASURED = (10, 30, 50, 60, 70, 75, 80, 83, 86, 88, 90)
"""Epochs after which the curvature is measured, where training has not blown up yet."""

EVERY, ITERATIONS, DISTANCE = 4, 15, 1e-4
W_HH = "layers.0.cell.w_hh"
OTHERS = "layers.0.cell.w_ih,layers.0.cell.bias*,out.*"
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """One thing that is different from a step on.

    Attributes:
        settings: of training.
        second_moment: what v becomes of what it was before an update and is after it; None = it stays.
        old_moment: begin with the second moment of `OLD` epochs.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    second_moment: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    old_moment: bool = False


OLD = 50
CHANGES: Mapping[str, Change] = {
    "nothing changed": Change(),
    "w_hh stands still": Change({"freeze": W_HH}),
    "w_hh alone learns": Change({"freeze": OTHERS}),
    "no first moment (β₁ = 0)": Change({"beta1": 0.0}),
    "the second moment never falls": Change(second_moment=np.maximum),
    f"the second moment of epoch {OLD}": Change(old_moment=True),
    "half the learning rate": Change({"learning_rate": 5e-4}),
    "gradient norm clipped at 1": Change({"clip_norm": 1.0}),
}


def train_to(epoch: int, wanted: set[int]) -> tuple[Rehearsal, dict[int, Tensors]]:
    """Train up to an epoch as `benchmarks.blowup` does, and keep the learner's tensors after the epochs wanted."""
    kept: dict[int, Tensors] = {}

    def keep(done: Rehearsal, learner: Learner) -> None:
        if (now := len(done.losses) // STEPS_PER_EPOCH) in wanted:
            kept[now] = learner.tensors()

    settings = {"engine": "scratch", "epochs": float(EPOCHS), "clip_norm": None}
    steps = epoch * STEPS_PER_EPOCH
    done = rehearse(
        SYSTEM, seed=SEED, settings=settings, num_steps=steps, look_every=STEPS_PER_EPOCH, look=keep
    )
    return done, kept


def learner_with(done: Rehearsal, tensors: Tensors, **settings: Any) -> tuple[Any, Plan]:
    """A learner that goes on from tensors with some settings changed, and its plan."""
    config = replace(done.train_config, **settings)
    params = initial_parameters(done.model_config, len(done.corpus.vocab), config.seed)
    learner: Any = load_engine("scratch").learner(params, done.model_config, config, device="cpu")
    learner.load_tensors(tensors)
    return learner, Plan(done.corpus.train, config)


# ------------------------------------------------------------------------------------------------ curvature


def curvature(done: Rehearsal, tensors: Tensors) -> dict[str, Any]:
    """λ of (2), and each parameter's share of its eigenvector."""
    learner, plan = learner_with(done, tensors, precision="float64")
    windows = [plan.window(step, range(64)) for step in range(0, STEPS_PER_EPOCH, EVERY)]
    w, gathered = learner.flat.vector, np.empty_like(learner.flat.vector)

    def gradient(at: np.ndarray) -> np.ndarray:
        total, here = np.zeros_like(w), w.copy()
        w[:] = at
        for window in windows:
            found = learner.gradients(0, window, learner.model_state(len(window.inputs)))[2]
            learner.flat.gather(found, gathered)
            total += gathered / len(windows)
        w[:] = here
        return total

    config, G = done.train_config, learner.optimiser.moments["exp_avg_sq"]
    P = np.sqrt(G / (1 - config.beta2**learner.optimiser.num_steps)) + config.epsilon
    value, vector = largest_eigenvalue(gradient, w.copy(), P)
    shares = {name: float((part**2).sum()) for name, part in learner.flat.views(vector).items()}
    return {"curvature": round(value), "shares": {name: round(share, 4) for name, share in shares.items()}}


def largest_eigenvalue(
    gradient: Callable[[np.ndarray], np.ndarray], w: np.ndarray, P: np.ndarray
) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of P^(−½) H P^(−½) at w and its unit vector; H is the derivative of `gradient`, P a diagonal."""
    z = np.random.default_rng(0).normal(size=w.shape)
    value = 0.0
    for _ in range(ITERATIONS):
        z /= np.linalg.norm(z)
        u = z / np.sqrt(P)
        step = DISTANCE / np.linalg.norm(u)
        curved = (gradient(w + step * u) - gradient(w - step * u)) / (2 * step) / np.sqrt(P)
        value = float(z @ curved)
        z = curved
    return value, z / np.linalg.norm(z)


# ------------------------------------------------------------------------------------------------ one change at a time


def go_on(done: Rehearsal, kept: Mapping[int, Tensors], epoch: int, change: Change) -> dict[str, Any]:
    """Train on for `ON` epochs with one change: whether and when it blows up."""
    tensors = dict(kept[epoch])
    if change.old_moment:
        tensors |= {name: x for name, x in kept[OLD].items() if name.endswith("exp_avg_sq")}
    learner, plan = learner_with(done, tensors, **change.settings)
    for name in learner.frozen:
        learner.flat.views(learner.optimiser.moments["exp_avg"])[name][:] = 0  # it would go on moving
    first, state, losses = epoch * STEPS_PER_EPOCH, learner.initial_state(range(64)), []
    for step in range(first, first + ON * STEPS_PER_EPOCH):
        v = learner.optimiser.moments["exp_avg_sq"]
        before = v.copy()
        state, metrics = learner.advance(plan, step, 1, state)
        if change.second_moment is not None:
            v[:] = change.second_moment(before, v)
        losses.append(float(metrics.loss[0]))
    return course(losses, first, min(mean for _, mean in done.epoch_means()))


def course(losses: list[float], first: int, lowest: float) -> dict[str, Any]:
    """Where a batch first costs more than `RISE` above the lowest epoch's mean, and the last epoch's mean."""
    high = np.flatnonzero(np.array(losses) > lowest + RISE)
    return {
        "blew_up_at_step": first + int(high[0]) if len(high) else None,
        "highest_batch_loss": round(max(losses), 4),
        "last_epoch_mean": round(float(np.mean(losses[-STEPS_PER_EPOCH:])), 4),
    }


def main() -> None:
    """Measure the curvature, try every change, and write ``results/blowup-causes.json``."""
    trainings = json.loads((RESULTS / "blowup.json").read_text("utf-8"))["trainings"]
    blew_up = next(
        row["blew_up_in_epoch"] for row in trainings if row["seed"] == SEED and row["clip_norm"] is None
    )
    start = blew_up - BEFORE
    measured = [epoch for epoch in MEASURED if epoch < blew_up]
    done, kept = train_to(blew_up - 1, {start, OLD, *measured})
    stable_to = (2 + 2 * done.train_config.beta1) / (
        (1 - done.train_config.beta1) * done.train_config.learning_rate
    )
    curvatures, changes = [], []
    with threads.limit(None):
        for name, change in CHANGES.items():
            changes.append({"change": name, **go_on(done, kept, start, change)})
            print(changes[-1], flush=True)
        for epoch in measured:
            root = {n: float(np.sqrt(kept[epoch][f"moment.{n}.exp_avg_sq"].sum())) for n in (W_HH,)}
            mean_norm = float(done.grad_norms[(epoch - 1) * STEPS_PER_EPOCH : epoch * STEPS_PER_EPOCH].mean())
            curvatures.append(
                {
                    "epoch": epoch,
                    **curvature(done, kept[epoch]),
                    "root_second_moment_w_hh": round(root[W_HH], 3),
                    "mean_grad_norm": round(mean_norm, 3),
                }
            )
            print(curvatures[-1], flush=True)
    found = {"seed": SEED, "stable_to": round(stable_to), "from_epoch": start, "epochs_on": ON}
    print(write_results("blowup-causes", {**found, "changes": changes, "curvatures": curvatures}))


if __name__ == "__main__":
    main()
