"""torch's optimisers against their published updates; parameter groups; named moments; Muon."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.torch import precision
from charloom.engines.torch.cpu.row_threads import RowThreads
from charloom.engines.torch.muon import Muon, orthogonalise
from charloom.engines.torch.optimisers import RECORDABLE, Optimiser, hidden_matrices, num_blocks
from charloom.engines.torch.update_rules import FusedAdam, FusedSgd
from charloom.parameters import parameter_shapes

from ..updates import (
    MATRICES,
    ROUNDING,
    SHAPES,
    STEPS,
    TWINS,
    VARIANTS,
    adamw,
    configured_methods,
    start,
    take,
)


def make(config, weights):
    params = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    return params, Optimiser(params, config)


def update(params, optimiser, gradients, lr):
    for name, p in params.items():
        p.grad = torch.tensor(gradients[name])
    optimiser.step(lr)


@pytest.mark.parametrize(("method", "settings"), VARIANTS, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_each_optimiser_matches_its_published_update(method, settings, weight_decay, rng):
    config = TrainConfig(optimizer=method, weight_decay=weight_decay, **settings)
    weights, states = start(rng), {name: {} for name in SHAPES}
    params, optimiser = make(config, weights)
    for t in range(1, STEPS + 1):
        gradients, lr = start(rng), 0.1 / t
        update(params, optimiser, gradients, lr)
        weights = take(config, weights, gradients, states, t, lr)
        for name, w in weights.items():
            np.testing.assert_allclose(params[name].detach(), w, **ROUNDING, err_msg=f"{name} {t}")


def test_every_configurable_optimiser_has_a_reference():
    assert configured_methods() == {*TWINS, "muon"}


def muon_direction(m):
    """Take five Newton-Schulz steps towards the nearest orthogonal matrix, with Jordan's coefficients."""
    x = m / np.linalg.norm(m)
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return x.T if flip else x


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_muon_steps_along_the_orthogonalised_momentum(weight_decay, rng):
    config = TrainConfig(optimizer="muon", weight_decay=weight_decay)
    weights, momentum, states = start(rng), np.zeros((3, 4)), {name: {} for name in SHAPES}
    params, optimiser = make(config, weights)
    for t in range(1, STEPS + 1):
        gradients, lr = start(rng), 0.05
        update(params, optimiser, gradients, lr)
        for name, w in weights.items():
            decay = weight_decay if name in MATRICES else 0.0
            if name != "layers.0.cell.w_hh":
                weights[name] = adamw(config, w, gradients[name], states[name], t, lr, decay)
                np.testing.assert_allclose(params[name].detach(), weights[name], **ROUNDING)
                continue
            momentum = 0.95 * momentum + 0.05 * gradients[name]
            nesterov = 0.95 * momentum + 0.05 * gradients[name]
            scale = 0.2 * np.sqrt(max(w.shape))  # steps as large as AdamW's (Moonlight's rule)
            weights[name] = w * (1 - lr * decay) - lr * scale * muon_direction(nesterov)
            np.testing.assert_allclose(params[name].detach(), weights[name], **ROUNDING)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_muon_updates_stacked_matrices_separately(blocks, shape, rng):
    rows, columns = shape
    stacked = torch.nn.Parameter(torch.tensor(rng.normal(size=(blocks * rows, columns))))
    lone = torch.nn.Parameter(torch.tensor(rng.normal(size=shape)))
    before, gradient = stacked.detach().numpy().copy(), rng.normal(size=stacked.shape)
    optimiser = Muon([{"params": [stacked, lone]}], lr=0.1, blocks={stacked: blocks})
    stacked.grad, lone.grad = torch.tensor(gradient), torch.ones(shape, dtype=torch.float64)
    optimiser.step()
    step = 0.1 * 0.2 * np.sqrt(max(shape))
    expected = np.concatenate([muon_direction(block) for block in np.split(gradient, blocks)])
    np.testing.assert_allclose(before - stacked.detach().numpy(), step * expected, **ROUNDING)


