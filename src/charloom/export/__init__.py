"""Share a model: as a page that writes offline, an ONNX file, a folder for the Hugging Face Hub, and a model card.

Each form has a file of its own here; `api.exports` generates the text that a card shows.
"""

from charloom.export.card import Demonstration, model_card
from charloom.export.html import PagePrecision, PageText, check_page, facts_of, page_of
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
    "PagePrecision",
    "PageText",
    "check_hub_folder",
    "check_hub_library",
    "check_onnx",
    "check_page",
    "facts_of",
    "model_card",
    "page_of",
    "push_hub_folder",
    "shareable",
    "torch_example",
    "write_hub_folder",
    "write_onnx",
]
