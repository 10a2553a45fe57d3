"""Share a model: as an ONNX file, as a folder for the Hugging Face Hub, and as a model card.

Each form has a file of its own here; `api.exports` generates the text that a card shows.
"""

from charloom.export.card import Demonstration, model_card
from charloom.export.hub import (
    check_hub_folder,
    check_hub_library,
    push_hub_folder,
    shareable,
    write_hub_folder,
)
from charloom.export.onnx import check_onnx, write_onnx
from charloom.export.torch_example import torch_example

__all__ = [
    "Demonstration",
    "check_hub_folder",
    "check_hub_library",
    "check_onnx",
    "model_card",
    "push_hub_folder",
    "shareable",
    "torch_example",
    "write_hub_folder",
    "write_onnx",
]
