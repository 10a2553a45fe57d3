"""A network in training on torch: windows in, updated parameters and metrics out.

One step: window → loss → gradient → clip → optimiser → average. Everything random in it is a function of
(seed, step, lane), so a stretch may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, State, diverged, draws, frozen_parameters, state_like
from charloom.engines.torch import network
from charloom.engines.torch.model import DTYPES, TorchModel, export_state, to_numpy, zero_state
from charloom.engines.torch.optimisers import Optimiser
from charloom.parameters import initial_bias_pair
from charloom.rng import random_bits
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
        self.optimiser = Optimiser(
            {name: p for name, p in self.params.items() if name not in self.frozen}, train_config
        )
        averages = train_config.average_decay is not None
        self.average = {n: p.detach().clone() for n, p in self.params.items()} if averages else None
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))

    def set_progress(self, knots: Knots) -> None:
        """Set the map from step to progress that the learning rate follows."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""
        return self._fresh(0, lanes)

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows from `first_step` on."""
        lanes = range(plan.batch_size)
        measured = []
        for step in range(first_step, first_step + num_steps):
            window = plan.window(step, lanes)
            if not plan.carries:
                state = zero_state(self.config, len(window.inputs), self.device, self.dtype)
            state, *numbers = self._update(step, window, state)
            measured.append(numbers)
        loss, grad_norm, chars = np.array(measured).T
        return state, Metrics(loss, grad_norm, chars.astype(np.int64))

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

    def model(self) -> TorchModel:
        """The model to validate and ship: the averaged weights where averaging is on."""
        source = self.average if self.average is not None else self.params
        return TorchModel(
            self._folded({n: p.detach().clone() for n, p in source.items()}), self.config, self.vocab_size
        )

    def parameter_norms(self) -> dict[str, float]:
        """The L2 norm of every parameter."""
        return {name: float(p.detach().norm()) for name, p in self.params.items()}

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""
        return export_state(state)

    def import_state(self, state: State) -> State:
        """The state with torch leaves, from NumPy ones."""
        return state_like(state, self._tensor)

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.array(array), dtype=self.dtype, device=self.device)

    def _update(self, step: int, window: Window, state: State) -> tuple[State, float, float, int]:
        total, count, after = self._loss(step, window, state)
        objective = total if self.train_config.loss == "sum" else total / count
        # fused optimisers walk through memory: a gradient in another layout would move the wrong elements
        found = torch.autograd.grad(objective, list(self.optimiser.params.values()))
        gradients = tuple(gradient.contiguous() for gradient in found)
        norm = torch.stack(torch._foreach_norm(list(gradients))).norm()
        loss, grad_norm = float(total.detach()) / count, float(norm)
        if not (np.isfinite(loss) and np.isfinite(grad_norm)):
            finite = [bool(torch.isfinite(g).all()) for g in gradients]
            raise diverged(step, loss, dict(zip(self.optimiser.params, finite, strict=True)))
        self._clip(gradients, norm)
        for p, gradient in zip(self.optimiser.params.values(), gradients, strict=True):
            p.grad = gradient
        self.optimiser.step(learning_rate(self.train_config, self.knots, step))
        self._update_average(step)
        return after, loss, grad_norm, count

    def _loss(self, step: int, window: Window, state: State) -> tuple[Tensor, int, State]:
        """The summed loss of the window's predictions, their number, and the state with its gradient cut."""
        lanes = range(len(window.inputs))
        targets = torch.as_tensor(window.targets, device=self.device)
        last_only = self.train_config.objective == "last"
        drops = draws.has_dropout(self.config)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.train_config.precision == "bfloat16"
        ):
            logits, after = network.forward(
                self.config,
                self._folded(self.params),
                torch.as_tensor(window.inputs, device=self.device),
                state,
                resets=torch.as_tensor(window.resets, device=self.device) if window.resets.any() else None,
                fresh=self._fresh(step, lanes) if self.train_config.initial_state == "normal" else None,
                dropout=_Masks(self.config, self.train_config.seed, step, lanes)
                if drops
                else network.no_dropout,
                last_only=last_only,
            )
        targets = targets[:, -1:] if last_only else targets
        total = F.cross_entropy(logits.flatten(0, 1).to(self.dtype), targets.flatten(), reduction="sum")
        return total, targets.numel(), state_like(after, lambda x: x.detach().to(self.dtype))

    def _fresh(self, step: int, lanes: range) -> State:
        return self.import_state(draws.fresh_state(self.config, self.train_config, step, lanes))

    def _folded(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters with each bias pair summed into one (a GRU's second holds r and z only)."""
        folded = {name: p for name, p in params.items() if not name.endswith(_PAIR)}
        for name in params.keys() - folded.keys():
            bias = folded[name.removesuffix(_PAIR)]
            folded[name.removesuffix(_PAIR)] = bias + F.pad(params[name], (0, len(bias) - len(params[name])))
        return folded

    def _clip(self, gradients: tuple[Tensor, ...], norm: Tensor) -> None:
        clip_norm, clip_value = self.train_config.clip_norm, self.train_config.clip_value
        if clip_norm is not None and float(norm) > clip_norm:
            torch._foreach_mul_(list(gradients), clip_norm / float(norm))
        if clip_value is not None:
            torch._foreach_clamp_min_(list(gradients), -clip_value)
            torch._foreach_clamp_max_(list(gradients), clip_value)

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        if self.average is None:
            return
        decay = average_decay(self.train_config, step)
        torch._foreach_lerp_(list(self.average.values()), list(self.params.values()), 1 - decay)


class _Masks:
    """Dropout as a function of (seed, site, step, lane): `network.Dropout` for one window."""

    def __init__(self, config: ModelConfig, seed: int, step: int, lanes: range) -> None:
        self.masks = draws.Masks(config, seed, step, lanes)

    def __call__(self, site: str, layer: int, x: Tensor) -> Tensor:
        if self.masks.threshold(site) == 0:
            return x
        dropped: Tensor = x * self._kept(site, layer, x) * self.masks.scale(site)
        return dropped

    def _kept(self, site: str, layer: int, x: Tensor) -> Tensor:
        """True where an element stays; on another device torch's generator draws, seeded by the same address."""
        if x.device.type == "cpu":
            return torch.from_numpy(self.masks.kept(site, layer, *x.shape[1:]))
        purpose, lane = self.masks.purpose(site, layer), self.masks.lanes.start
        low, high = random_bits(self.masks.seed, purpose, self.masks.step, [lane], 2)[0].tolist()
        generator = torch.Generator(x.device).manual_seed(low + (high << 31))
        shape = (*x.shape[:2], 1) if site == "char" else x.shape
        return torch.rand(shape, device=x.device, generator=generator) >= self.masks.threshold(site) / 65536
