"""The fused engine: compiled loops that update, and later generate, one character after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.fused.model import FusedModel
from charloom.engines.fused.online.learner import FusedLearner
from charloom.engines.fused.support import check_training, resolve_device

if TYPE_CHECKING:
    from numpy import ndarray as Array

__all__ = ["ENGINE", "FusedEngine", "FusedLearner", "FusedModel"]


class FusedEngine:
    """The `Engine` of the contract."""

    name = "fused"
    uses_blas = False

    def resolve_device(self, name: str) -> str:
        """``cpu``, also for ``auto``."""
        return resolve_device(name)

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse what the online trainer does not train."""
        check_training(config, train_config)

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
    ) -> FusedModel:
        """Bind parameters to the compiled loops."""
        resolve_device(device)
        return FusedModel(params, config, precision=precision)

    def learner(
        self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig, *, device: str
    ) -> FusedLearner:
        """Start training from parameters."""
        resolve_device(device)
        return FusedLearner(params, config, train_config)


ENGINE = FusedEngine()
