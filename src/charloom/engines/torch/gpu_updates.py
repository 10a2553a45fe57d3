"""Updates on a GPU: nothing is read from the device until the last update of a range is launched.

Reading a number from a device means waiting for all the work before it. So losses are checked for NaN and infinity only
after a range of updates; if one is not finite, the range is undone and repeated up to the step before.

On CUDA, an update that reads nothing from the host is recorded once as a graph and launched whole (`cuda_graphs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from charloom.engines import Metrics, State, map_state
from charloom.engines.torch.batch import Batch, to_device, upload
from charloom.engines.torch.cuda_graphs import GraphRecorder
from charloom.engines.torch.dropout import seed_noise, weight_masks
from charloom.engines.torch.optimisers import RECORDABLE
from charloom.engines.torch.train_step import diverged_update, num_predictions, update_norms
from charloom.text.batching import Plan, Window

if TYPE_CHECKING:
    from torch import Tensor

    from charloom.engines.torch.learner import TorchLearner


class GpuUpdates:
    """The updates of a learner whose parameters are on another device than the CPU."""

    def __init__(self, learner: TorchLearner) -> None:
        self.learner = learner
        config = learner.train_config
        # an initial state drawn for every window comes from the CPU
        alone = learner.lane_sum.ranks is None and learner.lane_sum.groups in (
            None,
            1,
        )  # one graph, no exchange
        recordable = alone and config.initial_state == "zeros" and config.optimizer in RECORDABLE
        self.recorder = GraphRecorder(learner.noise) if recordable and learner.device.type == "cuda" else None

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool
    ) -> tuple[State, Metrics]:
        """Take updates as `TorchLearner.advance` does.

        Raises:
            DivergedError: a loss or gradient is not finite; the parameters are those before that step.
        """
        learner, last = self.learner, first_step + num_steps - 1
        start, saved = state, self._snapshot()
        measured, counts, before = [], [], None
        for step in range(first_step, last + 1):
            before = learner.copy_of_params() if observe and step == last else None
            state, numbers, count = self.update(plan, step, state)
            measured.append(numbers)
            counts.append(count)
        if self.recorder is not None:
            state = map_state(state, torch.clone)
        metrics = learner.metrics(measured, counts, before)
        finite = np.isfinite(metrics.loss) & np.isfinite(metrics.grad_norm)
        if not finite.all():
            self._undo_and_raise(plan, first_step, first_step + int(finite.argmin()), start, saved)
        return state, metrics

    def update(self, plan: Plan, step: int, state: State) -> tuple[State, Tensor, int]:
        """Launch one update: (state after the window, its `update_norms`, its number of predictions)."""
        learner = self.learner
        share = learner.share(plan.num_rows(step))
        window = plan.window(step, share.lanes)
        state = learner.state_before(plan, window, state)
        if self.recorder is not None:
            return self._launch(self.recorder, step, window, state, share.lanes.start)
        total, count, gradients, after = learner.gradients(step, window, state, share)
        numbers = update_norms(total / count, list(gradients.values()))
        learner.apply(list(gradients.values()), numbers[1], *learner.rates(step))
        return after, numbers, count

    def forget(self) -> None:
        """Discard the recorded graphs: some tensors have moved."""
        if self.recorder is not None:
            self.recorder.forget()

    def _launch(
        self, recorder: GraphRecorder, step: int, window: Window, state: State, first_lane: int
    ) -> tuple[State, Tensor, int]:
        """Launch a recorded update, after copying to the device everything that differs between updates."""
        learner = self.learner
        seed_noise(learner.noise, learner.train_config.seed, step, first_lane)
        rates = to_device(np.array(learner.rates(step), np.float32), learner.device)
        batch = upload(window, slice(None), learner.device)
        numbers, after = recorder(self._recorded_update, batch, state, rates)
        return after, numbers.clone(), num_predictions(learner.train_config, *window.targets.shape)

    def _recorded_update(self, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """Take one update that reads only its arguments and tensors that keep their address."""
        learner = self.learner
        count = num_predictions(learner.train_config, *batch.targets.shape)
        masks = weight_masks(learner.config, learner.train_config.seed, 0, learner.params, learner.noise)
        total, gradients, after = learner.train_step(
            slice(None), step=0, window=batch, state=state, count=count, weight_masks=masks
        )
        numbers = update_norms(total / count, gradients)
        learner.apply(gradients, numbers[1], rates[0], rates[1])
        return numbers, after

    def _snapshot(self) -> list[dict[str, Tensor]]:
        """Copy everything that an update changes."""
        learner = self.learner
        groups = [learner.params, learner.optimiser.moments(), learner.average or {}]
        return [{name: x.detach().clone() for name, x in group.items()} for group in groups]

    def _undo_and_raise(
        self, plan: Plan, first_step: int, bad: int, state: State, saved: list[dict[str, Tensor]]
    ) -> None:
        """Restore the start, repeat the updates before step `bad`, and raise the error of that step."""
        learner = self.learner
        params, moments, average = saved
        with torch.no_grad():
            for name, p in learner.params.items():
                p.copy_(params[name])
        learner.optimiser.load_moments(moments)
        learner.average = average or None
        self.forget()
        for step in range(first_step, bad):
            state, _, _ = self.update(plan, step, state)
        share = learner.share(plan.num_rows(bad))
        window = plan.window(bad, share.lanes)
        before = learner.state_before(plan, window, state)
        total, count, gradients, _ = learner.gradients(bad, window, before, share)
        raise diverged_update(bad, float(total) / count, gradients, learner.params)
