"""The fused engine: compiled loops that generate and score text with every network, and train small ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.checks import cpu_only, refuse_ranks
from charloom.engines.fused.model import FusedModel
from charloom.engines.fused.online.learner import FusedLearner
from charloom.engines.fused.online.support import check_training

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

__all__ = ["ENGINE", "FusedEngine", "FusedLearner", "FusedModel"]


class FusedEngine:
    """The `Engine` of the contract."""

    name = "fused"
    uses_blas = False

    def resolve_device(self, name: str) -> str:
        """Return ``cpu``, the only device, also for ``auto``."""
        return cpu_only(name, self.name)

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse settings that the online trainer does not support."""
        refuse_ranks(self.name, train_config)
        check_training(config, train_config)

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
        portable: bool = False,
    ) -> FusedModel:
        """Bind parameters to the compiled kernels."""
        self.resolve_device(device)
        return FusedModel(params, config, precision=precision, threads=threads, portable=portable)

    def learner(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        ranks: Ranks | None = None,
    ) -> FusedLearner:
        """Create a learner that starts from the given parameters."""
        refuse_ranks(self.name, train_config, 1 if ranks is None else ranks.size)
        self.resolve_device(device)
        return FusedLearner(params, config, train_config)


ENGINE = FusedEngine()
