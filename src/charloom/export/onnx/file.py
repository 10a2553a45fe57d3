"""The ONNX file: the recorded graph as protocol buffers, with what a reader needs to turn text into ids.

Its metadata has, as strings, the `config`, `text`, `vocab` and `card` of the model file, each as JSON.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from charloom.config import to_dict
from charloom.errors import ModelFileError, missing_extra
from charloom.export.onnx.graph import Graph
from charloom.export.onnx.network import network_graph
from charloom.files import atomic_write, json_text
from charloom.modelfile import ModelFile
from charloom.parameters import state_shapes

OPSET = 18
"""The version of ONNX's operators; runtimes have known it since 2023."""

IR_VERSION = 8
"""The version of the container that belongs to it."""

FORMAT, FORMAT_VERSION = "charloom-onnx", "1"

MAX_BYTES = (2 << 30) - (16 << 20)
"""The most bytes of weights in one ONNX file: protocol buffers end at 2 GB."""

_ABOUT = (
    "A character-level recurrent language model. Read ids (batch, time) from the state before them; zeros begin a text. "
    "logits are those of the character after each; pass new_state.* as state.* of the next call. An id is an index into "
    "code_points of the metadata's vocab, followed by its specials."
)


def check_onnx() -> None:
    """Refuse an export that cannot work.

    Raises:
        MissingExtraError: the onnx package is not installed.
    """
    if find_spec("onnx") is None:
        raise missing_extra("onnx", "onnx", "exporting to ONNX")


def write_onnx(path: Path, file: ModelFile) -> None:
    """Write a model as one ONNX file, atomically; its weights are float32.

    Raises:
        MissingExtraError: the onnx package is not installed.
        ModelFileError: its weights take more than `MAX_BYTES`.
        RunError: the folder is not writable.
    """
    check_onnx()
    size = 4 * sum(array.size for array in file.parameters.values())
    if size > MAX_BYTES:
        what, why = f"the weights take {size:,} bytes", f"one ONNX file holds at most {MAX_BYTES:,}"
        raise ModelFileError(what, why=why, fix="share the model file itself, or train a smaller network")
    atomic_write(path, _protos(file).SerializeToString())


def _protos(file: ModelFile) -> Any:
    from onnx import helper

    params = {name: np.ascontiguousarray(array, np.float32) for name, array in file.parameters.items()}
    graph = network_graph(file.model_config, params)
    model = helper.make_model(
        _graph_proto(graph, file),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="charloom",
        ir_version=IR_VERSION,
        doc_string=_ABOUT,
    )
    config, text = to_dict(file.model_config), to_dict(file.text_config)
    parts = {"config": config, "text": text, "vocab": file.vocab.to_json(), "card": file.card}
    about = {"format": FORMAT, "format_version": FORMAT_VERSION}
    helper.set_model_props(
        model, about | {key: json_text(part, sort_keys=True) for key, part in parts.items()}
    )
    return model


def _graph_proto(graph: Graph, file: ModelFile) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, shape: tuple[int | str, ...], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    layers = list(enumerate(state_shapes(file.model_config)))

    def states(begin: str) -> list[Any]:
        return [
            value(f"{begin}.{i}.{key}", ("batch", *shape))
            for i, layer in layers
            for key, shape in layer.items()
        ]

    inputs = [value("ids", ("batch", "time"), TensorProto.INT64), *states("state")]
    outputs = [value("logits", ("batch", "time", len(file.vocab))), *states("new_state")]
    arrays = [numpy_helper.from_array(array, name) for name, array in graph.arrays.items()]
    return helper.make_graph(_nodes(graph), "charloom", inputs, outputs, arrays)


def _nodes(graph: Graph) -> list[Any]:
    from onnx import helper

    return [
        helper.make_node(
            node.op, node.inputs, node.outputs, **{key: _attribute(x) for key, x in node.attributes.items()}
        )
        for node in graph.nodes
    ]


def _attribute(value: Any) -> Any:
    """An attribute of an operator; the body of a loop becomes a graph whose values are (batch, width)."""
    from onnx import TensorProto, helper

    if not isinstance(value, Graph):
        return value
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", None)) for name in names]
        for names in (value.inputs, value.outputs)
    )
    return helper.make_graph(_nodes(value), "time_step", inputs, outputs)
