"""Why system A blows up: its curvature preconditioned by Adam, epoch by epoch, and one change at a time.

Adam moves by η m̂ / P with P = √v̂ + ε. Along a direction of curvature λ it is stable only while

    λ < (2 + 2 β₁) / ((1 − β₁) η) = 38,000             (1)
    λ = the largest eigenvalue of P^(−½) H P^(−½)      (2)  H is the Hessian of the mean loss

and beyond that oscillates with growing amplitude. λ is found by power iteration with differences of
gradients, in float64, on every fourth batch together and on single ones; its eigenvector shows which
parameters oscillate. Then training continues from four epochs before a blow-up, with one thing changed.

python -m benchmarks blowup_causes             runs both parts
python -m benchmarks.blowup_causes curvature   runs one part: curvature or changes

Needs ``results/blowup.json`` (python -m benchmarks blowup).
Source: (1): Cohen et al. (2022), for a constant P.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.blowup import EPOCHS, RISE, STEPS_PER_EPOCH, SYSTEM
from benchmarks.harness import RESULTS, rounded, write_results
from charloom import threads
from charloom.engines import Learner, load_engine
from charloom.parameters import initial_parameters
from charloom.reproduce.train import TrainedSystem, train_system
from charloom.text.batching import Plan, Window

SEED, BEFORE, ON = 0, 4, 12
"""The seed; epochs between the start of the changes and its blow-up; epochs of training with a change."""

MEASURED = (10, 30, 50, 60, 70, 75, 80, 83, 86, 88, 90)
"""Epochs after which the curvature is measured, if training has not blown up yet."""

ALONE = (50, 70, 80, 86, 90)
"""The epochs at which each batch is also measured separately."""

EVERY, ITERATIONS, DISTANCE = 4, 15, 1e-4
W_HH = "layers.0.cell.w_hh"
OTHERS = "layers.0.cell.w_ih,layers.0.cell.bias*,out.*"
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """One change applied from a given step on.

    Attributes:
        settings: changed training settings.
        second_moment: maps v before and after an update to the new v; None = no change.
        old_moment: start with the second moment of epoch `OLD`.
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


