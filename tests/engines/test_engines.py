"""Engines: the list of cases is complete, names are found, and errors say how to fix them."""

import gc
import importlib.util
import itertools
import typing

import numpy as np
import pytest

from charloom import engines
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load, load_engine, map_state
from charloom.engines.scratch import cells as scratch_cells
from charloom.engines.scratch.activations import ACTIVATIONS
from charloom.engines.torch import elman
from charloom.errors import ConfigError, MissingExtraError
from charloom.parameters import NUM_GATES, initial_parameters

from .cases import BLOCKS, CASES, CELLS
from .learners import ENGINES

every_engine = pytest.mark.parametrize("name", ENGINES)


def choices(field):
    return set(typing.get_args(typing.get_type_hints(ModelConfig)[field]))


def test_no_cell_block_or_activation_is_missing_from_the_list_of_cases():
    assert {settings["cell"] for settings in CELLS.values()} == choices("cell") == set(NUM_GATES)
    assert {settings["block"] for settings in BLOCKS.values()} == choices("block")
    activations = {settings["activation"] for settings in CELLS.values() if "activation" in settings}
    assert activations == choices("activation") == set(elman.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(scratch_cells.CELLS) == choices("cell")
    here = {(c.cell, c.activation, c.block, c.embedding_size is None, c.num_layers) for c in CASES.values()}
    for cell, block, layers in itertools.product(choices("cell"), choices("block"), (1, 2)):
        for activation in choices("activation") if cell == "elman" else ("tanh",):
            inputs = (True, False) if block == "plain" else (True,)
            for one_hot in inputs:
                assert (cell, activation, block, one_hot, layers) in here


@every_engine
def test_engines_implement_the_contract(name):
    engine = load_engine(name)
    assert engine.name == name
    assert engine.uses_blas == (name == "scratch")
    config = ModelConfig(hidden_size=3)
    params = initial_parameters(config, 4, 0)
    model = engine.model(params, config)
    learner = engine.learner(params, config, TrainConfig(steps=1), device="cpu")
    for offered, protocol in ((model, engines.EngineModel), (learner, engines.Learner)):
        for method in dir(protocol):
            if not method.startswith("_"):
                assert callable(getattr(offered, method)), method
    assert (model.vocab_size, model.config) == (4, config)
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, params[key].astype(np.float32))


def test_auto_selects_the_first_installed_engine(monkeypatch):
    assert load_engine("auto") is load_engine("torch")
    find_spec = load.find_spec
    monkeypatch.setattr(load, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    assert load_engine("auto") is load_engine("scratch")


def test_an_unknown_engine_is_a_config_error():
    with pytest.raises(
        ConfigError, match=r"engine is 'keras'.*no engine has that name.*auto, torch, scratch, fused"
    ):
        load_engine("keras")


def test_a_missing_library_names_the_extra_to_install(monkeypatch):
    monkeypatch.setattr(load, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"torch is not installed.*pip install 'charloom\[train\]'"):
        load_engine("torch")
    monkeypatch.setattr(load, "library", lambda: None)
    with pytest.raises(ConfigError, match=r"engine is 'fused' and the compiled kernels are not here"):
        load_engine("fused")
    assert importlib.util.find_spec("torch") is not None


@pytest.mark.parametrize("name", ["cpu:1", "tpu", "cuda:99", "cuda:x", ""])
def test_an_unavailable_device_is_a_config_error(name):
    with pytest.raises(ConfigError, match=r"device is .*--device auto"):
        load_engine("torch").resolve_device(name)


@every_engine
def test_cpu_is_always_available(name):
    assert load_engine(name).resolve_device("cpu") == "cpu"
    assert load_engine(name).resolve_device("auto") in ("cpu", "cuda")


def test_map_state_applies_a_function_to_every_leaf():
    state = [{"h": 1, "c": 2}, {"h": 3}]
    assert map_state(state, lambda x: 10 * x) == [{"h": 10, "c": 20}, {"h": 30}]


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_an_engine_leaves_the_collector_as_it_was(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        load_engine("scratch")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
