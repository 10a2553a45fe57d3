"""The scratch engine: every equation and every derivative in NumPy, without a framework.

It trains plain blocks in the same loop as torch and runs every model; only fast training needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.checks import cpu_only, refuse_fused_only, refuse_ranks
from charloom.engines.scratch.learner import ScratchLearner
from charloom.engines.scratch.model import ScratchModel
from charloom.engines.scratch.optimisers import check_method
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

__all__ = ["ENGINE", "ScratchEngine", "ScratchLearner", "ScratchModel"]


class ScratchEngine:
    """The `Engine` of the contract."""

    name = "scratch"
    uses_blas = True

    def resolve_device(self, name: str) -> str:
        """Return ``cpu``, the only device, also for ``auto``."""
        return cpu_only(name, self.name)

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse residual blocks, bfloat16 and muon with a ConfigError."""
        if config.block == "residual":
            raise ConfigError(
                "block is residual and engine is scratch",
                why="the scratch engine runs residual blocks but trains plain ones only",
                fix="use --block plain, or pip install 'charloom[train]' for the torch engine",
            )
        if train_config.precision == "bfloat16":
            raise ConfigError(
                "precision is bfloat16 and engine is scratch",
                why="NumPy has no bfloat16",
                fix="use --precision float32, or --engine torch",
            )
        refuse_ranks(self.name, train_config)
        check_method(train_config)

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
        portable: bool = False,
    ) -> ScratchModel:
        """Bind parameters to NumPy."""
        refuse_fused_only(self.name, precision, threads, portable=portable)
        self.resolve_device(device)
        arrays = {name: np.array(p, dtype=precision) for name, p in params.items()}
        return ScratchModel(arrays, config, len(params["out.bias"]))

    def learner(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        ranks: Ranks | None = None,
    ) -> ScratchLearner:
        """Create a learner that starts from the given parameters."""
        refuse_ranks(self.name, train_config, 1 if ranks is None else ranks.size)
        self.resolve_device(device)
        self.check(config, train_config)
        return ScratchLearner(params, config, train_config)


ENGINE = ScratchEngine()
