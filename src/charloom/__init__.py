"""charloom: train, understand and share character-level recurrent language models on your own text.

    model = charloom.train("tales.txt", minutes=2)
    print(model.sample("Once upon", length=200)[0].text)

Names are imported on first use, so that ``import charloom`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charloom.api import Model, ensemble, explain, from_torch, gradients, inspect, load, resume, train
    from charloom.config import ModelConfig, SampleConfig, TextConfig, TrainConfig
    from charloom.errors import CharloomError
    from charloom.text.vocabulary import Vocabulary

__version__ = "0.1.0"

__all__ = [
    "CharloomError",
    "Model",
    "ModelConfig",
    "SampleConfig",
    "TextConfig",
    "TrainConfig",
    "Vocabulary",
    "ensemble",
    "explain",
    "from_torch",
    "gradients",
    "inspect",
    "load",
    "resume",
    "train",
]

_HOMES = {
    "charloom.api": (
        "Model",
        "ensemble",
        "explain",
        "from_torch",
        "gradients",
        "inspect",
        "load",
        "resume",
        "train",
    ),
    "charloom.config": ("ModelConfig", "SampleConfig", "TextConfig", "TrainConfig"),
    "charloom.errors": ("CharloomError",),
    "charloom.text.vocabulary": ("Vocabulary",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'charloom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
