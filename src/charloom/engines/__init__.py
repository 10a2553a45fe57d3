"""What an engine is: the same weights, bound to one library, device and precision.

Three engines share one set of parameters (`charloom.parameters`): `torch` trains fast, `scratch` is the readable
mathematics, `fused` is a compiled loop that generates. Arrays that cross an engine's border are NumPy arrays; the
leaves of a state are the engine's own, and `export_state` and `import_state` carry them over.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.errors import ConfigError, DivergedError, missing_extra
from charloom.text.windows import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

State = list[dict[str, Any]]
"""One dict a layer with keys among h, c, conv; each leaf is batch first and the engine's own array."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `num_steps` updates measured, one number a step.

    Attributes:
        loss: mean nats per predicted character, before the update.
        grad_norm: L2 over all parameters, before clipping.
        chars: characters predicted.
    """

    loss: Float[Array, "S"]
    grad_norm: Float[Array, "S"]
    chars: Int[Array, "S"]


@dataclass(frozen=True, slots=True)
class Signal:
    """What one update did to one parameter; every norm is L2.

    Attributes:
        grad_norm: before clipping.
        weight_norm: before the update.
        update_norm: of what the update added.
    """

    grad_norm: float
    weight_norm: float
    update_norm: float


def signals(
    before: Mapping[str, Array], after: Mapping[str, Array], grad_norms: Mapping[str, float]
) -> dict[str, Signal]:
    """The signals of one update, from every parameter before and after it, NumPy."""
    return {
        name: Signal(
            grad_norms.get(name, 0.0),
            float(np.linalg.norm(x)),
            float(np.linalg.norm(after[name] - x)),
        )
        for name, x in before.items()
    }


class Model(Protocol):
    """Weights that can be run: forward over windows, step by step, or straight to losses."""

    config: ModelConfig
    vocab_size: int

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters a row: logits of the next character after each, and the state behind the last."""

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character a row."""

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats, in the model's precision."""

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""

    def import_state(self, state: State) -> State:
        """The state with this engine's leaves, from NumPy ones."""

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names, as NumPy arrays."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How the next character is chosen, the same for every row; `generation.filters` has the arithmetic.

    Attributes:
        seed: 64 bits; with a sample's number and position, the address of a draw.
        temperature: divides the logits; 0 = greedy.
        top_k: how many of the likeliest stay; None = all.
        top_p: the probability that those which stay reach together; None = all.
        min_p: the share of the largest probability that a character needs; None = all.
        repetition_penalty: divides the odds of the characters written of late; None = 1.
        banned: ids that are never written, bool (V,).
        end_id: the id that ends a sample; None = there is none.
    """

    seed: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    banned: Bool[Array, "V"] | None = None
    end_id: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples side by side, in the middle of being written. Shapes: B rows, V characters, W characters remembered.

    Attributes:
        logits: of each row's next character, (B, V).
        state: behind all that the rows have read, B rows.
        recent: the ids read or written of late, by position modulo W, −1 where none, (B, W); W is 0 where nobody asks.
        positions: how many characters each row has written, (B,).
        samples: each row's number, the lane of its draws, (B,).
    """

    logits: Float[Array, "B V"]
    state: State
    recent: Int[Array, "B W"]
    positions: Int[Array, "B"]
    samples: Int[Array, "B"]


@dataclass(frozen=True, slots=True)
class Written:
    """What a stretch of writing gave.

    Attributes:
        rows: the samples behind it.
        ids: what each row wrote, (B, n).
        lengths: how much of `ids` each row has filled, (B,): n, or less where a row of its group ended.
        log_probs: the model's own log-probability of each character in nats, (B, n), or (B, 0).
    """

    rows: Rows
    ids: Int[Array, "B n"]
    lengths: Int[Array, "B"]
    log_probs: Float[Array, "B n"]


@runtime_checkable
class Writer(Protocol):
    """A model that chooses characters by itself: no Python between one and the next."""

    def write(self, rows: Rows, choice: Choice, num_chars: int, *, log_probs: bool = False) -> Written:
        """Write up to `num_chars` characters in each row, and read them; `rows` is left as it was.

        Every row gets at least one. A stretch may end early where a row writes `choice.end_id`.

        Raises:
            DivergedError: a row's logits define no distribution.
        """


class Learner(Protocol):
    """A model in training: parameters, optimiser moments and averages, advanced by whole stretches of steps."""

    def initial_state(self, lanes: range) -> State:
        """The state before the first window of the given global lanes."""

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows from `first_step` on.

        Raises:
            DivergedError: a loss or gradient is not finite; the parameters are those before that step.
        """

    def set_progress(self, knots: tuple[tuple[int, float], ...]) -> None:
        """Set the map from step to progress in [0, 1] that the learning rate follows."""

    def tensors(self) -> dict[str, Array]:
        """All that a checkpoint holds: ``param.*``, ``moment.*`` and ``average.*``."""

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Continue from what `tensors` returned."""

    def model(self) -> Model:
        """The model to validate and ship: the averaged weights where averaging is on. It shares no state."""

    def observe(self, plan: Plan, step: int, state: State) -> tuple[State, Metrics, dict[str, Signal]]:
        """Take one update as `advance` does, to the bit, and say what it did to every parameter."""

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""

    def import_state(self, state: State) -> State:
        """The state with this engine's leaves, from NumPy ones."""


