"""The torch engine: fast training on CPU, CUDA and Apple GPUs, with the same weights as every other engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.checks import refuse_fused_only
from charloom.engines.torch.cpu.malloc import keep_freed
from charloom.engines.torch.lane_sum import LaneSum
from charloom.engines.torch.learner import TorchLearner
from charloom.engines.torch.local_steps import LocalSteps
from charloom.engines.torch.model import DTYPES, TorchModel
from charloom.errors import ConfigError
from charloom.threads import pool_is_lost

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

__all__ = ["ENGINE", "TorchEngine", "TorchLearner", "TorchModel"]


class TorchEngine:
    """The `Engine` of the contract."""

    name = "torch"
    uses_blas = False

    def resolve_device(self, name: str) -> str:
        """Return the device to use: ``auto`` is CUDA if available, else the CPU (recurrent nets are slow on MPS).

        A process forked from one that had loaded torch cannot use CUDA: there, ``auto`` is the CPU.

        Raises:
            ConfigError: the device is not available.
        """
        if name == "auto":
            return "cuda" if torch.cuda.is_available() and not pool_is_lost() else "cpu"
        if name.startswith("cuda") and pool_is_lost():
            raise ConfigError(
                f"device is {name!r} in a forked process",
                why="the process that it was forked from had loaded torch, and CUDA does not survive a fork",
                fix="start the process with multiprocessing.get_context('spawn'), or use device='cpu'",
            )
        num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
        available = {"cpu": True, "cuda": num_cuda > 0, "mps": torch.backends.mps.is_available()}
        kind, _, index = name.partition(":")
        if not available.get(kind, False) or (index and not (index.isdigit() and int(index) < num_cuda)):
            raise ConfigError(
                f"device is {name!r}",
                why=f"this machine and this torch build offer {', '.join(k for k in available if available[k])}",
                fix="use --device auto",
            )
        return name

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Accept everything: torch trains every network."""

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
        portable: bool = False,
    ) -> TorchModel:
        """Bind parameters to torch."""
        refuse_fused_only(self.name, precision, threads, portable=portable)
        place = self.resolve_device(device)
        tensors = {name: torch.tensor(p, dtype=DTYPES[precision], device=place) for name, p in params.items()}
        return TorchModel(tensors, config, len(params["out.bias"]))

    def learner(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        ranks: Ranks | None = None,
    ) -> TorchLearner | LocalSteps:
        """Start training from parameters; from the first call on, the process keeps freed memory (`cpu.malloc`).

        Each rank uses the CUDA device of its number on its host.
        """
        keep_freed()
        place = self.resolve_device(device)
        if ranks is not None and place == "cuda":
            place = self.resolve_device(f"cuda:{ranks.launch.local_rank}")
            torch.cuda.set_device(place)
        if train_config.sync_every is not None:
            return LocalSteps(params, config, train_config, device=place, ranks=ranks)
        lane_sum = LaneSum(ranks, train_config.lane_groups)
        return TorchLearner(params, config, train_config, device=place, lane_sum=lane_sum)


ENGINE = TorchEngine()
