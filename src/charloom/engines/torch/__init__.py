"""The torch engine: trains fast on CPU, CUDA and Apple; reads and writes the same weights as every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import fused_alone
from charloom.engines.torch.learner import TorchLearner
from charloom.engines.torch.memory import keep_freed
from charloom.engines.torch.model import DTYPES, TorchModel
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from numpy import ndarray as Array

__all__ = ["ENGINE", "TorchEngine", "TorchLearner", "TorchModel"]


class TorchEngine:
    """The `Engine` of the contract."""

    name = "torch"
    uses_blas = False

    def resolve_device(self, name: str) -> str:
        """Name the device to use."""
        return resolve_device(name)

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse nothing: torch trains every network."""

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
    ) -> TorchModel:
        """Bind parameters to torch."""
        fused_alone(self.name, precision, threads)
        place, dtype = torch.device(resolve_device(device)), DTYPES[precision]
        tensors = {name: torch.tensor(p, dtype=dtype, device=place) for name, p in params.items()}
        return TorchModel(tensors, config, len(params["out.bias"]))

    def learner(
        self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig, *, device: str
    ) -> TorchLearner:
        """Start training from parameters."""
        keep_freed()
        return TorchLearner(params, config, train_config, device=resolve_device(device))


def resolve_device(name: str) -> str:
    """Name the device to use: ``auto`` is CUDA where there is one, else the CPU (recurrent nets are slow on MPS).

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, index = name.partition(":")
    exists = there.get(kind, False) and (
        not index or (index.isdigit() and int(index) < torch.cuda.device_count())
    )
    if not exists:
        found = ", ".join(kind for kind, here in there.items() if here)
        raise ConfigError(
            f"device is {name!r}",
            why=f"this machine and this torch build offer {found}",
            fix="use --device auto",
        )
    return name


ENGINE = TorchEngine()
