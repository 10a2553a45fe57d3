"""Training with few exchanges, for slow links: replicas take steps alone, and an outer optimiser joins them (DiLoCo).

K replicas of the weights θ_k train on K parts of the lanes, each with its own optimiser. After every N steps:

    Δ = θ − (1/K) Σ_k θ_k            (1)  the outer gradient; θ the weights after the last exchange
    v ← μ v + Δ                      (2)
    θ ← θ − η (Δ + μ v);  θ_k ← θ    (3)  Nesterov's momentum

with η = 0.7 and μ = 0.9. So weights travel once in N steps, instead of gradients in each. The model that is validated
and kept is θ; the last step of a run always ends with an exchange. The sum in (1) is that of `lane_sum`, over
replicas, so the bits do not depend on how many ranks share them, and K stays when their number changes.

Source: Douillard et al. (2023), "DiLoCo: Distributed Low-Communication Training of Language Models", algorithm 1 and
table 5. Where we differ: an average of the weights, if there is one, is of θ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Metrics, State, map_state
from charloom.engines.checks import diverged
from charloom.engines.torch.lane_sum import LaneSum, owned
from charloom.engines.torch.learner import TorchLearner
from charloom.engines.torch.model import TorchModel, concat_states, to_numpy
from charloom.engines.torch.train_step import fold_bias_pairs
from charloom.errors import ConfigError, DivergedError
from charloom.schedule import Knots, average_decay
from charloom.text.batching import Plan

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

OUTER_RATE, OUTER_MOMENTUM = 0.7, 0.9

OF_REPLICAS = "moment.replica"
"""How the names of all replicas' tensors begin in a checkpoint."""


