"""A trained network bound to the compiled loops: forward over windows, step by step, straight to losses, and writing."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig
from charloom.engines import Choice, Rows, State, Written, state_like
from charloom.engines.fused.losses import score
from charloom.engines.fused.network import new_teams, new_work, read
from charloom.engines.fused.pace import Pace
from charloom.engines.fused.packing import pack
from charloom.engines.fused.sampling import Rule, new_room
from charloom.engines.fused.writing import write
from charloom.errors import DivergedError
from charloom.parameters import initial_parameters, state_shapes
from charloom.text.windows import Window
from charloom.threads import available as threads_available

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int8": np.dtype(np.float32),
}
"""What numbers are between the products."""

PASS_ROWS = 256
"""Rows (time steps times batch) of one compiled pass at most: what lies between two products stays in the caches."""

ROWS_A_THREAD = 8
"""Samples side by side from which another thread pays."""


class FusedModel:
    """The `Model` and the `Writer` of the contract, for every network.

    Args:
        params: arrays under the names of `charloom.parameters`; they are copied.
        config: the network.
        precision: float32, float64, or int8: matrices as int8, all else float32.
        threads: how many may share the writing: one stream by the panels of each product, where that turns out to be faster;
            several by their rows. None = one for a stream, and for several as many as this process may use.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.config, self.vocab_size, self.dtype = config, len(params["out.bias"]), DTYPES[precision]
        self._row_threads = threads_available() if threads is None else threads
        self._pace = Pace(1 if threads is None else threads)
        self._parameters = {name: np.array(p, self.dtype) for name, p in params.items()}
        self._net = pack(params, config, dtype=self.dtype, int8=precision == "int8")

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""
        return [
            {key: np.zeros((batch_size, *shape), self.dtype) for key, shape in layer.items()}
            for layer in state_shapes(self.config)
        ]

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters a row: logits of the next character after each, and the state behind the last."""
        check_ids(ids, self.vocab_size)
        ids = np.ascontiguousarray(np.asarray(ids).T, np.int64)
        (T, B), flat = ids.shape, self._flat(state)
        marks = np.zeros((T, B), np.bool_) if resets is None else np.ascontiguousarray(resets.T, np.bool_)
        logits = np.empty((T, B, self.vocab_size), self.dtype)
        length = max(1, PASS_ROWS // B)
        (team,), work = new_teams(self._net, min(T, length) * B, 1), new_work(self._net, min(T, length) * B)
        for t in range(0, T, length):
            stretch = slice(t, t + length)
            read(self._net, work, team, ids[stretch], marks[stretch], flat, 0, logits[stretch])
        return np.ascontiguousarray(logits.swapaxes(0, 1)), self._state(flat)

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character a row."""
        logits, after = self.forward(np.asarray(ids)[:, None], state)
        return logits[:, 0], after

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats."""
        check_ids(window.targets, self.vocab_size)
        logits, after = self.forward(window.inputs, state, window.resets)
        nats = np.empty(window.targets.shape, self.dtype)
        targets = np.ascontiguousarray(window.targets, np.int64).reshape(-1)
        score(logits.reshape(-1, self.vocab_size), targets, nats.reshape(-1))
        return nats, after

    def write(self, rows: Rows, choice: Choice, num_chars: int, *, log_probs: bool = False) -> Written:
        """Write up to `num_chars` characters in each row, and read them; several threads where that pays."""
        B = len(rows.positions)
        ids, scores = np.empty((B, num_chars), np.int64), np.empty((B, num_chars * log_probs))
        after = (
            np.array(rows.logits, self.dtype, order="C"),
            self._flat(rows.state),
            np.array(rows.recent, np.int64, order="C"),
            np.array(rows.positions, np.int64),
            np.array(rows.samples, np.int64),
        )
        rule = rule_of(choice, self.vocab_size)
        if B == 1:
            count = self._share_one(after, rule, ids, scores)
        else:
            count = self._share_rows(after, rule, ids, scores)
        if count < 0:
            raise DivergedError(
                "the largest logit of the next character is not finite",
                why="only finite logits define a distribution over characters",
                fix="check the model file; if training diverged, use an earlier checkpoint or a lower learning rate",
            )
        logits, flat, recent, positions, _ = after
        behind = Rows(logits, self._state(flat), recent, positions, rows.samples)
        return Written(behind, ids, positions - rows.positions, scores)

    def _share_rows(self, after: Any, rule: Rule, ids: Any, scores: Any) -> int:
        """Every thread writes some of the rows, by itself."""
        B = len(ids)
        parts = max(1, min(self._row_threads, B // ROWS_A_THREAD))
        edges = [B * part // parts for part in range(parts + 1)]

        def job(first: int, last: int) -> int:
            own = slice(first, last)
            (team,), work = new_teams(self._net, last - first, 1), new_work(self._net, last - first)
            rows = tuple(part[own] for part in after)
            return int(
                write(self._net, work, team, rule, new_room(self.vocab_size), rows, ids[own], scores[own])
            )

        return together([partial(job, a, b) for a, b in zip(edges, edges[1:])])

    def _share_one(self, after: Any, rule: Rule, ids: Any, scores: Any) -> int:
        """Every thread computes some panels of each product, and writes the same row."""
        began, parts = time.perf_counter(), self._pace.threads
        own = (after, ids, scores)
        everybody = [own, *(copy.deepcopy(own) for _ in range(1, parts))]

        def job(team: Any, rows: Any, ids: Any, scores: Any) -> int:
            work, room = new_work(self._net, 1), new_room(self.vocab_size)
            return int(write(self._net, work, team, rule, room, rows, ids, scores))

        teams = new_teams(self._net, 1, parts)
        count = together([partial(job, team, *mine) for team, mine in zip(teams, everybody, strict=True)])
        self._pace.note(parts, (time.perf_counter() - began) / max(1, count))
        return count

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves: copies."""
        return state_like(state, np.array)

    def import_state(self, state: State) -> State:
        """The state in this model's precision: copies."""
        return state_like(state, lambda x: np.array(x, self.dtype))

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names: copies."""
        return {name: p.copy() for name, p in self._parameters.items()}

    def _flat(self, state: State) -> Float[Array, "B S"]:
        """A new array with every row's state, layer after layer."""
        leaves = [np.asarray(leaf, self.dtype) for layer in state for leaf in layer.values()]
        return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)

    def _state(self, flat: Float[Array, "B S"]) -> State:
        """The same as views, under their names."""
        state, at = [], 0
        for shapes in state_shapes(self.config):
            layer = {}
            for key, shape in shapes.items():
                size = int(np.prod(shape))
                layer[key] = flat[:, at : at + size].reshape(len(flat), *shape)
                at += size
            state.append(layer)
        return state


