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
from charloom.engines import Metrics, State, kernels, state_like
from charloom.engines.torch import network
from charloom.engines.torch.model import DTYPES, TorchModel, export_state, to_numpy, zero_state
from charloom.engines.torch.optimisers import Optimiser
from charloom.errors import DivergedError
from charloom.parameters import initial_bias_pair, state_shapes
from charloom.rng import Purpose, normals, random_bits
from charloom.schedule import Knots, learning_rate
from charloom.text.windows import Plan, Window

if TYPE_CHECKING:
    from numpy import ndarray as Array
    from torch import Tensor

_SITES = {"input": 0, "layer": 1, "branch": 2, "output": 3, "char": 4}
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
        self.optimiser = Optimiser(self.params, train_config)
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
        gradients = torch.autograd.grad(objective, list(self.params.values()))
        norm = torch.stack(torch._foreach_norm(list(gradients))).norm()
        loss, grad_norm = float(total.detach()) / count, float(norm)
        if not (np.isfinite(loss) and np.isfinite(grad_norm)):
            raise self._diverged(step, loss, gradients)
        self._clip(gradients, norm)
        for p, gradient in zip(self.params.values(), gradients, strict=True):
            p.grad = gradient
        self.optimiser.step(learning_rate(self.train_config, self.knots, step))
        self._update_average(step)
        return after, loss, grad_norm, count

    def _loss(self, step: int, window: Window, state: State) -> tuple[Tensor, int, State]:
        """The summed loss of the window's predictions, their number, and the state with its gradient cut."""
        lanes = range(len(window.inputs))
        targets = torch.as_tensor(window.targets, device=self.device)
        last_only = self.train_config.objective == "last"
        drops = any(getattr(self.config, f"dropout_{site}") > 0 for site in _SITES)
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
        if self.train_config.initial_state == "zeros":
            return zero_state(self.config, len(lanes), self.device, self.dtype)
        shapes = [
            (i, key, shape)
            for i, layer in enumerate(state_shapes(self.config))
            for key, shape in layer.items()
        ]
        sizes = [int(np.prod(shape)) for _, _, shape in shapes]
        seed, scale = self.train_config.seed, self.train_config.initial_state_scale
        draws = np.split(
            normals(seed, Purpose.STATE, step, lanes, sum(sizes)) * scale, np.cumsum(sizes)[:-1], axis=1
        )
        state: State = [{} for _ in range(self.config.num_layers)]
        for (i, key, shape), block in zip(shapes, draws, strict=True):
            state[i][key] = self._tensor(block.reshape(len(lanes), *shape))
        return state

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
        if self.average is None or self.train_config.average_decay is None:
            return
        decay = min(self.train_config.average_decay, (1 + step) / (10 + step))  # young averages forget faster
        torch._foreach_lerp_(list(self.average.values()), list(self.params.values()), 1 - decay)

    def _diverged(self, step: int, loss: float, gradients: tuple[Tensor, ...]) -> DivergedError:
        bad = [n for n, g in zip(self.params, gradients, strict=True) if not bool(torch.isfinite(g).all())]
        what = f"the gradient of {bad[0]} is not finite" if bad else f"the loss is {loss}"
        return DivergedError(
            f"step {step}: {what}",
            why="training cannot go on from numbers that are not finite",
            fix="lower --learning-rate, or set --clip-norm 1; what was saved before is kept",
        )


class _Masks:
    """Dropout as a function of (seed, site, step, lane): `network.Dropout` for one window."""

    def __init__(self, config: ModelConfig, seed: int, step: int, lanes: range) -> None:
        self.config, self.seed, self.step, self.lanes = config, seed, step, lanes
        self.branches: dict[int, int] = {}

    def __call__(self, site: str, layer: int, x: Tensor) -> Tensor:
        rate = getattr(self.config, f"dropout_{site}")
        if rate == 0:
            return x
        turn = self.branches[layer] = self.branches.get(layer, -1) + 1 if site == "branch" else 0
        purpose = Purpose.DROPOUT + _SITES[site] + 8 * turn + 256 * layer
        B, T, W = (*x.shape[:2], 1) if site == "char" else x.shape
        threshold = round(rate * 65536)
        scaled: Tensor = (
            x * self._kept(purpose, (B, T, W), threshold, x.device) * (1 / (1 - threshold / 65536))
        )
        return scaled

    def _kept(
        self, purpose: int, shape: tuple[int, int, int], threshold: int, device: torch.device
    ) -> Tensor:
        """True where an element stays; on another device torch's generator draws, seeded by the same address."""
        B, T, W = shape
        if device.type == "cpu":
            halves = kernels.random_halves(self.seed, purpose, self.step, self.lanes, T * W)
            return torch.from_numpy((halves >= threshold).reshape(B, T, W))
        low, high = random_bits(self.seed, purpose, self.step, [self.lanes.start], 2)[0].tolist()
        generator = torch.Generator(device).manual_seed(low + (high << 31))
        return torch.rand(shape, device=device, generator=generator) >= threshold / 65536
