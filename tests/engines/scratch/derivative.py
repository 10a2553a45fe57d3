"""Numerical derivatives of a loss along a direction, independent of the code under test."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch.cells import CELLS
from charloom.parameters import parameter_shapes, state_shapes

B, X, H = 3, 4, 5

RELATIVE = 1e-7
"""Tolerance of a derivative. The slope of a saturated gate, y (1 − y), loses up to nine of sixteen digits."""

EPS = 1e-4
ROUNDING = 1e-9
"""The error of a five-point difference is EPS⁴, plus the rounding of losses near 10, 1e-15, over EPS."""

IMAGINARY = 1e-30
TINY = 1e-15
"""A complex step does not subtract (Squire & Trapp 1998), so it is exact for saturated gates too; TINY is for sums that cancel."""

SATURATION = 6.0
CORNER = 2e-2
"""The distance from the corner of relu or g that keeps a difference on one side of it."""

POINTS = {"random": 0.0, "open": SATURATION, "shut": -SATURATION}
every_point = pytest.mark.parametrize("point", POINTS)


def assert_is_derivative(analytic, loss, *, smooth=True):
    """Check the slope of `loss` at 0 by a complex step and, if `smooth`, by central differences."""
    assert analytic == pytest.approx(loss(1j * IMAGINARY).imag / IMAGINARY, rel=RELATIVE, abs=TINY)
    if smooth:
        numeric = (8 * (loss(EPS) - loss(-EPS)) - (loss(2 * EPS) - loss(-2 * EPS))) / (12 * EPS)
        assert analytic == pytest.approx(numeric, rel=RELATIVE, abs=ROUNDING)


def shifted(arrays, moved, shift):
    """The arrays with one of them shifted; if the shift is complex, so are all arrays."""
    kind = np.result_type(float, np.asarray(shift))
    return {name: x.astype(kind) + (shift if name == moved else 0) for name, x in arrays.items()}


def random_case(settings, rng, point):
    """Parameters, input x (B, X) and state of a cell, with gates near `POINTS[point]` and no unit near a corner."""
    config = ModelConfig(hidden_size=H, embedding_size=X, **settings)
    shapes = {
        name.removeprefix("layers.0.cell."): shape
        for name, shape in parameter_shapes(config, 9).items()
        if name.startswith("layers.0.cell.")
    }
    shapes |= {"x": (B, X)} | {key: (B, *shape) for key, shape in state_shapes(config)[0].items()}
    while True:
        case = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}
        case["bias"] += POINTS[point]
        a = case["x"] @ case["w_ih"].T + case["bias"]
        if "w_hh" in case and config.cell != "gru":
            a += case["h"] @ case["w_hh"].T
        if abs(a).min() > CORNER:
            return case


def run(cell, case, **options):
    """Run one time step of a case: (state, tape)."""
    params = cell.Params(*(case[name] for name in cell.Params._fields))
    prev = cell.State(*(case[name] for name in cell.State._fields))
    return cell.step(params, cell.project(params, case["x"][None])[0], prev, **options)


def gradients(cell, case, d_next, **options):
    """The gradient of <d_next, state> in every array of a case, from the cell's backward pass."""
    params = cell.Params(*(case[name] for name in cell.Params._fields))
    _, tape = run(cell, case, **options)
    d_a, d_prev = cell.backward(params, tape, d_next, **options)
    d_weights = cell.weight_gradients(case["x"][None], case["h"][None], d_a[None], X)
    return d_weights._asdict() | {"x": cell.input_part(d_a) @ case["w_ih"]} | d_prev._asdict()


def assert_backward_is_the_derivative_of_step(settings, moved, point, rng):
    """Check the gradient of a random loss <d_next, state> in one array of a random case, along a random direction."""
    cell = CELLS[settings["cell"]]
    options = {name: value for name, value in settings.items() if name != "cell"}
    case = random_case(settings, rng, point)
    direction = rng.normal(size=case[moved].shape)
    d_next = cell.State(*(rng.normal(size=case[key].shape) for key in cell.State._fields))

    def loss(eps):
        state, _ = run(cell, shifted(case, moved, eps * direction), **options)
        return sum((d * s).sum() for d, s in zip(d_next, state, strict=True))

    assert_is_derivative((gradients(cell, case, d_next, **options)[moved] * direction).sum(), loss)
