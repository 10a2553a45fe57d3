"""Engines: the same weights bound to one library, device and precision.

The three engines share one set of parameters (`charloom.parameters`): `torch` trains fast, `scratch` is the
readable mathematics in NumPy, `fused` is a compiled loop that generates text. `contract` is their interface.
"""

from charloom.engines.contract import (
    GREEDY_BELOW,
    BatchDecoder,
    DecodeOutput,
    DecodeState,
    Engine,
    EngineModel,
    Learner,
    Metrics,
    ParameterUpdate,
    SamplingParams,
    State,
    map_state,
)
from charloom.engines.load import auto_engine, load_engine

__all__ = [
    "GREEDY_BELOW",
    "BatchDecoder",
    "DecodeOutput",
    "DecodeState",
    "Engine",
    "EngineModel",
    "Learner",
    "Metrics",
    "ParameterUpdate",
    "SamplingParams",
    "State",
    "auto_engine",
    "load_engine",
    "map_state",
]