class Engine(Protocol):
    """A factory of models and learners.

    Attributes:
        name: as in ``--engine``.
        uses_blas: whether its matrix products run in NumPy's BLAS, which then gets the threads.
    """

    name: str
    uses_blas: bool

    def resolve_device(self, name: str) -> str:
        """The device that ``auto`` or a name stands for here."""

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse what this engine cannot train, before anything is read or written.

        Raises:
            ConfigError: naming the setting, and the engine that can.
        """

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
    ) -> Model:
        """Bind parameters to this engine.

        Args:
            params: arrays under the names of `charloom.parameters`.
            config: the network.
            device: where it computes.
            precision: float32 or float64; fused also int8.
            threads: how many may share the writing of one stream (fused); None = one.

        Raises:
            ConfigError: a device, a precision or a number of threads that this engine does not know.
        """

    def learner(
        self, params: Mapping[str, Array], config: ModelConfig, train_config: TrainConfig, *, device: str
    ) -> Learner:
        """Start training from parameters."""


_LIBRARIES = {"torch": "torch", "scratch": "numpy", "fused": "numba"}
"""Every engine with the library it is made of."""

_AUTO = {"training": ("torch", "scratch"), "writing": ("fused", "scratch")}
"""What ``auto`` tries for each task, in this order."""


def auto_engine(task: Literal["training", "writing"] = "training") -> str:
    """The name that ``auto`` stands for here; nothing is imported."""
    return next(engine for engine in _AUTO[task] if find_spec(_LIBRARIES[engine]) is not None)


def load_engine(name: str, *, task: Literal["training", "writing"] = "training") -> Engine:
    """Import an engine by its name.

    Args:
        name: torch, scratch, fused or auto.
        task: what ``auto`` chooses for: training and scoring take torch where it is installed, else scratch; writing takes fused
            where Numba is installed, else scratch.

    Raises:
        ConfigError: there is no such engine, or its library does not exist for this Python.
        MissingExtraError: its library is not installed.
    """
    if name == "auto":
        name = auto_engine(task)
    if name not in _LIBRARIES:
        raise ConfigError(
            f"engine is {name!r}",
            why="there is no engine of that name",
            fix=f"use --engine auto, {', '.join(_LIBRARIES)}",
        )
    if find_spec(_LIBRARIES[name]) is None:
        if name == "torch":
            raise missing_extra("torch", "train", "the torch engine")
        raise ConfigError(
            f"engine is {name!r} and {_LIBRARIES[name]} is not installed",
            why="the compiled loops need it, and it may lag a new Python",
            fix=f"pip install {_LIBRARIES[name]}, or use --engine auto",
        )
    threads.wait_briefly()
    engine: Engine = import_module(f"charloom.engines.{name}").ENGINE
    return engine


def diverged(step: int, loss: float, non_finite: Mapping[str, int]) -> DivergedError:
    """The error for numbers that are not finite.

    Args:
        step: the update that was not taken.
        loss: its loss.
        non_finite: how many elements of each parameter's gradient were not finite.
    """
    bad = {name: count for name, count in non_finite.items() if count}
    first = next(iter(bad), None)
    error = DivergedError(
        f"step {step}: {f'the loss is {loss}' if first is None else f'the gradient of {first} is not finite'}",
        why="training cannot go on from numbers that are not finite",
        fix="lower --learning-rate, or set --clip-norm 1; what was saved before is kept",
    )
    error.non_finite = bad
    return error


def fused_alone(name: str, precision: str, threads: int | None) -> None:
    """Refuse what only the fused engine has.

    Raises:
        ConfigError: int8, or a number of threads.
    """
    for what, asked in (
        (f"precision is {precision!r}", precision == "int8"),
        (f"threads is {threads}", threads is not None),
    ):
        if asked:
            raise ConfigError(
                f"{what} and engine is {name}",
                why="only the fused engine has matrices in bytes, and threads that share one stream",
                fix="use --engine fused, or leave the setting out",
            )


def frozen_parameters(config: TrainConfig, names: Iterable[str]) -> frozenset[str]:
    """The parameters that `freeze` names.

    Raises:
        ConfigError: one of its patterns names none.
    """
    names, frozen = list(names), set()
    for pattern in (part.strip() for part in (config.freeze or "").split(",") if part.strip()):
        found = fnmatch.filter(names, pattern)
        if not found:
            raise ConfigError(
                f"freeze is {config.freeze!r}",
                why=f"no parameter is named {pattern}: this network has {', '.join(names)}",
                fix="name one of them, or a pattern such as 'layers.0.*'",
            )
        frozen.update(found)
    if names and len(frozen) == len(names):
        raise ConfigError(
            f"freeze is {config.freeze!r}", why="nothing is left to learn", fix="leave some parameters free"
        )
    return frozenset(frozen)


def state_like(state: State, leaf: Any) -> State:
    """The same tree with `leaf` applied to every array."""
    return [{key: leaf(value) for key, value in layer.items()} for layer in state]


def as_float64(array: Any) -> Float[Array, "..."]:
    """A float64 NumPy copy."""
    return np.asarray(array, dtype=np.float64)
