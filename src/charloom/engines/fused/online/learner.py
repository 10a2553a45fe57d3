"""A network in online training: one stream, updated so often that only a compiled loop keeps up.

`advance` finds the stretch's text, initial states and learning rates, then hands all of it to one compiled call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, Signal, State, diverged, draws, signals, state_like
from charloom.engines.fused.model import DTYPES, FusedModel, check_ids
from charloom.engines.fused.online.elman import new_tape
from charloom.engines.fused.online.layout import Layout
from charloom.engines.fused.online.stretches import gather, nothing, pieces
from charloom.engines.fused.online.support import check_training
from charloom.engines.fused.online.updates import counts_updates, moment_names, rule_of
from charloom.engines.fused.online.walks import Goal, Stretch, Vectors, Waiting, walk_characters, walk_windows
from charloom.engines.fused.packing import aligned
from charloom.engines.kernels.functions import ACTIVATIONS
from charloom.schedule import Knots
from charloom.text.windows import Plan

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


class FusedLearner:
    """The `Learner` of the contract, for plain Elman networks of one layer and batches of one row.

    Args:
        params: initial parameters, NumPy; they are copied.
        config: the network.
        train_config: objective, optimiser, clipping, averaging, seed of the initial states, precision.

    Raises:
        ConfigError: what this trainer does not train.
    """

    def __init__(self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig) -> None:
        check_training(config, train_config)
        self.config, self.train_config = config, train_config
        self.dtype = DTYPES[train_config.precision]
        self.layout = Layout(config, len(params["out.bias"]))
        self._rule = rule_of(train_config)
        self._goal = _goal(config, train_config)
        w, average = (self.layout.flat(params, self.dtype) for _ in range(2))
        g, first, second = (aligned(w.shape, self.dtype) for _ in range(3))
        averages = train_config.average_decay is not None
        self._vectors = Vectors(w, g, first, second, average if averages else average[:0])
        self._weights, self._gradients = self.layout.views(w), self.layout.views(self._vectors.g)
        self._tape = new_tape(self._weights, train_config.bptt_length)
        self.count, self.has_moments = 0, False
        self.knots: Knots = ((0, 0.0), (max(1, train_config.steps or 1), 1.0))
        # compiles the walk, or finds it on disk, before any time is taken
        self._walk(nothing(config, train_config), np.zeros(config.hidden_size, self.dtype))

    def set_progress(self, knots: Knots) -> None:
        """Set the map from step to progress that the learning rate follows."""
        self.knots = knots

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""
        return self.import_state(draws.fresh_state(self.config, self.train_config, 0, lanes))

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows from `first_step` on."""
        h, measured = np.array(state[0]["h"][0], self.dtype), []
        for steps in pieces(plan, first_step, num_steps):
            stretch = gather(self.config, self.train_config, self.knots, plan, steps)
            check_ids(stretch.text, len(self._weights.out_bias))
            done = self._walk(stretch, h)
            if done < len(steps):
                raise diverged(steps[done], float(stretch.loss[done]), self._non_finite())
            measured.append(stretch)
        loss, grad_norm, lengths = (
            np.concatenate([getattr(stretch, name) for stretch in measured])
            for name in ("loss", "grad_norm", "lengths")
        )
        chars = np.ones_like(lengths) if self._goal.last else lengths
        return [{"h": h[None]}], Metrics(loss, grad_norm, chars)

    def tensors(self) -> dict[str, Array]:
        """All that a checkpoint holds; moments under torch's names for them, and none before the first update."""
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
        """Continue from what `tensors` returned, here or in another engine."""
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
        """The model to validate and ship: the averaged weights where averaging is on."""
        averages = self.train_config.average_decay is not None
        flat = self._vectors.average if averages else self._vectors.w
        return FusedModel(self.layout.named(flat), self.config, precision=self.train_config.precision)

    def observe(self, plan: Plan, step: int, state: State) -> tuple[State, Metrics, dict[str, Signal]]:
        """Take one update as `advance` does, to the bit, and say what it did to every parameter."""
        before = {name: np.array(p) for name, p in self.layout.named(self._vectors.w).items()}
        state, metrics = self.advance(plan, step, 1, state)
        after = self.layout.named(self._vectors.w)
        return state, metrics, signals(before, after, self._grad_norms(float(metrics.grad_norm[0])))

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves: copies."""
        return state_like(state, np.array)

    def import_state(self, state: State) -> State:
        """The state in this learner's precision: copies."""
        return state_like(state, lambda x: np.array(x, self.dtype))

    def _walk(self, stretch: Stretch, h: Float[Array, "H"]) -> int:
        """Take the updates; returns how many before a number was not finite."""
        if self._is_outer():
            outputs = self._weights.out_bias.shape
            shapes = (h.shape, h.shape, outputs, h.shape)
            self._waiting = Waiting(*(aligned(shape, self.dtype) for shape in shapes))
            done = walk_characters(self._goal, self._weights, self._tape, self._waiting, stretch, h)
        else:
            bounds = np.array([self.layout.table_end, self.layout.matrices_end, self._weights.table.shape[1]])
            done = walk_windows(
                self._goal,
                self._rule,
                self._vectors,
                self._weights,
                self._gradients,
                bounds,
                self._tape,
                stretch,
                h,
                self.count,
            )
        self.count += done
        self.has_moments |= done > 0
        return done

    def _is_outer(self) -> bool:
        """Whether every gradient is an outer product that no rule bends: see `online.walk_characters`."""
        config = self.train_config
        plain = config.optimizer == "sgd" and config.momentum == 0 and config.weight_decay == 0
        bent = config.clip_value is not None or config.average_decay is not None
        return config.bptt_length == 1 and plain and not bent and self.config.embedding_size is None

    def _non_finite(self) -> dict[str, int]:
        """How many elements of each parameter's gradient were not finite where the walk stopped; leaves the gradient zero."""
        g, tape = self._gradients, self._tape
        if self._is_outer():
            d_a, d_y = tape.a[0], tape.y[0]
            g.w_hh[...], g.w_out[...] = np.outer(d_a, tape.before[0]), np.outer(d_y, tape.h[0])
            g.table[...] = g.bias[...] = d_a
            g.out_bias[...] = d_y
        counts = {n: int((~np.isfinite(x)).sum()) for n, x in self.layout.named(self._vectors.g).items()}
        self._vectors.g[:] = 0
        return counts

    def _grad_norms(self, total: float) -> dict[str, float]:
        """The gradient norm of every parameter in the update just taken, whose norm over all is `total`."""
        table = "layers.0.cell.w_ih" if self.config.embedding_size is None else "embedding"
        if self._is_outer():
            # what waits to be added is rate · d and the other factor of the outer product
            d_a, before, d_y, h = (float(np.linalg.norm(x)) for x in self._waiting)
            rate = math.hypot(d_a * before, d_a, d_a, d_y * h, d_y)
            norms = dict(zip(self.layout.shapes, (0.0,) * len(self.layout.shapes), strict=True))
            norms |= {table: d_a, "layers.0.cell.w_hh": d_a * before, "layers.0.cell.bias": d_a}
            norms |= {"out.weight": d_y * h, "out.bias": d_y}
            return {name: norm * total / rate if rate > 0 else 0.0 for name, norm in norms.items()}
        norms = {name: float(np.linalg.norm(g)) for name, g in self.layout.named(self._vectors.g).items()}
        # the walk leaves the table's part of the gradient zero, and the others as they were
        norms[table] = math.sqrt(max(0.0, total**2 - math.fsum(norm**2 for norm in norms.values())))
        return norms

    def _moments(self) -> dict[str, Any]:
        """Every moment as ``name.key``: views, and the number of updates."""
        named: dict[str, Any] = {}
        for key, flat in zip(moment_names(self.train_config), self._vectors[2:4], strict=True):
            if key is not None:
                named |= {f"{name}.{key}": x for name, x in self.layout.named(flat).items()}
        if counts_updates(self.train_config):
            named |= {f"{name}.step": np.float32(self.count) for name in self.layout.shapes}
        return named


def _goal(config: ModelConfig, train_config: TrainConfig) -> Goal:
    ceiling = np.inf if train_config.clip_norm is None else float(train_config.clip_norm)
    return Goal(
        ACTIVATIONS[config.activation], train_config.objective == "last", train_config.loss == "sum", ceiling
    )
