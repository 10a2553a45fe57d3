"""minGRU: its candidate, its scan and compiled loop against its steps, and the scan's derivative."""

import pytest
import torch

from charloom.engines.torch import cells, mingru
from charloom.engines.torch.cpu import ops

from .windows import TOLERANCE, B, H, T, random_cell

WITH_LIBRARY = pytest.mark.parametrize("has_library", [True, False], ids=["compiled", "torch"])


def test_candidate_is_positive_and_continuous_and_matches_the_paper():  # Feng et al. (2024), appendix B: g
    a = torch.tensor([-30.0, -1.0, -1e-9, 0.0, 1.0, 30.0], dtype=torch.float64)
    expected = torch.tensor([9.357623e-14, 0.26894142, 0.5, 0.5, 1.5, 30.5], dtype=torch.float64)
    torch.testing.assert_close(mingru.candidate(a), expected, rtol=1e-6, atol=0)


def test_z_is_the_weight_of_the_candidate():
    a_x = torch.tensor([[40.0, 1.0]], dtype=torch.float64)
    assert float(mingru.step({}, a_x, {"h": torch.zeros(1, 1).double()})["h"]) == pytest.approx(1.5)
    a_x = torch.tensor([[-40.0, 1.0]], dtype=torch.float64)
    assert float(mingru.step({}, a_x, {"h": torch.full((1, 1), 0.3).double()})["h"]) == pytest.approx(0.3)


@WITH_LIBRARY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("with_resets", [False, True], ids=["carried", "resets"])
def test_scan_equals_steps(dtype, with_resets, has_library, rng, monkeypatch):
    if not has_library:
        monkeypatch.setattr(ops, "library", lambda: None)
    config, params, x, state = random_cell({"cell": "mingru"}, dtype, rng)
    reset_state = {"h": torch.tensor(rng.normal(size=(B, H)), dtype=dtype)}
    resets = torch.tensor(rng.random((T, B)) < 0.3) if with_resets else None
    leaves = [*params.values(), x, state["h"]]
    for leaf in leaves:
        leaf.requires_grad_()
    fast, fast_end = cells.unroll(config, params, x, state, resets, reset_state)
    slow, slow_end = cells.unroll_steps(config, params, x, state, resets, reset_state)
    torch.testing.assert_close(fast, slow, **TOLERANCE[dtype])
    torch.testing.assert_close(fast_end["h"], slow_end["h"], **TOLERANCE[dtype])
    direction = torch.tensor(rng.normal(size=slow.shape), dtype=dtype)
    looser = {key: 10 * value for key, value in TOLERANCE[dtype].items()}  # sums over B · T terms
    for mine, theirs in zip(
        torch.autograd.grad((direction * fast).sum(), leaves, materialize_grads=True),
        torch.autograd.grad((direction * slow).sum(), leaves, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, **looser)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_scan_gradient_matches_finite_differences(length, rng):
    keep, update = (torch.tensor(rng.normal(size=(length, 2, 3)), requires_grad=True) for _ in range(2))
    h0 = torch.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(mingru.linear_scan, (keep, update, h0), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_scan_never_runs_below_float32(dtype, rng):
    a_x = torch.tensor(rng.normal(size=(4, 1, 2 * H)), dtype=dtype)
    state = {"h": torch.zeros(1, H, dtype=dtype)}
    h, after = mingru.scan(a_x, state, None, state)
    assert h.dtype == after["h"].dtype == torch.float32
