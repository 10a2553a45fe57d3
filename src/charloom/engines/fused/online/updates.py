"""The optimiser of the online trainer: the constants of its rule, and torch's names of its moments.

The rules themselves are equations (1) to (7) of ``online_rules.h``.
"""

from __future__ import annotations

import ctypes
import math

from charloom.config import TrainConfig
from charloom.kernels.library import struct

RULES = {"sgd": 0, "adagrad": 1, "rmsprop": 2, "adam": 3, "adamw": 4}
"""The code of each optimiser in compiled functions."""


def update_rule(config: TrainConfig) -> ctypes.Structure:
    """The rule of a training configuration."""
    code, plain = RULES[config.optimizer], config.optimizer == "sgd" and config.momentum == 0
    return struct(
        "UpdateRule",
        code=code,
        inside=config.epsilon_inside_root,
        at_rest=config.weight_decay == 0 and (plain or config.optimizer == "adagrad"),
        momentum=config.momentum,
        beta1=config.beta1,
        beta2=config.beta2,
        epsilon=config.epsilon,
        decay=config.weight_decay,
        ceiling=math.inf if config.clip_value is None else config.clip_value,
    )


def moment_names(config: TrainConfig) -> tuple[str | None, str | None]:
    """Torch's names of the first and second moment; None if the rule has no such moment."""
    momentum = "momentum_buffer" if config.momentum > 0 else None
    return {
        "sgd": (momentum, None),
        "adagrad": (None, "sum"),
        "rmsprop": (momentum, "square_avg"),
        "adam": ("exp_avg", "exp_avg_sq"),
        "adamw": ("exp_avg", "exp_avg_sq"),
    }[config.optimizer]


def counts_updates(config: TrainConfig) -> bool:
    """Whether torch keeps a ``step`` in addition to the moments."""
    return config.optimizer != "sgd" and not (config.optimizer == "adagrad" and config.epsilon_inside_root)