@pytest.mark.parametrize("rounds", [False, True], ids=["exact", "bfloat16"])
def test_orthogonalised_matrices_are_nearly_orthogonal(rounds, rng):
    n = torch.tensor(rng.normal(size=(3, 8, 20)), dtype=torch.float32)
    x = orthogonalise(n, rounds=rounds)
    assert x.dtype == n.dtype
    assert torch.equal(x, x.bfloat16().float()) == rounds
    singular = torch.linalg.svdvals(x)
    # Jordan's coefficients end near 1, not exactly at it
    assert 0.5 < float(singular.min()) < float(singular.max()) < 1.3


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", [0, precision.IN_DOTS])
def test_muon_rounds_if_the_network_rounds_its_products(asked, way, monkeypatch):
    monkeypatch.setattr(precision, "fast_way", lambda: way)
    params = {name: torch.zeros(2, 2, requires_grad=True) for name in ("layers.0.proj", "out.weight")}
    _, muon = Optimiser(params, TrainConfig(optimizer="muon", precision=asked)).parts
    assert muon.rounds == (way != 0 and asked == "bfloat16")


EVEN = {"layers.0.proj": (20, 20), "layers.1.proj": (20, 20), "out.weight": (40, 20), "out.bias": (40,)}
LONE = {"layers.0.cell.w_hh": (60, 60), "out.weight": (40, 20)}


@pytest.mark.parametrize("method", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("sizes", "number", "expected"),
    [
        (EVEN, 1, {"adamw": [1640], "muon": [1640]}),
        (EVEN, 2, {"adamw": [800, 840], "muon": [440, 1200]}),
        (EVEN, 3, {"adamw": [1640], "muon": [400, 400, 840]}),
        (LONE, 2, {"adamw": [4400], "muon": [4400]}),
    ],
)
def test_threads_share_the_parameters_if_the_shares_are_even(sizes, number, expected, method, monkeypatch):
    row_threads = RowThreads()
    monkeypatch.setattr(RowThreads, "number", number)
    params = {name: torch.zeros(shape, requires_grad=True) for name, shape in sizes.items()}
    optimiser = Optimiser(params, TrainConfig(optimizer=method), row_threads)
    owned = [
        [p for part in share for g in part.param_groups for p in g["params"]] for share in optimiser.shares
    ]
    assert sorted(id(p) for share in owned for p in share) == sorted(map(id, params.values()))
    assert sorted(sum(p.numel() for p in share) for share in owned) == expected[method]


@pytest.mark.parametrize(("sizes", "seen"), [(EVEN, [1, 1]), (LONE, [2])], ids=["divided", "one matrix"])
def test_a_share_runs_on_one_thread_and_undivided_work_on_all(sizes, seen, monkeypatch):
    torch.set_num_threads(2)
    row_threads, found = RowThreads(), []
    params = {name: torch.zeros(shape, requires_grad=True) for name, shape in sizes.items()}
    optimiser = Optimiser(params, TrainConfig(), row_threads)
    monkeypatch.setattr(FusedAdam, "step", lambda _: found.append(torch.get_num_threads()))
    with row_threads.leading(torch.device("cpu")):
        optimiser.step(0.1)
        assert torch.get_num_threads() == 1
    torch.set_num_threads(1)
    assert found == seen


@pytest.mark.parametrize("method", RECORDABLE)
def test_a_learning_rate_may_be_a_tensor(method, rng):
    found = []
    for kind in (float, torch.tensor):
        weights = {name: x.copy() for name, x in start(np.random.default_rng(3)).items()}
        params, optimiser = make(TrainConfig(optimizer=method, weight_decay=0.125), weights)
        for step in range(3):
            for p in params.values():
                p.grad = torch.ones_like(p) * (step - 1.5)
            optimiser.step(kind(0.25 * step))  # exact in float32
        found.append([p.detach().numpy() for p in params.values()])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, **ROUNDING)


@pytest.mark.parametrize(("cell", "gates"), [("elman", 1), ("lstm", 4), ("gru", 3), ("mingru", 2)])
def test_each_gate_is_a_separate_matrix(cell, gates):
    config = ModelConfig(hidden_size=4, block="residual", cell=cell)
    params = {name: torch.zeros(shape) for name, shape in parameter_shapes(config, 6).items()}
    for name in params:
        expected = gates if name.endswith(("w_ih", "w_hh")) else 1
        assert num_blocks(name, params) == expected


