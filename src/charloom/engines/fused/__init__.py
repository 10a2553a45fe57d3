"""The fused engine: compiled loops that write, read and score with every network, and train small ones online."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.fused.model import FusedModel, compile_loops
from charloom.engines.fused.online.learner import FusedLearner
from charloom.engines.fused.online.support import check_training
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from numpy import ndarray as Array

__all__ = ["ENGINE", "FusedEngine", "FusedLearner", "FusedModel"]


class FusedEngine:
    """The `Engine` of the contract."""

    name = "fused"
    uses_blas = False

    def resolve_device(self, name: str) -> str:
        """``cpu``, also for ``auto``.

        Raises:
            ConfigError: another device.
        """
        if name not in ("auto", "cpu"):
            raise ConfigError(
                f"device is {name!r}",
                why="the fused engine computes on the processor",
                fix="use --device cpu, or --engine torch",
            )
        return "cpu"

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
        threads: int | None = None,
    ) -> FusedModel:
        """Bind parameters to the compiled loops, which are compiled, or found on disk, before this returns."""
        self.resolve_device(device)
        compile_loops(precision)
        return FusedModel(params, config, precision=precision, threads=threads)

    def learner(
        self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig, *, device: str
    ) -> FusedLearner:
        """Start training from parameters."""
        self.resolve_device(device)
        return FusedLearner(params, config, train_config)


ENGINE = FusedEngine()
