"""What an inspection takes in memory, from the network and the sizes of its measurements.

weights     float64 for the gradients, float32 and packed for the losses
gradients   the tapes of the passages through which gradients are followed, float64
jacobian    six matrices of a layer's state, float64
text        the n-gram's counts
"""

from __future__ import annotations

from charloom.config import ModelConfig
from charloom.insight.results import Sizes
from charloom.memory import Need
from charloom.parameters import cell_size, count_parameters

BYTES_PER_COUNTED_CHAR = 60
LIBRARIES = 8_000_000
_TAPE = {"elman": 4, "lstm": 11, "gru": 10, "mingru": 7}
_MATRICES = 6


def inspecting_need(
    config: ModelConfig, vocab_size: int, train_chars: int, sizes: Sizes | None = None
) -> Need:
    """The memory of an inspection.

    Args:
        config: the network.
        vocab_size: V.
        train_chars: characters of training text that are counted; 0 = none.
        sizes: of the measurements; None = the defaults.
    """
    sizes = sizes or Sizes()
    width, num_params = cell_size(config), count_parameters(config, vocab_size)
    state = width * (2 if config.cell == "lstm" else 1)
    read = sizes.unit_chars * sizes.unit_passages
    layer = _TAPE[config.cell] * width + (8 * config.hidden_size if config.block == "residual" else 0)
    parts = {
        "weights": 4 * 8 * num_params,
        "gradients": 8 * read * (config.num_layers * layer + 2 * vocab_size),
        "jacobian": 8 * _MATRICES * state * state,
        "text": BYTES_PER_COUNTED_CHAR * min(train_chars, sizes.ngram_chars),
        "libraries": LIBRARIES,
    }
    fix = "inspect a smaller model: the parts grow with its width, the Jacobian with the square"
    return Need("the inspection", parts, dict.fromkeys(parts, fix))