def rule_of(choice: Choice, vocab_size: int) -> Rule:
    """A choice as the compiled loop reads it."""
    banned = np.zeros(vocab_size, np.bool_) if choice.banned is None else np.asarray(choice.banned, np.bool_)
    penalty = choice.repetition_penalty
    return Rule(
        key0=np.uint32(choice.seed & 0xFFFFFFFF),
        key1=np.uint32(choice.seed >> 32),
        temperature=float(choice.temperature),
        top_k=vocab_size if choice.top_k is None else min(choice.top_k, vocab_size),
        top_p=1.0 if choice.top_p is None else float(choice.top_p),
        min_p=0.0 if choice.min_p is None else float(choice.min_p),
        log_penalty=0.0 if penalty is None else float(np.log(penalty)),
        banned=banned,
        end=-1 if choice.end_id is None else choice.end_id,
    )


def together(jobs: Sequence[Callable[[], int]]) -> int:
    """Run jobs at the same time, the first of them here; compiled code lets the others run beside it. The least result."""
    if len(jobs) == 1:
        return jobs[0]()
    with ThreadPoolExecutor(len(jobs) - 1) as pool:
        others = [pool.submit(job) for job in jobs[1:]]
        return min(jobs[0](), *(other.result() for other in others))


@cache
def compile_loops(precision: str) -> None:
    """Compile what a model of this precision calls, or find it on disk: seconds once, then less than one."""
    config = ModelConfig(cell="elman", hidden_size=1)
    model = FusedModel(initial_parameters(config, 1, 0), config, precision=precision, threads=1)
    window = np.zeros((1, 1), np.int64)
    nats, state = model.losses(Window(window, window, window > 0), model.initial_state(1))
    nobody = np.empty((1, 0), np.int64)
    rows = Rows(nats, state, nobody, window[0], window[0])
    model.write(rows, Choice(0), 1)


def check_ids(ids: Int[Array, "..."], vocab_size: int) -> None:
    """Refuse ids that have no row: compiled loops would read whatever memory lies there.

    Raises:
        IndexError: as NumPy's indexing would.
    """
    ids = np.asarray(ids)
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise IndexError(f"ids {ids.min()} to {ids.max()} in a vocabulary of {vocab_size}")
