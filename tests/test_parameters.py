"""Names and shapes match the documentation, and initial values have the stated distributions."""

import itertools
import math
import re

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.parameters import (
    cell_size,
    count_parameters,
    initial_bias_pair,
    initial_parameters,
    mlp_size,
    parameter_shapes,
    state_shapes,
)

from .conftest import ROOT

SIGMAS = 5  # tolerance of an estimated moment, in standard deviations
ORTHOGONAL = 1e-12  # float64, sums of H products
V = 11
GATES = {"elman": 1, "lstm": 4, "gru": 3, "mingru": 2}


def documented_shapes(config):
    """The table of docs/explanation/architecture.md, restated row by row."""
    residual, one_hot = config.block == "residual", config.embedding_size is None
    D, H, G = config.hidden_size, cell_size(config), GATES[config.cell]
    width = D if residual else V if one_hot else config.embedding_size
    shapes = {"embedding": (V, width)} if residual or not one_hot else {}
    for i in range(config.num_layers):
        X = width if i == 0 or residual else D
        layer = {"cell.w_ih": (G * H, X), "cell.bias": (G * H,)}
        if config.cell != "mingru":
            layer["cell.w_hh"] = (G * H, H)
        if config.cell == "gru":
            layer["cell.bias_hn"] = (H,)
        if residual:
            M = round(config.mlp_ratio * D)
            layer |= {"norm": (D,), "conv.weight": (D, config.conv_width), "conv.bias": (D,), "proj": (D, H)}
            if M > 0:
                layer |= {"mlp_norm": (D,), "mlp.gate": (M, D), "mlp.up": (M, D), "mlp.down": (D, M)}
        shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    if residual:
        shapes["norm"] = (D,)
    if not config.tie_embeddings:
        shapes["out.weight"] = (V, D)
    return shapes | {"out.bias": (V,)}


CONFIGS = [
    ModelConfig(cell=cell, hidden_size=6, num_layers=layers, embedding_size=embedding)
    for cell, layers, embedding in itertools.product(GATES, (1, 3), (None, 4))
] + [
    ModelConfig(
        cell=cell, hidden_size=6, num_layers=2, block="residual", mlp_ratio=ratio, tie_embeddings=tied
    )
    for cell, ratio, tied in itertools.product(GATES, (0.0, 2.5), (False, True))
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}-{c.block}-{c.num_layers}")
def test_names_and_shapes_match_the_architecture_page(config):
    shapes = parameter_shapes(config, V)
    assert shapes == documented_shapes(config)
    assert count_parameters(config, V) == sum(math.prod(s) for s in shapes.values())
    initial = initial_parameters(config, V, 0)
    assert {name: x.shape for name, x in initial.items()} == shapes
    assert list(initial) == list(shapes)
    assert all(x.dtype == np.float64 and np.isfinite(x).all() for x in initial.values())


def test_the_architecture_page_names_every_parameter():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    table = page.split("## Parameter names and layouts")[1].split("## State")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    last_words = {name.rsplit(".", 1)[-1] for name in named}
    for config in CONFIGS:
        for name in parameter_shapes(config, V):
            assert name.rsplit(".", 1)[-1] in last_words, name


def test_the_state_contains_h_c_and_the_inputs_of_the_convolution():
    for cell in GATES:
        plain = ModelConfig(cell=cell, hidden_size=6, num_layers=2)
        expected = {"h": (6,), "c": (6,)} if cell == "lstm" else {"h": (6,)}
        assert state_shapes(plain) == [expected, expected]
        deep = ModelConfig(cell=cell, hidden_size=6, block="residual", conv_width=4, expansion=1.5)
        assert state_shapes(deep) == [dict.fromkeys(expected, (9,)) | {"conv": (3, 6)}]


def test_widths_inside_a_residual_block_are_rounded_multiples():
    config = ModelConfig(block="residual", hidden_size=5, expansion=1.5, mlp_ratio=0.5)
    assert (cell_size(config), mlp_size(config)) == (8, 2)
    assert cell_size(ModelConfig(block="residual", hidden_size=1, expansion=0.1)) == 1
    assert cell_size(ModelConfig(hidden_size=5, expansion=9.0)) == 5  # a plain cell ignores expansion


