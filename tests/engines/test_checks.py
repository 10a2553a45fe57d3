"""What an engine refuses."""

import pytest

from charloom.config import ModelConfig, SampleConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"threads": 2}, "threads is 2"),
        ({"portable": True}, "portable is on"),
    ],
)
@pytest.mark.parametrize("engine", ["torch", "scratch"])
def test_what_only_the_fused_engine_supports_is_refused(engine, asked, says):
    config = ModelConfig(hidden_size=4)
    with pytest.raises(ConfigError, match=f"{says} and engine is {engine}"):
        load_engine(engine).model(initial_parameters(config, 5, 0), config, **asked)


def test_portable_sums_are_of_single_precision():
    with pytest.raises(ConfigError, match="portable is on and precision is 'float64'"):
        SampleConfig(portable=True, precision="float64")
