"""The layers of the tour: their parameters are the network's, and their shapes are those of a real forward pass."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import load_engine
from charloom.insight.tour.shapes import stages
from charloom.parameters import count_parameters, initial_parameters, parameter_shapes, state_shapes

from .small import NETWORK

NETWORKS = [
    ModelConfig(cell=cell, hidden_size=6, num_layers=2, **more)
    for cell in ("elman", "lstm", "gru", "mingru")
    for more in (
        {},
        {"embedding_size": 4},
        {"block": "residual"},
        {"block": "residual", "tie_embeddings": True, "expansion": 2.0},
        {"block": "residual", "mlp_ratio": 0.0},
    )
]


@pytest.mark.parametrize(
    "network", NETWORKS, ids=lambda one: f"{one.cell}-{one.block}-{one.embedding_size}-{one.mlp_ratio}"
)
def test_every_parameter_is_in_one_stage_and_shapes_match_a_forward_pass(network):
    found = stages(network, 9, 2, 5)
    named = [name for one in found for name in one.parameters]
    shapes = parameter_shapes(network, 9)
    assert sorted(named) == sorted(shapes)
    assert all(one.parameters[name] == shapes[name] for one in found for name in one.parameters)
    assert sum(one.num_params for one in found) == count_parameters(network, 9)
    model = load_engine("scratch").model(initial_parameters(network, 9, 0), network)
    ids = np.zeros((2, 5), np.int64)
    logits, state = model.forward(ids, model.initial_state(2))
    assert found[0].shape == ids.shape
    assert found[-1].shape == logits.shape
    cells = [one for one in found if one.axes[-1] == "H"]
    assert [(2, one.shape[-1]) for one in cells] == [layer["h"].shape for layer in state]
    assert [one.shape[-1:] for one in cells] == [layer["h"] for layer in state_shapes(network)]
    assert all(len(one.axes) == len(one.shape) for one in found)
    for one in found:  # the output width of a matrix is that of its stage
        for name, shape in one.parameters.items():
            if name.endswith(("proj", "mlp.down", "mlp.gate", "out.weight")):
                assert shape[0] == one.shape[-1]


def test_one_hot_is_a_stage_without_parameters():
    one_hot = stages(NETWORK, 9, 2, 5)[1]
    assert (one_hot.name, one_hot.axes, one_hot.shape, one_hot.num_params) == (
        "one-hot",
        ("B", "T", "V"),
        (2, 5, 9),
        0,
    )