# ------------------------------------------------------------------------------------------- initial values


def assert_normal(x, std):
    n = x.size
    assert abs(x.mean()) < SIGMAS * std / math.sqrt(n)
    assert abs((x**2).mean() / std**2 - 1) < SIGMAS * math.sqrt(2 / n)
    assert abs(x).max() > 2 * std  # a uniform distribution of the same variance ends at √3


def assert_uniform(x, bound):
    n = x.size
    assert abs(x).max() <= bound
    assert abs(x.mean()) < SIGMAS * bound / math.sqrt(3 * n)
    assert abs((x**2).mean() / (bound**2 / 3) - 1) < SIGMAS * math.sqrt(0.8 / n)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
@pytest.mark.parametrize("block", ["plain", "residual"])
def test_recurrent_blocks_are_orthogonal_and_distinct(cell, block):
    config = ModelConfig(cell=cell, hidden_size=12, block=block, num_layers=2)
    params = initial_parameters(config, V, 3)
    blocks = []
    for i in range(2):
        H = cell_size(config)
        blocks += list(params[f"layers.{i}.cell.w_hh"].reshape(-1, H, H))
    for one in blocks:
        np.testing.assert_allclose(one @ one.T, np.eye(len(one)), atol=ORTHOGONAL)
    for a, b in itertools.combinations(blocks, 2):
        assert abs(a - b).max() > 0.1


def test_orthogonal_draws_have_no_sign_bias():
    traces = [
        np.trace(initial_parameters(ModelConfig(cell="elman", hidden_size=3), 2, s)["layers.0.cell.w_hh"])
        for s in range(400)
    ]
    assert abs(np.mean(traces)) < SIGMAS / math.sqrt(400)  # the trace of a Haar matrix has mean 0, variance 1


def test_default_weights_have_the_documented_scales():
    config = ModelConfig(cell="lstm", hidden_size=40, num_layers=2, embedding_size=30)
    params = initial_parameters(config, 50, 1)
    assert_normal(params["embedding"], 1.0)
    assert_normal(params["layers.0.cell.w_ih"], 1 / math.sqrt(30))
    assert_normal(params["layers.1.cell.w_ih"], 1 / math.sqrt(40))
    assert_normal(params["out.weight"], 0.5 / math.sqrt(40))
    assert not params["out.bias"].any()
    one_hot = initial_parameters(ModelConfig(cell="lstm", hidden_size=40), 50, 1)
    assert_normal(one_hot["layers.0.cell.w_ih"], 1 / math.sqrt(40))


def test_an_embedding_as_wide_as_the_vocabulary_is_not_a_one_hot_input():
    params = initial_parameters(ModelConfig(cell="gru", hidden_size=100, embedding_size=V), V, 1)
    assert_normal(params["layers.0.cell.w_ih"], 1 / math.sqrt(V))


@pytest.mark.parametrize("forget_bias", [1.0, -0.5])
@pytest.mark.parametrize("block", ["plain", "residual"])
def test_the_forget_bias_is_in_the_second_block_only(forget_bias, block):
    config = ModelConfig(cell="lstm", hidden_size=6, block=block, forget_bias=forget_bias)
    bias = initial_parameters(config, V, 0)["layers.0.cell.bias"].reshape(4, -1)
    assert (bias[1] == forget_bias).all()
    assert not bias[[0, 2, 3]].any()


@pytest.mark.parametrize("cell", ["elman", "gru", "mingru"])
def test_other_cells_start_with_zero_biases(cell):
    params = initial_parameters(ModelConfig(cell=cell, hidden_size=6), V, 0)
    assert not any(params[name].any() for name in params if "bias" in name)


def test_a_residual_stream_starts_as_the_embedding():
    params = initial_parameters(ModelConfig(block="residual", hidden_size=16, num_layers=2), V, 0)
    for name, x in params.items():
        if name.endswith((".proj", ".mlp.down", ".conv.bias")):
            assert not x.any()
        elif name.endswith("norm"):
            assert (x == 1).all()
        elif name.endswith("conv.weight"):
            assert (x[:, -1] == 1).all()
            assert_uniform(x[:, :-1], 0.5)
        elif name.endswith((".mlp.up", ".mlp.gate")):
            assert_normal(x, 0.25)


