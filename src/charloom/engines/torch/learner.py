"""A network in training on torch: windows in, updated parameters and metrics out.

One step: window → loss → gradient, lanes shared among threads → clip → optimiser → average. Everything random in it is a function of
(seed, step, lane), so a stretch may be cut anywhere. On a CUDA device nobody asks the device for anything inside a stretch, and an update is one
recorded graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, Signal, State, diverged, draws, frozen_parameters, state_like
from charloom.engines.torch import network, precision
from charloom.engines.torch.batch import Batch, to_device, upload
from charloom.engines.torch.dropout import Dropout, begin_noise, noise_of, thinned
from charloom.engines.torch.graphs import Recorder
from charloom.engines.torch.model import (
    DTYPES,
    TorchModel,
    export_state,
    joined,
    to_numpy,
    zero_state,
)
from charloom.engines.torch.optimisers import RECORDABLE, Optimiser
from charloom.engines.torch.shards import Shards
from charloom.parameters import initial_bias_pair
from charloom.schedule import Knots, average_decay, learning_rate
from charloom.text.windows import Plan, Window

if TYPE_CHECKING:
    from numpy import ndarray as Array
    from torch import Tensor

_PAIR = "_pair"


class TorchLearner:
    """The `Learner` of the contract.

    Args:
        params: initial parameters, NumPy.
        config: the network.
        train_config: objective, optimiser, clipping, averaging, dropout seed, precision.
        device: where to compute.
    """

    def __init__(
        self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig, *, device: str
    ) -> None:
        self.config, self.train_config, self.device = config, train_config, torch.device(device)
        self.dtype = DTYPES["float64" if train_config.precision == "float64" else "float32"]
        self.vocab_size = len(params["out.bias"])
        values = dict(params)
        if train_config.bias == "pair":
            values |= initial_bias_pair(config, self.vocab_size, train_config.seed)
        self.params = {name: self._tensor(x).requires_grad_() for name, x in values.items()}
        self.frozen = frozen_parameters(train_config, self.params)
        self.shards = Shards()
        learning = {name: p for name, p in self.params.items() if name not in self.frozen}
        self.optimiser = Optimiser(learning, train_config, self.shards)
        averages = train_config.average_decay is not None
        self.average = {n: p.detach().clone() for n, p in self.params.items()} if averages else None
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))
        self.grad_norms = np.zeros(0)  # of the last update, by parameter
        self.rounds = train_config.precision == "bfloat16"
        self.watchful = self.device.type == "cpu"  # elsewhere to look at a number is to wait for it
        self.noise = noise_of(config, self.device)
        self.recorder = Recorder(self.noise) if self._can_record() else None

    def set_progress(self, knots: Knots) -> None:
        """Set the map from step to progress that the learning rate follows."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""
        return self._fresh(0, lanes)

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows from `first_step` on.

        On a GPU nobody looks at a step's numbers before the stretch has ended. Where one is not finite, the stretch is taken back and
        repeated up to the step before.
        """
        before = None if self.watchful else self._snapshot()
        after, metrics = self._stretch(plan, range(first_step, first_step + num_steps), state)
        finite = np.isfinite(metrics.loss) & np.isfinite(metrics.grad_norm)
        if before is None or finite.all():
            return after, metrics
        self._restore(before)
        last = first_step + int(finite.argmin())
        state, _ = self._stretch(plan, range(first_step, last), state)
        window = plan.window(last, range(plan.batch_size))
        self._update(last, window, state if plan.carries else self._zeros(window))
        raise AssertionError(f"step {last} diverged, and repeated it did not")

    def gradients(
        self, step: int, window: Window, state: State
    ) -> tuple[Tensor, int, dict[str, Tensor], State]:
        """One window forward and back.

        Returns:
            The summed loss of its predictions, their number, the gradient of the objective in every parameter that learns, and
            the state behind the window: its gradient is cut here.
        """
        count = self._count(window)
        parts = self.shards.split(len(window.inputs), self.device)
        begin_noise(self.noise, self.train_config.seed, step)
        kept = thinned(self.config, self.train_config.seed, step, self.params, self.noise)

        def compute(rows: slice) -> tuple[Tensor, list[Tensor], State]:
            batch, begin = upload(window, rows, self.device), state_like(state, lambda x: x[rows])
            return self._pass(step, batch, begin, range(rows.start, rows.stop), count, kept)

        passes = self.shards.run(compute, parts)
        total, gradients, after = passes[0]
        for other_total, other_gradients, _ in passes[1:]:
            total = total + other_total
            torch._foreach_add_(gradients, other_gradients)
        if len(passes) > 1:
            after = joined([behind for _, _, behind in passes])
        return total, count, dict(zip(self.optimiser.params, gradients, strict=True)), after

    def tensors(self) -> dict[str, Array]:
        """All that a checkpoint holds."""
        groups: dict[str, Mapping[str, Tensor]] = {"param": self.params, "moment": self.optimiser.moments()}
        if self.average is not None:
            groups["average"] = self.average
        return {
            f"{group}.{name}": to_numpy(x) for group, named in groups.items() for name, x in named.items()
        }

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Continue from what `tensors` returned."""
        groups: dict[str, dict[str, Any]] = {"param": {}, "moment": {}, "average": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = array
        for name, p in self.params.items():
            p.copy_(self._tensor(groups["param"][name]))
        # a fused optimiser keeps its count as a float32 scalar on the parameter's device
        moments = {n: torch.as_tensor(np.array(x), device=self.device) for n, x in groups["moment"].items()}
        self.optimiser.load_moments(moments)
        if self.average is not None:
            self.average = {name: self._tensor(groups["average"][name]) for name in self.params}
        if self.recorder is not None:
            self.recorder.forget()

    def model(self) -> TorchModel:
        """The model to validate and ship: the averaged weights where averaging is on."""
        source = self.average if self.average is not None else self.params
        return TorchModel(
            self._folded({n: p.detach().clone() for n, p in source.items()}), self.config, self.vocab_size
        )

    def observe(self, plan: Plan, step: int, state: State) -> tuple[State, Metrics, dict[str, Signal]]:
        """Take one update as `advance` does, to the bit, and say what it did to every parameter."""
        before = {name: p.detach().clone() for name, p in self.params.items()}
        state, metrics = self.advance(plan, step, 1, state)
        names = list(before)
        moved = torch._foreach_norm(
            torch._foreach_sub([p.detach() for p in self.params.values()], list(before.values()))
        )
        numbers = to_numpy(
            torch.stack([torch.stack(moved), torch.stack(torch._foreach_norm(list(before.values())))])
        )
        grad_norms = dict(zip(self.optimiser.params, self.grad_norms.tolist(), strict=True))
        return (
            state,
            metrics,
            {
                name: Signal(grad_norms.get(name, 0.0), float(weight), float(update))
                for name, update, weight in zip(names, *numbers, strict=True)
            },
        )

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""
        return export_state(state)

    def import_state(self, state: State) -> State:
        """The state with torch leaves, from NumPy ones."""
        return state_like(state, self._tensor)

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.array(array), dtype=self.dtype, device=self.device)

    def _stretch(self, plan: Plan, steps: range, state: State) -> tuple[State, Metrics]:
        lanes, measured, counts = range(plan.batch_size), [], []
        alone = self.shards.leading(len(lanes), self.device)
        with alone, precision.tiles(self.device, wanted=self.rounds):
            for step in steps:
                window = plan.window(step, lanes)
                begin = state if plan.carries else self._zeros(window)
                if self.recorder is None:
                    state, numbers, count = self._update(step, window, begin, look=self.watchful)
                else:
                    state, numbers, count = self._launch(self.recorder, step, window, begin)
                measured.append(numbers)
                counts.append(count)
        if self.recorder is not None:
            state = state_like(state, torch.clone)
        found = to_numpy(torch.stack(measured)).astype(np.float64) if measured else np.zeros((0, 2))
        self.grad_norms = found[-1:, 2:].ravel()
        return state, Metrics(found[:, 0], found[:, 1], np.array(counts, np.int64))

    def _update(
        self, step: int, window: Window, state: State, *, look: bool = True
    ) -> tuple[State, Tensor, int]:
        """One update: the state behind the window, what `_measured` says, and the predictions.

        Raises:
            DivergedError: `look`, and loss or norm is not finite; nothing has moved.
        """
        total, count, named, after = self.gradients(step, window, state)
        numbers = self._measured(total / count, list(named.values()))
        if look and not np.isfinite(to_numpy(numbers[:2])).all():
            counts = {name: int((~torch.isfinite(g)).sum()) for name, g in named.items()}
            raise diverged(step, float(numbers[0]), counts)
        self._move(list(named.values()), numbers[1], *self._rates(step))
        return after, numbers, count

    def _launch(
        self, recorder: Recorder, step: int, window: Window, state: State
    ) -> tuple[State, Tensor, int]:
        """The same by the recorder: what differs from update to update goes to the device beforehand."""
        begin_noise(self.noise, self.train_config.seed, step)
        rates = to_device(np.array(self._rates(step), np.float32), self.device)
        numbers, after = recorder(self._take, upload(window, slice(None), self.device), state, rates)
        return after, numbers.clone(), self._count(window)

    def _take(self, batch: Batch, state: State, rates: Tensor) -> tuple[Tensor, State]:
        """One update on a device: what is recorded."""
        count = len(batch.targets) if self.train_config.objective == "last" else batch.targets.numel()
        kept = thinned(self.config, self.train_config.seed, 0, self.params, self.noise)
        total, gradients, after = self._pass(0, batch, state, range(len(batch.inputs)), count, kept)
        numbers = self._measured(total / count, gradients)
        self._move(gradients, numbers[1], rates[0], rates[1])
        return numbers, after

    def _measured(self, loss: Tensor, gradients: list[Tensor]) -> Tensor:
        """(2 + P,): an update's mean loss, its gradient norm and that of each of P parameters."""
        norms = torch.stack(torch._foreach_norm(gradients))
        return torch.cat([loss.view(1), norms.norm().view(1), norms])

    def _move(
        self, gradients: list[Tensor], norm: Tensor, rate: float | Tensor, share: float | Tensor
    ) -> None:
        """Clip, take the optimiser's step, and let the average come nearer by a `share` of the way."""
        self._clip(gradients, norm)
        for p, gradient in zip(self.optimiser.params.values(), gradients, strict=True):
            p.grad = gradient
        self.optimiser.step(rate)
        self._update_average(share)

    def _rates(self, step: int) -> tuple[float, float]:
        """(Learning rate, share of the way that the average goes) of an update."""
        config = self.train_config
        share = 0.0 if config.average_decay is None else 1 - average_decay(config, step)
        return learning_rate(config, self.knots, step), share

    def _count(self, window: Window) -> int:
        """The predictions of an update."""
        last = self.train_config.objective == "last"
        return len(window.targets) if last else window.targets.size

    def _can_record(self) -> bool:
        """Whether an update is a function of the device alone: a state drawn anew for every window comes from the CPU."""
        config = self.train_config
        fixed = config.initial_state == "zeros" and config.optimizer in RECORDABLE
        return fixed and self.device.type == "cuda"

    def _pass(
        self,
        step: int,
        batch: Batch,
        state: State,
        lanes: range,
        count: int,
        kept: Mapping[str, Tensor],
    ) -> tuple[Tensor, list[Tensor], State]:
        """Some lanes forward and back: their summed loss, their part of every gradient, the state behind them."""
        total, after = self._loss(step, batch, state, lanes, kept)
        objective = total if self.train_config.loss == "sum" else total / count
        # fused optimisers walk through memory: a gradient in another layout would move the wrong elements
        found = torch.autograd.grad(objective, list(self.optimiser.params.values()))
        return total.detach(), [gradient.contiguous() for gradient in found], after

    def _loss(
        self, step: int, batch: Batch, state: State, lanes: range, kept: Mapping[str, Tensor]
    ) -> tuple[Tensor, State]:
        """The summed loss of some lanes' predictions, and the state behind them with its gradient cut."""
        params = self._folded(self.params)
        params = params | {name: params[name] * scale for name, scale in kept.items()}
        last_only, seed = self.train_config.objective == "last", self.train_config.seed
        drops = draws.has_dropout(self.config)
        with precision.autocast(self.device, wanted=self.rounds):
            logits, after = network.forward(
                self.config,
                params,
                batch.inputs,
                state,
                resets=batch.resets,
                fresh=self._fresh(step, lanes) if self.train_config.initial_state == "normal" else None,
                dropout=Dropout(self.config, seed, step, lanes, self.noise) if drops else network.no_dropout,
                last_only=last_only,
            )
        targets = batch.targets[:, -1:] if last_only else batch.targets
        total = F.cross_entropy(logits.flatten(0, 1).to(self.dtype), targets.flatten(), reduction="sum")
        return total, state_like(after, lambda x: x.detach().to(self.dtype))

    def _zeros(self, window: Window) -> State:
        return zero_state(self.config, len(window.inputs), self.device, self.dtype)

    def _snapshot(self) -> list[dict[str, Tensor]]:
        """Copies of all that an update changes, where it lies."""
        groups = [self.params, self.optimiser.moments(), self.average or {}]
        return [{name: x.detach().clone() for name, x in group.items()} for group in groups]

    @torch.no_grad()
    def _restore(self, snapshot: list[dict[str, Tensor]]) -> None:
        params, moments, average = snapshot
        for name, p in self.params.items():
            p.copy_(params[name])
        self.optimiser.load_moments(moments)
        self.average = average or None
        if self.recorder is not None:
            self.recorder.forget()

    def _fresh(self, step: int, lanes: range) -> State:
        return self.import_state(draws.fresh_state(self.config, self.train_config, step, lanes))

    def _folded(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters with each bias pair summed into one (a GRU's second holds r and z only)."""
        folded = {name: p for name, p in params.items() if not name.endswith(_PAIR)}
        for name in params.keys() - folded.keys():
            bias = folded[name.removesuffix(_PAIR)]
            folded[name.removesuffix(_PAIR)] = bias + F.pad(params[name], (0, len(bias) - len(params[name])))
        return folded

    def _clip(self, gradients: list[Tensor], norm: Tensor) -> None:
        clip_norm, clip_value = self.train_config.clip_norm, self.train_config.clip_value
        if clip_norm is not None and not (self.watchful and float(norm) <= clip_norm):
            torch._foreach_mul_(gradients, (clip_norm / norm).clamp(max=1.0))
        if clip_value is not None:
            torch._foreach_clamp_min_(gradients, -clip_value)
            torch._foreach_clamp_max_(gradients, clip_value)

    @torch.no_grad()
    def _update_average(self, share: float | Tensor) -> None:
        if self.average is None:
            return
        average, params = list(self.average.values()), list(self.params.values())
        if isinstance(share, float):
            torch._foreach_lerp_(average, params, share)
        else:
            way = torch._foreach_sub(params, average)
            torch._foreach_mul_(way, share)
            torch._foreach_add_(average, way)
