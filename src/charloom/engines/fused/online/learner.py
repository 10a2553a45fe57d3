"""Online training: one stream, updated so often that only a compiled loop is fast enough.

`advance` gathers text, initial states and learning rates for a range of steps and calls one compiled function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from ctypes import byref
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, State, draws
from charloom.engines.checks import diverged
from charloom.engines.contract import NumpyStates, parameter_updates
from charloom.engines.fused.model import DTYPES, FusedModel, check_ids
from charloom.engines.fused.online.layout import Layout, padded
from charloom.engines.fused.online.memory import Vectors, new_pending, new_tape
from charloom.engines.fused.online.step_ranges import StepRange, gather_step_range, split_steps
from charloom.engines.fused.online.support import check_training
from charloom.engines.fused.online.updates import counts_updates, moment_names, update_rule
from charloom.engines.fused.packing import aligned
from charloom.kernels.library import ACTIVATIONS, library, pointer, struct
from charloom.schedule import Knots
from charloom.text.batching import Plan

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class FusedLearner(NumpyStates):
    """The `Learner` of the contract, for plain Elman networks of one layer and batches of one row.

    Other settings raise a ConfigError.
    """

    def __init__(self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig) -> None:
        check_training(config, train_config)
        self.config, self.train_config = config, train_config
        self.dtype = DTYPES[train_config.precision]
        self.layout = Layout(config, len(params["out.bias"]))
        w, average = (self.layout.flat(params, self.dtype) for _ in range(2))
        g, first, second = (aligned(w.shape, self.dtype) for _ in range(3))
        averages = train_config.average_decay is not None
        self._vectors = Vectors(w, g, first, second, average if averages else average[:0])
        self._tape = new_tape(self.layout, train_config.bptt_length, self.dtype)
        self._pending = new_pending(self.layout, self.dtype)
        self.count, self.has_moments = 0, False
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))
        compiled = library()
        assert compiled is not None, "load_engine asks first"
        name = "update_characters" if self._is_outer() else "update_windows"
        self._update = compiled.function(name, train_config.precision)

    def set_progress(self, knots: Knots) -> None:
        """Set the map from step to progress that drives the learning-rate schedule."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state of the given global lanes before their first window."""
        return self.import_state(draws.reset_state(self.config, self.train_config, 0, lanes))

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows, starting at `first_step`."""
        h, measured, before = aligned((padded(self.layout.hidden_size),), self.dtype), [], {}
        h[: self.layout.hidden_size] = state[0]["h"][0]
        ranges = list(split_steps(plan, first_step, num_steps - observe))
        if observe:
            ranges.append(range(first_step + num_steps - 1, first_step + num_steps))
        for steps in ranges:
            if observe and steps == ranges[-1]:
                before = {name: np.array(p) for name, p in self.layout.named(self._vectors.w).items()}
            step_range = gather_step_range(self.config, self.train_config, self.knots, plan, steps)
            check_ids(step_range.text, self.layout.vocab_size)
            done = self._run_updates(step_range, h)
            if done < len(steps):
                params = self.layout.named(self._vectors.w)
                raise diverged(steps[done], float(step_range.loss[done]), self._non_finite(), params)
            measured.append(step_range)
        loss, grad_norm, lengths = (
            np.concatenate([getattr(step_range, name) for step_range in measured])
            for name in ("loss", "grad_norm", "lengths")
        )
        chars = np.ones_like(lengths) if self.train_config.objective == "last" else lengths
        update = None
        if observe:
            after = self.layout.named(self._vectors.w)
            update = parameter_updates(before, after, self._grad_norms(float(grad_norm[-1])))
        return [{"h": h[None, : self.layout.hidden_size]}], Metrics(loss, grad_norm, chars, update)

    def tensors(self) -> dict[str, Array]:
        """The contents of a checkpoint, with torch's names of moments; no moments before the first update."""
        groups = {"param": self.layout.named(self._vectors.w)}
        if self.has_moments:
            groups["moment"] = self._moments()
        if self.train_config.average_decay is not None:
            groups["average"] = self.layout.named(self._vectors.average)
        return {
            f"{group}.{name}": np.array(x, order="C")
            for group, named in groups.items()
            for name, x in named.items()
        }

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Restore what `tensors` returned, in this or another engine."""
        named = {"param": self.layout.named(self._vectors.w)}
        if self.train_config.average_decay is not None:
            named["average"] = self.layout.named(self._vectors.average)
        self.has_moments = any(name.startswith("moment.") for name in tensors)
        if self.has_moments:
            named["moment"] = {n: x for n, x in self._moments().items() if not n.endswith(".step")}
        counts = [int(x) for name, x in tensors.items() if name.endswith(".step")]
        self.count = max(counts, default=0)
        if not self.has_moments:
            for moment in (self._vectors.first, self._vectors.second):
                moment[:] = 0
        for group, views in named.items():
            for name, view in views.items():
                view[...] = tensors[f"{group}.{name}"]

    def model(self) -> FusedModel:
        """The model to validate and save, with the averaged weights if averaging is on."""
        averages = self.train_config.average_decay is not None
        flat = self._vectors.average if averages else self._vectors.w
        return FusedModel(self.layout.named(flat), self.config, precision=self.train_config.precision)

    def _run_updates(self, step_range: StepRange, h: Float[Array, "H'"]) -> int:
        """Take updates until a number is not finite; return how many were taken."""
        layout, vectors = self.layout, self._vectors
        objective, tape = _objective(self.config, self.train_config), self._tape.struct()
        weights, steps = layout.struct(vectors.w), step_range.struct()
        if self._is_outer():
            structs = [objective, weights, tape, self._pending.struct(), steps]
            done = self._update(*map(byref, structs), pointer(h))
        else:
            rule, gradients = update_rule(self.train_config), layout.struct(vectors.g)
            structs = [objective, rule, vectors.struct(layout), weights, gradients, tape, steps]
            done = self._update(*map(byref, structs), pointer(h), self.count)
        self.count += done
        self.has_moments |= done > 0
        return int(done)

    def _is_outer(self) -> bool:
        """Whether every gradient is a plain outer product, as `update_characters` requires."""
        config = self.train_config
        plain = config.optimizer == "sgd" and config.momentum == 0 and config.weight_decay == 0
        bent = config.clip_value is not None or config.average_decay is not None
        return config.bptt_length == 1 and plain and not bent and self.config.embedding_size is None

    def _non_finite(self) -> dict[str, int]:
        """The number of non-finite elements in each gradient at the failed step; clears the gradients."""
        g, tape, H = self.layout.views(self._vectors.g), self._tape, self.layout.hidden_size
        if self._is_outer():
            d_a, d_y, before, h = (
                tape.a[0, :H],
                tape.y[0, : self.layout.vocab_size],
                tape.before[0, :H],
                tape.h[0, :H],
            )
            g.w_hh[...], g.w_out[...] = np.outer(d_a, before), np.outer(d_y, h)
            g.table[...] = g.bias[...] = d_a
            g.out_bias[...] = d_y
        counts = {n: int((~np.isfinite(x)).sum()) for n, x in self.layout.named(self._vectors.g).items()}
        self._vectors.g[:] = 0
        return counts

    def _grad_norms(self, total: float) -> dict[str, float]:
        """The gradient norm of every parameter in the last update, whose norm over all is `total`."""
        table = "layers.0.cell.w_ih" if self.config.embedding_size is None else "embedding"
        if self._is_outer():
            # the pending update is rate · d and the other factor of the outer product
            d_a, before, d_y, h = (float(np.linalg.norm(x)) for x in self._pending)
            rate = math.hypot(d_a * before, d_a, d_a, d_y * h, d_y)
            norms = dict.fromkeys(self.layout.shapes, 0.0)
            norms |= {table: d_a, "layers.0.cell.w_hh": d_a * before, "layers.0.cell.bias": d_a}
            norms |= {"out.weight": d_y * h, "out.bias": d_y}
            return {name: norm * total / rate if rate > 0 else 0.0 for name, norm in norms.items()}
        norms = {name: float(np.linalg.norm(g)) for name, g in self.layout.named(self._vectors.g).items()}
        # the loop resets the table's part of the gradient to zero and keeps the others
        norms[table] = math.sqrt(max(0.0, total**2 - math.fsum(norm**2 for norm in norms.values())))
        return norms

    def _moments(self) -> dict[str, Any]:
        """Every moment as ``name.key``, as a view, and the number of updates as ``name.step``."""
        named: dict[str, Any] = {}
        for key, flat in zip(moment_names(self.train_config), self._vectors[2:4], strict=True):
            if key is not None:
                named |= {f"{name}.{key}": x for name, x in self.layout.named(flat).items()}
        if counts_updates(self.train_config):
            named |= {f"{name}.step": np.float32(self.count) for name in self.layout.shapes}
        return named


def _objective(config: ModelConfig, train_config: TrainConfig) -> Any:
    """The function that is differentiated, and the clipping of its gradient."""
    return struct(
        "Objective",
        activation=ACTIVATIONS[config.activation],
        last=train_config.objective == "last",
        sums=train_config.loss == "sum",
        clip_norm=math.inf if train_config.clip_norm is None else train_config.clip_norm,
    )