@pytest.mark.parametrize("cell", GATES)
def test_init_pytorch_is_uniform_within_one_over_root_h(cell):
    params = initial_parameters(
        ModelConfig(cell=cell, hidden_size=50, embedding_size=20, init="pytorch"), 40, 2
    )
    for name, x in params.items():
        if name == "embedding":
            assert_normal(x, 1.0)
        else:
            assert_uniform(x, 1 / math.sqrt(50))


def test_init_normal_scales_weights_and_leaves_biases_at_zero():
    config = ModelConfig(cell="lstm", hidden_size=30, embedding_size=20, init="normal", init_scale=0.01)
    for name, x in initial_parameters(config, 40, 2).items():
        if "bias" in name:
            assert not x.any()
        else:
            assert_normal(x, 0.01)


def test_init_uniform_draws_weights_and_biases():
    config = ModelConfig(cell="gru", hidden_size=30, embedding_size=20, init="uniform", init_scale=0.08)
    for x in initial_parameters(config, 40, 2).values():
        assert_uniform(x, 0.08)
        assert x.any()


@pytest.mark.parametrize("init", ["orthogonal", "pytorch"])
def test_init_out_sets_only_the_output_layer(init):
    base = ModelConfig(cell="gru", hidden_size=30, init=init)
    plain = initial_parameters(base, 40, 2)
    for init_out, law in (
        ("normal", assert_normal),
        ("uniform", assert_uniform),
        ("pytorch", assert_uniform),
    ):
        scale = None if init_out == "pytorch" else 0.03
        config = ModelConfig(cell="gru", hidden_size=30, init=init, init_out=init_out, init_out_scale=scale)
        params = initial_parameters(config, 40, 2)
        law(params["out.weight"], scale or 1 / math.sqrt(30))
        assert params["out.bias"].any() == (init_out == "pytorch")
        for name in params.keys() - {"out.weight", "out.bias"}:
            np.testing.assert_array_equal(params[name], plain[name])


def test_every_init_option_is_tested_here():
    import typing

    hints = typing.get_type_hints(ModelConfig)
    assert set(typing.get_args(hints["init"])) == {"orthogonal", "pytorch", "normal", "uniform"}
    assert set(typing.get_args(hints["init_out"])) == {"same", "pytorch", "normal", "uniform"}


def test_no_draw_depends_on_another_parameter():
    small = initial_parameters(ModelConfig(cell="lstm", hidden_size=8, embedding_size=4), V, 5)
    deep = initial_parameters(ModelConfig(cell="lstm", hidden_size=8, embedding_size=4, num_layers=3), V, 5)
    for name, x in small.items():
        np.testing.assert_array_equal(deep[name], x)
    flat = [x.ravel()[:8] for name, x in deep.items() if x.any() and "bias" not in name]
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 0.99 for a, b in itertools.combinations(flat, 2))


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    config = ModelConfig(hidden_size=8)
    one, same, other = (initial_parameters(config, V, seed) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert (one["layers.0.cell.w_ih"] != other["layers.0.cell.w_ih"]).all()


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("init", ["orthogonal", "pytorch", "uniform", "normal"])
def test_the_second_biases_have_the_distribution_of_the_first(cell, init):
    scale = 0.05 if init in ("uniform", "normal") else None
    config = ModelConfig(cell=cell, hidden_size=60, num_layers=2, init=init, init_scale=scale)
    first, pairs = initial_parameters(config, V, 0), initial_bias_pair(config, V, 0)
    assert set(pairs) == {"layers.0.cell.bias_pair", "layers.1.cell.bias_pair"}
    for name, x in pairs.items():
        bias = first[name.removesuffix("_pair")]
        assert len(x) == (120 if cell == "gru" else len(bias))
        if init in ("pytorch", "uniform"):
            assert_uniform(x, scale or 1 / math.sqrt(60))
            assert (x != bias[: len(x)]).all()
        else:
            assert not x.any()
