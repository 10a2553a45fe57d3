"""What a server takes in memory, from the headers of its model files and its limits.

weights     3 times a file: its bytes, the arrays, and the arrays packed for decoding
texts       a row of states and logits for each text that is written or waits, twice: as it is, and where it began;
                its prompt
cached      what `Limits.max_cache_bytes` allows
libraries   Python's HTTP server
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from charloom.config import ModelConfig, from_dict
from charloom.memory import Need
from charloom.modelfile import damaged, read_model_header
from charloom.parameters import cell_size
from charloom.schema import MalformedError, json_value
from charloom.serve.limits import Limits

LIBRARIES = 40_000_000
_COPIES, _ROWS = 3, 2

_SETTINGS = {
    "weights": "serve fewer models, or smaller ones",
    "texts": "lower --parallel or --queue",
}


def serving_need(paths: Iterable[Path], limits: Limits) -> Need:
    """The memory of a server of these model files.

    Raises:
        ModelFileError: the header of a file is damaged, or it is an ensemble.
    """
    weights = texts = 0
    for path in paths:
        weights += _COPIES * path.stat().st_size
        texts = max(texts, limits.max_held * (_ROWS * _row_bytes(path) + 8 * limits.max_prompt_chars))
    parts = {"weights": weights, "texts": texts, "cached": limits.max_cache_bytes, "libraries": LIBRARIES}
    return Need("the server", parts, _SETTINGS)


def _row_bytes(path: Path) -> int:
    """Bytes of the states and logits of one text."""
    header, metadata = read_model_header(path)
    try:
        config = from_dict(ModelConfig, json_value(metadata["config"], finite=False), source=str(path))
    except (KeyError, TypeError, AttributeError, MalformedError) as error:
        raise damaged(path, "its header has no readable configuration") from error
    states = 2 if config.cell == "lstm" else 1
    conv = config.hidden_size * (config.conv_width - 1) if config.block == "residual" else 0
    numbers = config.num_layers * (states * cell_size(config) + conv)
    shape = header.get("out.bias", {}).get("shape", [0])
    return 4 * (numbers + 4 * (shape[0] if shape else 0))
