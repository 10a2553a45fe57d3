"""Training on torch: windows in, updated parameters and metrics out.

One update: window → loss and gradients, lanes divided among threads and ranks → clip → optimiser → average. All
randomness is a function of (seed, step, lane), so a range of steps may be split anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, ParameterUpdate, State, map_state
from charloom.engines.checks import frozen_parameters
from charloom.engines.torch import precision
from charloom.engines.torch.bucketed_sum import compute_and_add
from charloom.engines.torch.cpu.row_threads import RowThreads
from charloom.engines.torch.dropout import noise_of, seed_noise, weight_masks
from charloom.engines.torch.gpu_updates import GpuUpdates
from charloom.engines.torch.lane_sum import LaneSum, Share
from charloom.engines.torch.model import DTYPES, TorchModel, concat_states, to_numpy, zero_state
from charloom.engines.torch.optimisers import Optimiser, clip
from charloom.engines.torch.train_step import (
    TrainStep,
    diverged_update,
    fold_bias_pairs,
    num_predictions,
    update_norms,
)
from charloom.parameters import initial_bias_pair
from charloom.schedule import Knots, average_decay, learning_rate
from charloom.text.batching import Plan, Window

if TYPE_CHECKING:
    from numpy import ndarray as Array
    from torch import Tensor


class TorchLearner:
    """The `Learner` of the contract, on one device; its states hold the lanes of this process (`lane_sum`)."""

    def __init__(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        lane_sum: LaneSum | None = None,
    ) -> None:
        self.lane_sum = lane_sum or LaneSum(groups=train_config.lane_groups)
        self.config, self.train_config, self.device = config, train_config, torch.device(device)
        self.dtype = DTYPES["float64" if train_config.precision == "float64" else "float32"]
        self.vocab_size = len(params["out.bias"])
        if train_config.bias == "pair":
            params = {**params, **initial_bias_pair(config, self.vocab_size, train_config.seed)}
        self.params = {name: self._tensor(x).requires_grad_() for name, x in params.items()}
        frozen = frozen_parameters(train_config, self.params)
        learning = {name: p for name, p in self.params.items() if name not in frozen}
        self.row_threads = RowThreads()
        self.optimiser = Optimiser(learning, train_config, self.row_threads)
        self.noise = noise_of(config, self.device)
        self.train_step = TrainStep(config, train_config, self.params, learning, self.noise)
        self.average = None if train_config.average_decay is None else self.copy_of_params()
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))
        self.on_gpu = None if self.device.type == "cpu" else GpuUpdates(self)

    def set_progress(self, knots: Knots) -> None:
        """Set the map from steps to progress that the learning rate follows."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""
        return self.reset_state(0, lanes)

    def reset_state(self, step: int, lanes: range) -> State:
        """The state that lanes return to at a reset."""
        return self.train_step.reset_state(step, lanes)

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows, starting with `first_step`."""
        if self.on_gpu is not None:
            return self.on_gpu.advance(plan, first_step, num_steps, state, observe=observe)
        last = first_step + num_steps - 1
        measured, counts, before = [], [], None
        rounds = self.train_config.precision == "bfloat16"
        one_thread = self.row_threads.leading(self.device)
        with one_thread, precision.rounded_products(self.device, wanted=rounds):
            for step in range(first_step, last + 1):
                before = self.copy_of_params() if observe and step == last else None
                share = self.share(plan.num_rows(step))
                window = plan.window(step, share.lanes)
                state = self.state_before(plan, window, state)
                total, count, gradients, state = self.gradients(step, window, state, share)
                numbers = update_norms(total / count, list(gradients.values()))
                if not np.isfinite(to_numpy(numbers[:2])).all():
                    raise diverged_update(step, float(numbers[0]), gradients, self.params)
                self.apply(list(gradients.values()), numbers[1], *self.rates(step))
                measured.append(numbers)
                counts.append(count)
        return state, self.metrics(measured, counts, before)

    def lanes(self, batch_size: int) -> range:
        """The lanes of this process in a full batch."""
        return self.share(batch_size).lanes

    def share(self, num_rows: int) -> Share:
        """What this process computes of a batch of `num_rows` rows."""
        on_cpu = self.device.type == "cpu"
        return self.lane_sum.share(num_rows, self.row_threads.number if on_cpu else 1)

    def gradients(
        self, step: int, window: Window, state: State, share: Share | None = None
    ) -> tuple[Tensor, int, dict[str, Tensor], State]:
        """Run one window forward and backward: (summed loss, number of predictions, gradients, detached state).

        `window` and `state` hold this process's share of the batch; None = they are the whole batch.
        """
        share = share or self.share(len(window.inputs))
        count = num_predictions(self.train_config, share.num_rows, window.targets.shape[1])
        seed_noise(self.noise, self.train_config.seed, step, share.lanes.start)
        masks = weight_masks(self.config, self.train_config.seed, step, self.params, self.noise)
        given: dict[str, Any] = {"step": step, "window": window, "state": state, "count": count}
        given |= {"weight_masks": masks, "first_lane": share.lanes.start}
        like = [self.params["out.bias"].detach()[:1], *(p.detach() for p in self.optimiser.params.values())]
        compute: Any = partial(self.train_step, **given)
        if self.lane_sum.ranks is not None and self.device.type == "cpu":
            (total, *gradients), parts = compute_and_add(
                compute, self.row_threads, self.lane_sum, share, like
            )
        else:
            parts = self.row_threads.run(compute, share.slices)
            summands = [[total.view(1), *gradients] for total, gradients, _ in parts]
            total, *gradients = self.lane_sum.add(share, summands, like)
        after = concat_states([after for _, _, after in parts]) if parts else state
        return total[0], count, dict(zip(self.optimiser.params, gradients, strict=True)), after

    def apply(
        self, gradients: list[Tensor], norm: Tensor, rate: float | Tensor, average_share: float | Tensor
    ) -> None:
        """Clip the gradients, take the optimiser's step, and move the average towards the new parameters."""
        clip(gradients, norm, self.train_config, waits=self.on_gpu is None)
        for p, gradient in zip(self.optimiser.params.values(), gradients, strict=True):
            p.grad = gradient
        self.optimiser.step(rate)
        self._update_average(average_share)

    def rates(self, step: int) -> tuple[float, float]:
        """(Learning rate, fraction by which the average moves to the parameters) of an update."""
        config = self.train_config
        share = 0.0 if config.average_decay is None else 1 - average_decay(config, step)
        return learning_rate(config, self.knots, step), share

    def metrics(
        self, measured: list[Tensor], counts: list[int], before: Mapping[str, Tensor] | None
    ) -> Metrics:
        """The metrics of some updates; `before` holds the parameters before the last one, if it is observed."""
        numbers = to_numpy(torch.stack(measured)).astype(np.float64) if measured else np.zeros((0, 2))
        update = None if before is None else self._last_update(before, numbers[-1, 2:])
        return Metrics(numbers[:, 0], numbers[:, 1], np.array(counts, np.int64), update)

    def tensors(self) -> dict[str, Array]:
        """The contents of a checkpoint."""
        groups: dict[str, Mapping[str, Tensor]] = {"param": self.params, "moment": self.optimiser.moments()}
        if self.average is not None:
            groups["average"] = self.average
        return {f"{group}.{n}": to_numpy(x) for group, named in groups.items() for n, x in named.items()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Continue from a result of `tensors`."""
        groups: dict[str, dict[str, Any]] = {"param": {}, "moment": {}, "average": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = array
        for name, p in self.params.items():
            p.copy_(self._tensor(groups["param"][name]))
        # a fused optimiser keeps its step count as a float32 scalar on the parameter's device
        moments = {n: torch.as_tensor(np.array(x), device=self.device) for n, x in groups["moment"].items()}
        self.optimiser.load_moments(moments)
        if self.average is not None:
            self.average = {name: self._tensor(groups["average"][name]) for name in self.params}
        if self.on_gpu is not None:
            self.on_gpu.forget()

    def model(self) -> TorchModel:
        """The model to validate and save, with the averaged weights if averaging is on."""
        source = self.params if self.average is None else self.average
        params = fold_bias_pairs({n: p.detach().clone() for n, p in source.items()})
        return TorchModel(params, self.config, self.vocab_size)

    def export_state(self, state: State) -> State:
        """The state as NumPy arrays."""
        return map_state(state, to_numpy)

    def import_state(self, state: State) -> State:
        """The state as tensors, from NumPy arrays."""
        return map_state(state, self._tensor)

    def state_before(self, plan: Plan, window: Window, state: State) -> State:
        """The carried state, or zeros if the plan does not carry it from window to window."""
        return state if plan.carries else zero_state(self.config, len(window.inputs), self.device, self.dtype)

    def copy_of_params(self) -> dict[str, Tensor]:
        """A copy of every parameter, on its device."""
        return {name: p.detach().clone() for name, p in self.params.items()}

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.array(array), dtype=self.dtype, device=self.device)

    def _last_update(self, before: Mapping[str, Tensor], grad_norms: Array) -> dict[str, ParameterUpdate]:
        old = list(before.values())
        moved = torch._foreach_norm(torch._foreach_sub([p.detach() for p in self.params.values()], old))
        numbers = to_numpy(torch.stack([*moved, *torch._foreach_norm(old)])).reshape(2, -1).tolist()
        norms = dict(zip(self.optimiser.params, grad_norms.tolist(), strict=True))
        return {
            name: ParameterUpdate(norms.get(name, 0.0), weight, update)
            for name, update, weight in zip(before, *numbers, strict=True)
        }

    @torch.no_grad()
    def _update_average(self, share: float | Tensor) -> None:
        if self.average is None:
            return
        average, params = list(self.average.values()), list(self.params.values())
        if isinstance(share, float):
            torch._foreach_lerp_(average, params, share)
        else:
            difference = torch._foreach_sub(params, average)
            torch._foreach_mul_(difference, share)
            torch._foreach_add_(average, difference)
