"""Programs of the checkout that are no part of the package, as modules."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def script(place):
    """The module at a place in the checkout, such as ``tools/build_kernels.py``."""
    path = ROOT / place
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