def train_to(epoch: int, wanted: set[int]) -> tuple[TrainedSystem, dict[int, Tensors]]:
    """Train up to an epoch as in `benchmarks.blowup`, keeping the learner's tensors after the `wanted` epochs."""
    kept: dict[int, Tensors] = {}

    def keep(done: TrainedSystem, learner: Learner) -> None:
        if (now := len(done.losses) // STEPS_PER_EPOCH) in wanted:
            kept[now] = learner.tensors()

    settings = {"engine": "scratch", "epochs": float(EPOCHS), "clip_norm": None}
    steps = epoch * STEPS_PER_EPOCH
    done = train_system(
        SYSTEM, seed=SEED, settings=settings, num_steps=steps, look_every=STEPS_PER_EPOCH, look=keep
    )
    return done, kept


def learner_with(done: TrainedSystem, tensors: Tensors, **settings: Any) -> tuple[Any, Plan]:
    """A learner that continues from tensors with some settings changed, and its plan."""
    config = replace(done.train_config, **settings)
    params = initial_parameters(done.model_config, len(done.corpus.vocab), config.seed)
    learner: Any = load_engine("scratch").learner(params, done.model_config, config, device="cpu")
    learner.load_tensors(tensors)
    return learner, Plan(done.corpus.train, config)


# ------------------------------------------------------------------------------------------------ curvature


def curvature(done: TrainedSystem, tensors: Tensors, *, alone: bool) -> dict[str, Any]:
    """λ of (2) and each parameter's share of its eigenvector; with `alone`, also λ of each batch's own loss."""
    learner, plan = learner_with(done, tensors, precision="float64")
    windows = [plan.window(step, range(64)) for step in range(0, STEPS_PER_EPOCH, EVERY)]
    config, G = done.train_config, learner.optimiser.moments["exp_avg_sq"]
    P = np.sqrt(G / (1 - config.beta2**learner.optimiser.num_steps)) + config.epsilon
    w = learner.flat.vector.copy()
    value, vector = largest_eigenvalue(gradient_of(learner, windows), w, P)
    shares = {name: rounded(float((part**2).sum())) for name, part in learner.flat.views(vector).items()}
    found = {"curvature": round(value), "shares": shares}
    if alone:
        batches = [largest_eigenvalue(gradient_of(learner, [window]), w, P)[0] for window in windows]
        found["curvature_of_batches"] = [round(value) for value in batches]
    return found


def gradient_of(learner: Any, windows: list[Window]) -> Callable[[np.ndarray], np.ndarray]:
    """The gradient of the mean loss over windows, as a function of all weights."""
    w, gathered = learner.flat.vector, np.empty_like(learner.flat.vector)

    def gradient(at: np.ndarray) -> np.ndarray:
        w[:] = at
        total = np.zeros_like(w)
        for window in windows:
            found = learner.gradients(0, window, learner.zeros(len(window.inputs)))[2]
            learner.flat.gather(found, gathered)
            total += gathered / len(windows)
        return total

    return gradient


def largest_eigenvalue(
    gradient: Callable[[np.ndarray], np.ndarray], w: np.ndarray, P: np.ndarray
) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of P^(−½) H P^(−½) at w and its unit eigenvector; H = ∂gradient/∂w, P diagonal."""
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


def continue_training(
    done: TrainedSystem, kept: Mapping[int, Tensors], epoch: int, change: Change
) -> dict[str, Any]:
    """Continue training for `ON` epochs with one change; report whether and when it blows up."""
    tensors = dict(kept[epoch])
    if change.old_moment:
        tensors |= {name: x for name, x in kept[OLD].items() if name.endswith("exp_avg_sq")}
    learner, plan = learner_with(done, tensors, **change.settings)
    for name in learner.frozen:
        learner.flat.views(learner.optimiser.moments["exp_avg"])[name][:] = (
            0  # otherwise it would keep moving
        )
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
    """The first step whose loss is more than `RISE` above the lowest epoch mean, and the last epoch's mean."""
    high = np.flatnonzero(np.array(losses) > lowest + RISE)
    return {
        "blew_up_at_step": first + int(high[0]) if len(high) else None,
        "highest_batch_loss": round(max(losses), 4),
        "last_epoch_mean": round(float(np.mean(losses[-STEPS_PER_EPOCH:])), 4),
    }


def try_changes(done: TrainedSystem, kept: Mapping[int, Tensors], epoch: int) -> list[dict[str, Any]]:
    """Continue from an epoch with each change separately."""
    rows = []
    for name, change in CHANGES.items():
        rows.append({"change": name, **continue_training(done, kept, epoch, change)})
        print(rows[-1], flush=True)
    return rows


def measure_curvature(
    done: TrainedSystem, kept: Mapping[int, Tensors], epochs: Sequence[int]
) -> list[dict[str, Any]]:
    """λ after each epoch, with the root of Adam's second moment of w_hh and the mean gradient norm."""
    rows = []
    for epoch in epochs:
        norms = done.grad_norms[(epoch - 1) * STEPS_PER_EPOCH : epoch * STEPS_PER_EPOCH]
        rows.append(
            {
                "epoch": epoch,
                "mean_grad_norm": rounded(float(norms.mean())),
                "root_second_moment_w_hh": rounded(
                    float(np.sqrt(kept[epoch][f"moment.{W_HH}.exp_avg_sq"].sum()))
                ),
                **curvature(done, kept[epoch], alone=epoch in ALONE),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main(names: Sequence[str] = ()) -> int:
    """Run the named parts (changes, curvature), or both, and update ``results/blowup-causes.json``."""
    path = RESULTS / "blowup-causes.json"
    trainings = json.loads((RESULTS / "blowup.json").read_text("utf-8"))["trainings"]
    blew_up = next(
        row["blew_up_in_epoch"] for row in trainings if row["seed"] == SEED and row["clip_norm"] is None
    )
    start, measured = blew_up - BEFORE, [epoch for epoch in MEASURED if epoch < blew_up]
    done, kept = train_to(blew_up - 1, {start, OLD, *measured})
    config = done.train_config
    results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    results |= {"seed": SEED, "from_epoch": start, "epochs_on": ON}
    results["stable_to"] = round((2 + 2 * config.beta1) / ((1 - config.beta1) * config.learning_rate))  # (1)
    with threads.limit(None):
        if not names or "changes" in names:
            results["changes"] = try_changes(done, kept, start)
        if not names or "curvature" in names:
            results["curvatures"] = measure_curvature(done, kept, measured)
    print(write_results("blowup-causes", {key: x for key, x in results.items() if key != "machine"}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
