"""A model as an ONNX file: the network built from standard operators, with its state as inputs and outputs.

Nothing here needs torch, and only `file` needs the onnx package.
"""

from charloom.export.onnx.file import MAX_BYTES, OPSET, check_onnx, write_onnx

__all__ = ["MAX_BYTES", "OPSET", "check_onnx", "write_onnx"]
