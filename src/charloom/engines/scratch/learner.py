"""Training in NumPy: window → loss → gradient → clip → optimiser → average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, State, draws
from charloom.engines.checks import count_non_finite, diverged, frozen_parameters
from charloom.engines.contract import NumpyStates, parameter_updates, zero_state
from charloom.engines.scratch import loss, network
from charloom.engines.scratch.model import ScratchModel
from charloom.engines.scratch.optimisers import Flat, Optimiser
from charloom.parameters import initial_bias_pair
from charloom.schedule import Knots, average_decay, learning_rate
from charloom.text.batching import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

_PAIR = "_pair"


class ScratchLearner(NumpyStates):
    """The `Learner` of the contract, for networks of plain blocks."""

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

    def set_progress(self, knots: Knots) -> None:
        """Set the map from step to progress that drives the learning-rate schedule."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state of the given global lanes before their first window."""
        return self.reset_state(0, lanes)

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows, starting at `first_step`."""
        lanes, last = range(plan.batch_size), first_step + num_steps - 1
        d, measured, before, update = self._gradient, [], None, None
        for step in range(first_step, last + 1):
            if observe and step == last:
                before = {name: p.copy() for name, p in self.params.items()}
            window = plan.window(step, lanes)
            start = state if plan.carries else zero_state(self.config, len(window.inputs), self.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are refused below, by name
                total, count, gradients, state = self.gradients(step, window, start)
                self.flat.gather(gradients, d)
                mean, norm = total / count, float(np.sqrt(d @ d))
            if not (np.isfinite(mean) and np.isfinite(norm)):
                raise diverged(step, mean, count_non_finite(gradients), self.params)
            grad_norms = (
                {n: float(np.linalg.norm(g)) for n, g in self.flat.views(d).items()} if before else {}
            )
            self._clip(d, norm)
            self.optimiser.step(d, learning_rate(self.train_config, self.knots, step))
            self._update_average(step)
            update = parameter_updates(before, self.params, grad_norms) if before else None
            measured.append((mean, norm, count))
        losses, norms, chars = np.array(measured).T
        return state, Metrics(losses, norms, chars.astype(np.int64), update)

    def gradients(
        self, step: int, window: Window, state: State
    ) -> tuple[float, int, dict[str, Array], State]:
        """Run one window forward and backward.

        Returns:
            The summed loss of the predictions, their number, the gradient of the objective in every
            parameter, and the state after the window, where the gradient is cut.
        """
        last_only = self.train_config.objective == "last"
        lanes = range(len(window.inputs))
        params = self._folded(self.params)
        kept = self._kept_weights(step, params)
        params = params | {name: params[name] * scale for name, scale in kept.items()}
        start = self.reset_state(step, lanes) if self.train_config.initial_state == "normal" else None
        logits, after, tape = network.forward(
            self.config,
            params,
            window.inputs.T,
            state,
            resets=window.resets.T if window.resets.any() else None,
            reset_state=start,
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
        # both biases of a pair have the gradient of their sum
        for name in self.params.keys() - params.keys():
            gradients[name] = gradients[name.removesuffix(_PAIR)][: len(self.params[name])]
        gradients |= {name: np.zeros_like(self.params[name]) for name in self.frozen}
        return float(total), targets.size, gradients, after

    def _kept_weights(self, step: int, params: Mapping[str, Array]) -> dict[str, Array]:
        """The dropout factors of the recurrent weights in this window, by parameter."""
        scale = draws.Masks(self.config, self.train_config.seed, step, range(0)).scale("recurrent")
        shapes = {name: p.shape for name, p in params.items()}
        kept = draws.kept_weights(self.config, self.train_config.seed, step, shapes)
        return {name: mask * params[name].dtype.type(scale) for name, mask in kept.items()}

    def tensors(self) -> dict[str, Array]:
        """The contents of a checkpoint."""
        tensors = {f"param.{name}": p.copy() for name, p in self.params.items()}
        tensors |= {f"moment.{name}": x for name, x in self.optimiser.tensors().items()}
        if self.average is not None:
            tensors |= {f"average.{n}": x.copy() for n, x in self.flat.views(self.average).items()}
        return tensors

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Restore what `tensors` returned."""
        for name, p in self.params.items():
            p[...] = tensors[f"param.{name}"]
        prefix = "moment."
        self.optimiser.load({n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)})
        if self.average is not None:
            for name, view in self.flat.views(self.average).items():
                view[...] = tensors[f"average.{name}"]

    def model(self) -> ScratchModel:
        """The model to validate and save, with the averaged weights if averaging is on."""
        source = self.flat.vector if self.average is None else self.average
        return ScratchModel(self._folded(self.flat.views(source.copy())), self.config, self.vocab_size)

    def reset_state(self, step: int, lanes: range) -> State:
        """The state of lanes after a reset."""
        return self.import_state(draws.reset_state(self.config, self.train_config, step, lanes))

    def _folded(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters with each bias pair summed into one bias (the second of a GRU has r and z only)."""
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