def moved_by_muon(**settings):
    shapes = parameter_shapes(ModelConfig(hidden_size=4, **settings), 6)
    return hidden_matrices({name: torch.zeros(shape) for name, shape in shapes.items()})


def test_muon_updates_only_matrices_between_hidden_layers():
    assert moved_by_muon(block="residual", cell="lstm") == {
        f"layers.0.{part}" for part in ("cell.w_ih", "cell.w_hh", "proj", "mlp.gate", "mlp.up", "mlp.down")
    }


def test_a_one_hot_input_matrix_counts_as_an_embedding():
    assert moved_by_muon(cell="gru", num_layers=2) == {
        f"layers.{part}" for part in ("0.cell.w_hh", "1.cell.w_ih", "1.cell.w_hh")
    }
    assert "layers.0.cell.w_ih" in moved_by_muon(cell="gru", embedding_size=3)


@pytest.mark.parametrize(("method", "settings"), [*VARIANTS, ("muon", {})], ids=str)
def test_a_new_optimiser_continues_from_named_moments(method, settings, rng):
    config = TrainConfig(optimizer=method, weight_decay=0.1, **settings)
    params, optimiser = make(config, start(rng))
    draws = [start(rng) for _ in range(2 * STEPS)]
    for gradients in draws[:STEPS]:
        update(params, optimiser, gradients, 0.1)
    moments = {name: x.clone() for name, x in optimiser.moments().items()}
    assert all(any(name.startswith(f"{p}.") for p in SHAPES) for name in moments)
    other, resumed = make(config, {name: p.detach().numpy() for name, p in params.items()})
    resumed.load_moments(moments)
    for gradients in draws[STEPS:]:
        update(params, optimiser, gradients, 0.1)
        update(other, resumed, gradients, 0.1)
    for name in SHAPES:
        np.testing.assert_array_equal(other[name].detach(), params[name].detach())


def test_a_zero_gradient_changes_nothing():
    assert not orthogonalise(torch.zeros(1, 3, 4)).any()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("method", ["adamw", "adam", "sgd", "momentum"])
def test_fused_rules_equal_those_of_torch_bit_for_bit(method, decay, rng):
    sizes = [(5, 7), (7,), (40, 33)]
    start_at = [torch.tensor(rng.normal(size=size), dtype=torch.float32) for size in sizes]
    adam = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-7}
    ours, theirs = ([x.clone().requires_grad_() for x in start_at] for _ in range(2))
    groups = [{"params": ours, "weight_decay": decay}]
    sgd = {"lr": 0.01, "momentum": 0.9 * (method == "momentum")}
    rule, reference = {
        "adamw": (
            lambda: FusedAdam(groups, **adam, decoupled=True),
            lambda: torch.optim.AdamW(theirs, **adam, weight_decay=decay, fused=True),
        ),
        "adam": (
            lambda: FusedAdam(groups, **adam, decoupled=False),
            lambda: torch.optim.Adam(theirs, **adam, weight_decay=decay, fused=True),
        ),
        "sgd": (
            lambda: FusedSgd(groups, **sgd),
            lambda: torch.optim.SGD(theirs, **sgd, weight_decay=decay, fused=True),
        ),
    }[method.replace("momentum", "sgd")]
    rule, reference = rule(), reference()
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.tensor(rng.normal(size=p.shape), dtype=torch.float32)
            q.grad = p.grad.clone()
        rule.step()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)
        moments = {key: x for key, x in reference.state[q].items() if isinstance(x, torch.Tensor)}
        assert set(rule.state[p]) == set(moments)
        for key, moment in moments.items():
            assert torch.equal(rule.state[p][key], moment)


def test_training_does_not_import_the_compiler_of_torch():
    script = """
import sys
import numpy as np
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

for method in ("muon", "adam", "sgd"):
    config, model = TrainConfig(batch_size=2, bptt_length=4, optimizer=method), ModelConfig(hidden_size=8)
    learner = load_engine("torch").learner(initial_parameters(model, 5, 0), model, config, device="cpu")
    learner.advance(Plan(np.arange(60) % 5, config), 0, 2, learner.initial_state(range(2)))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