class LocalSteps:
    """The `Learner` of the contract with `sync_every`: this rank's replicas, and the weights that they share."""

    def __init__(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        ranks: Ranks | None = None,
    ) -> None:
        assert train_config.sync_every is not None
        self.config, self.train_config, self.every = config, train_config, train_config.sync_every
        self.replicas = train_config.replicas or 1
        rank, size = (0, 1) if ranks is None else (ranks.rank, ranks.size)
        _check(self.replicas, size, train_config.batch_size)
        alone = dataclasses.replace(train_config, average_decay=None, sync_every=None, replicas=None)
        self.own = {
            k: TorchLearner(
                params,
                config,
                alone,
                device=device,
                lane_sum=LaneSum(None, train_config.lane_groups, (k, self.replicas)),
            )
            for k in range(*owned(self.replicas, rank, size))
        }
        self.first = next(iter(self.own.values()))
        self.device = self.first.device
        self.exchange = LaneSum(ranks, self.replicas)
        self.outer = self.first.copy_of_params()
        self.velocity = {name: torch.zeros_like(self.outer[name]) for name in self.first.optimiser.params}
        self.average = None if train_config.average_decay is None else self.first.copy_of_params()
        self.knots: Knots = self.first.knots

    def set_progress(self, knots: Knots) -> None:
        """Set the map from steps to progress that the learning rate follows."""
        self.knots = knots
        for learner in self.own.values():
            learner.set_progress(knots)

    def lanes(self, batch_size: int) -> range:
        """The lanes of this rank's replicas."""
        shares = [learner.lanes(batch_size) for learner in self.own.values()]
        return range(shares[0].start, shares[-1].stop)

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""
        return self.first.reset_state(0, lanes)

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take `num_steps` updates in every replica, with an exchange after each multiple of `sync_every`."""
        step, last = first_step, first_step + num_steps
        states, found = self._divided(plan, state), {k: _Steps() for k in self.own}
        while step < last:
            stop = min(last, (step // self.every + 1) * self.every)
            for k, learner in self.own.items():
                seen = observe and stop == last and learner is self.first
                states[k] = found[k].advance(learner, plan, step, stop - step, states[k], seen)
            if stop % self.every == 0 or stop == self.knots[-1][0]:
                self._join(stop)
            step = stop
        metrics = self._measured(found, first_step, num_steps)
        return concat_states(list(states.values())), metrics

    def tensors(self) -> dict[str, Array]:
        """The contents of a checkpoint: the shared weights, and everything of this rank's replicas."""
        groups = {"param": self.outer, "average": self.average or {}, "moment.outer": self.velocity}
        named = {f"{group}.{n}": to_numpy(x) for group, part in groups.items() for n, x in part.items()}
        for k, learner in self.own.items():
            named |= {f"{of_replica(k)}{name}": x for name, x in learner.tensors().items()}
        return named

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Continue from a result of `tensors`, of all ranks together.

        A replica that is not in it starts with the shared weights; if none is, all stay as they are.
        """
        for name, p in self.outer.items():
            p.copy_(torch.as_tensor(np.array(tensors[f"param.{name}"])))
        for name, v in self.velocity.items():
            if f"moment.outer.{name}" in tensors:
                v.copy_(torch.as_tensor(np.array(tensors[f"moment.outer.{name}"])))
        for name, a in (self.average or {}).items():
            a.copy_(torch.as_tensor(np.array(tensors.get(f"average.{name}", tensors[f"param.{name}"]))))
        whole = {name: x for name, x in tensors.items() if name.startswith("param.")}
        if not any(name.startswith(OF_REPLICAS) for name in tensors):
            return
        for k, learner in self.own.items():
            begin = of_replica(k)
            own = {n.removeprefix(begin): x for n, x in tensors.items() if n.startswith(begin)}
            learner.load_tensors(own or whole)

    def model(self) -> TorchModel:
        """The model to validate and save: the shared weights after the last exchange, or their average."""
        params = fold_bias_pairs({name: p.clone() for name, p in (self.average or self.outer).items()})
        return TorchModel(params, self.config, self.first.vocab_size)

    def export_state(self, state: State) -> State:
        """The state as NumPy arrays."""
        return self.first.export_state(state)

    def import_state(self, state: State) -> State:
        """The state as tensors, from NumPy arrays."""
        return self.first.import_state(state)

    def _divided(self, plan: Plan, state: State) -> dict[int, State]:
        """The state of each replica; windows that carry none ignore it."""
        if not plan.carries:
            return dict.fromkeys(self.own, state)
        begin = self.lanes(plan.batch_size).start
        rows = {k: learner.lanes(plan.batch_size) for k, learner in self.own.items()}
        return {k: _rows(state, slice(r.start - begin, r.stop - begin)) for k, r in rows.items()}

    @torch.no_grad()
    def _join(self, step: int) -> None:
        """Exchange the weights after `step` updates."""
        copies = [[p.detach().clone() for p in x.optimiser.params.values()] for x in self.own.values()]
        total = self.exchange.add(self.exchange.share(self.replicas), copies, list(self.velocity.values()))
        for name, of_all in zip(self.velocity, total, strict=True):
            delta = self.outer[name] - of_all / self.replicas  # (1)
            v = self.velocity[name].mul_(OUTER_MOMENTUM).add_(delta)  # (2)
            self.outer[name].sub_(delta.add(v, alpha=OUTER_MOMENTUM), alpha=OUTER_RATE)  # (3)
        for learner in self.own.values():
            for name, p in learner.params.items():
                p.copy_(self.outer[name])
        if self.average is not None:
            begin = (step - 1) // self.every * self.every
            kept = math.prod(average_decay(self.train_config, s) for s in range(begin, step))
            for name, a in self.average.items():
                a.lerp_(self.outer[name], 1 - kept)

    def _measured(self, found: Mapping[int, _Steps], first_step: int, num_steps: int) -> Metrics:
        """The metrics of all replicas: mean loss, mean gradient norm.

        Raises:
            DivergedError: of any replica; every rank raises it.
        """
        rows = [[torch.from_numpy(steps.table(num_steps))] for steps in found.values()]
        like = [torch.zeros(num_steps, 4, dtype=torch.float64)]
        if self.device.type != "cpu":
            rows, like = ([[x.to(self.device) for x in part] for part in rows], [like[0].to(self.device)])
        table = to_numpy(self.exchange.add(self.exchange.share(self.replicas), rows, like)[0])
        if table[:, 3].any():
            for steps in found.values():
                if steps.error is not None:
                    raise steps.error
            raise diverged(first_step + int(table[:, 3].argmax()), math.nan, {}, {})
        observed = next(iter(found.values())).last_update
        counts = table[:, 1].astype(np.int64)
        return Metrics(table[:, 0] / table[:, 1], table[:, 2] / self.replicas, counts, observed)


class _Steps:
    """The metrics of one replica in a call of `advance`."""

    def __init__(self) -> None:
        self.parts: list[Metrics] = []
        self.error: DivergedError | None = None
        self.last_update: Any = None

    def advance(
        self, learner: TorchLearner, plan: Plan, first: int, count: int, state: State, observe: bool
    ) -> State:
        """Take steps, unless the replica has diverged: the other ranks learn of it in the next exchange."""
        if self.error is not None:
            return state
        try:
            state, metrics = learner.advance(plan, first, count, state, observe=observe)
        except DivergedError as error:
            self.error = error
            return state
        self.parts.append(metrics)
        self.last_update = metrics.last_update
        return state

    def table(self, num_steps: int) -> Array:
        """For each step: summed loss, predictions, gradient norm, and 1 if it was not taken."""
        rows = [(m.loss * m.chars, m.chars, m.grad_norm, np.zeros(len(m.loss))) for m in self.parts]
        found = np.concatenate([np.stack(row, 1) for row in rows]) if rows else np.zeros((0, 4))
        missing = np.tile([0.0, 0.0, 0.0, 1.0], (num_steps - len(found), 1))
        return np.concatenate([found, missing])


def _rows(state: State, rows: slice) -> State:
    return map_state(state, lambda x: x[rows])


def of_replica(k: int) -> str:
    """How the names of a replica's tensors begin in a checkpoint."""
    return f"{OF_REPLICAS}{k}."


def _check(replicas: int, size: int, batch_size: int) -> None:
    if replicas < size:
        raise ConfigError(
            f"there are {size} ranks and replicas is {replicas}",
            why="each rank trains one replica or more, and a run keeps its number",
            fix=f"start at most {replicas} ranks, or begin a run with --replicas {size}",
        )
    if replicas > batch_size:
        raise ConfigError(
            f"replicas is {replicas} and batch_size is {batch_size}",
            why="each replica needs a lane of its own",
            fix=f"set --batch-size to {replicas} or more",
        )
