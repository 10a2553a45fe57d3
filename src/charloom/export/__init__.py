"""Share a model: as an ONNX file, as a folder for the Hugging Face Hub, and as a model card."""

from charloom.export.onnx import write_onnx

__all__ = ["write_onnx"]
