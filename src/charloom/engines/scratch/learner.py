"""A network in training in NumPy: window → loss → gradient → clip → optimiser → average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, Signal, State, diverged, draws, frozen_parameters, signals, state_like
from charloom.engines.scratch import loss, network
from charloom.engines.scratch.model import ScratchModel
from charloom.engines.scratch.optimisers import Flat, Optimiser
from charloom.parameters import initial_bias_pair
from charloom.schedule import Knots, average_decay, learning_rate
from charloom.text.windows import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

_PAIR = "_pair"


class ScratchLearner:
    """The `Learner` of the contract.

    Args:
        params: initial parameters.
        config: the network, of plain blocks.
        train_config: objective, optimiser, clipping, averaging, dropout seed, precision.
    """

    def __init__(self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig) -> None:
        self.config, self.train_config = config, train_config
        self.dtype = np.dtype("float64" if train_config.precision == "float64" else "float32")
        self.vocab_size = len(params["out.bias"])
        values = dict(params)
        if train_config.bias == "pair":
            values |= initial_bias_pair(config, self.vocab_size, train_config.seed)
        self.flat = Flat(values, self.dtype)
        self.params = self.flat.views(self.flat.vector)
        self.frozen = frozen_parameters(train_config, self.params)
        self.optimiser = Optimiser(self.flat, train_config, frozen=self.frozen)
        self.average = self.flat.vector.copy() if train_config.average_decay is not None else None
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))
        self._gradient = np.empty_like(self.flat.vector)
        self._drops = draws.has_dropout(config)
        self._observed: dict[str, float] | None = None  # gradient norms of the update being observed

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
                state = self.model_state(len(window.inputs))
            state, *numbers = self._update(step, window, state)
            measured.append(numbers)
        losses, grad_norm, chars = np.array(measured).T
        return state, Metrics(losses, grad_norm, chars.astype(np.int64))

    def gradients(
        self, step: int, window: Window, state: State
    ) -> tuple[float, int, dict[str, Array], State]:
        """One window forward and back.

        Returns:
            The summed loss of its predictions, their number, the gradient of the objective in every parameter, and the
            state behind the window: its gradient is cut here.
        """
        last_only = self.train_config.objective == "last"
        lanes = range(len(window.inputs))
        params = self._folded(self.params)
        kept = self._kept_weights(step, params)
        params = params | {name: params[name] * scale for name, scale in kept.items()}
        logits, after, tape = network.forward(
            self.config,
            params,
            window.inputs.T,
            state,
            resets=window.resets.T if window.resets.any() else None,
            fresh=self._fresh(step, lanes) if self.train_config.initial_state == "normal" else None,
            masks=draws.Masks(self.config, self.train_config.seed, step, lanes) if self._drops else None,
            last_only=last_only,
            record=True,
        )
        assert tape is not None
        targets = window.targets.T[-1:] if last_only else window.targets.T
        log_p = loss.log_softmax(logits)
        total, d_y = loss.losses(log_p, targets).sum(), loss.backward(log_p, targets)
        if self.train_config.loss == "mean":
            d_y /= targets.size
        gradients, _ = network.backward(self.config, params, tape, d_y)
        for name, scale in kept.items():
            gradients[name] *= scale
        for name in (
            self.params.keys() - params.keys()
        ):  # both biases of a pair have the gradient of their sum
            gradients[name] = gradients[name.removesuffix(_PAIR)][: len(self.params[name])]
        gradients |= {name: np.zeros_like(self.params[name]) for name in self.frozen}
        return float(total), targets.size, gradients, after

    def _kept_weights(self, step: int, params: Mapping[str, Array]) -> dict[str, Array]:
        """What each recurrent weight is multiplied with in this window; empty where all stay."""
        scale = draws.Masks(self.config, self.train_config.seed, step, range(0)).scale("recurrent")
        shapes = {name: p.shape for name, p in params.items()}
        kept = draws.kept_weights(self.config, self.train_config.seed, step, shapes)
        return {name: mask * params[name].dtype.type(scale) for name, mask in kept.items()}

    def tensors(self) -> dict[str, Array]:
        """All that a checkpoint holds."""
        tensors = {f"param.{name}": p.copy() for name, p in self.params.items()}
        tensors |= {f"moment.{name}": x for name, x in self.optimiser.tensors().items()}
        if self.average is not None:
            tensors |= {f"average.{n}": x.copy() for n, x in self.flat.views(self.average).items()}
        return tensors

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Continue from what `tensors` returned."""
        for name, p in self.params.items():
            p[...] = tensors[f"param.{name}"]
        prefix = "moment."
        self.optimiser.load({n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)})
        if self.average is not None:
            for name, view in self.flat.views(self.average).items():
                view[...] = tensors[f"average.{name}"]

    def model(self) -> ScratchModel:
        """The model to validate and ship: the averaged weights where averaging is on."""
        source = self.flat.vector if self.average is None else self.average
        return ScratchModel(self._folded(self.flat.views(source.copy())), self.config, self.vocab_size)

    def observe(self, plan: Plan, step: int, state: State) -> tuple[State, Metrics, dict[str, Signal]]:
        """Take one update as `advance` does, to the bit, and say what it did to every parameter."""
        before = {name: p.copy() for name, p in self.params.items()}
        self._observed = {}
        state, metrics = self.advance(plan, step, 1, state)
        grad_norms, self._observed = self._observed, None
        return state, metrics, signals(before, self.params, grad_norms)

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves of its own."""
        return state_like(state, np.array)

    def import_state(self, state: State) -> State:
        """The state in this learner's precision."""
        return state_like(state, lambda x: np.array(x, self.dtype))

    def model_state(self, batch_size: int) -> State:
        """The all-zero state."""
        return ScratchModel(self.params, self.config, self.vocab_size).initial_state(batch_size)

    def _update(self, step: int, window: Window, state: State) -> tuple[State, float, float, int]:
        d = self._gradient
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below, by name
            total, count, gradients, after = self.gradients(step, window, state)
            self.flat.gather(gradients, d)
            mean, norm = total / count, float(np.sqrt(d @ d))
        if not (np.isfinite(mean) and np.isfinite(norm)):
            raise diverged(step, mean, {n: int((~np.isfinite(g)).sum()) for n, g in gradients.items()})
        if self._observed is not None:
            self._observed = {n: float(np.linalg.norm(g)) for n, g in self.flat.views(d).items()}
        self._clip(d, norm)
        self.optimiser.step(d, learning_rate(self.train_config, self.knots, step))
        self._update_average(step)
        return after, mean, norm, count

    def _fresh(self, step: int, lanes: range) -> State:
        return self.import_state(draws.fresh_state(self.config, self.train_config, step, lanes))

    def _folded(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters with each bias pair summed into one (a GRU's second holds r and z only)."""
        folded = {name: p for name, p in params.items() if not name.endswith(_PAIR)}
        for name in params.keys() - folded.keys():
            bias = folded[name.removesuffix(_PAIR)] = folded[name.removesuffix(_PAIR)].copy()
            bias[: len(params[name])] += params[name]
        return folded

    def _clip(self, d: Float[Array, "P"], norm: float) -> None:
        clip_norm, clip_value = self.train_config.clip_norm, self.train_config.clip_value
        if clip_norm is not None and norm > clip_norm:
            d *= clip_norm / norm
        if clip_value is not None:
            np.clip(d, -clip_value, clip_value, out=d)

    def _update_average(self, step: int) -> None:
        if self.average is not None:
            self.average += (1 - average_decay(self.train_config, step)) * (self.flat.vector - self.average)
