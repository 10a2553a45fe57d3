"""The interface of an engine: models that run, learners that train, and the arrays they exchange.

Arrays that enter or leave an engine are NumPy arrays, except the leaves of a state: those are the engine's
own arrays, and `export_state` and `import_state` convert them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from charloom.config import ModelConfig, TrainConfig
from charloom.parameters import state_shapes
from charloom.text.batching import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array

    from charloom.distributed.ranks import Ranks

State = list[dict[str, Any]]
"""One dict per layer with keys among h, c, conv; each leaf is one of the engine's own arrays, batch first."""

GREEDY_BELOW = float(np.finfo(np.float32).tiny)
"""A temperature below this, 1.2e-38, is greedy in every engine and precision: in float32, 1 / temperature may be ∞."""


@dataclass(frozen=True, slots=True)
class ParameterUpdate:
    """L2 norms that describe one update of one parameter."""

    grad_norm: float  # before clipping
    weight_norm: float  # before the update
    update_norm: float  # of the change made by the update


def parameter_updates(
    before: Mapping[str, Array], after: Mapping[str, Array], grad_norms: Mapping[str, float]
) -> dict[str, ParameterUpdate]:
    """Measure one update from the parameters before and after it."""
    return {
        name: ParameterUpdate(
            grad_norms.get(name, 0.0), float(np.linalg.norm(x)), float(np.linalg.norm(after[name] - x))
        )
        for name, x in before.items()
    }


@dataclass(frozen=True, slots=True)
class Metrics:
    """Measurements of S updates."""

    loss: Float[Array, "S"]  # mean nats per predicted character before each update
    grad_norm: Float[Array, "S"]  # L2 over all parameters before clipping
    chars: Int[Array, "S"]  # characters predicted
    last_update: Mapping[str, ParameterUpdate] | None = None  # of each parameter, if `observe` was set


class StateConverter(Protocol):
    """Conversion between the engine's own states and states with NumPy leaves."""

    def export_state(self, state: State) -> State:
        """The state with NumPy leaves."""

    def import_state(self, state: State) -> State:
        """The state with this engine's leaves, from NumPy leaves."""


class NumpyStates:
    """The `StateConverter` of engines whose states are NumPy arrays of type `dtype`."""

    dtype: np.dtype[Any]

    def export_state(self, state: State) -> State:
        """A copy of the state."""
        return map_state(state, np.array)

    def import_state(self, state: State) -> State:
        """A copy of the state in this precision."""
        return map_state(state, lambda x: np.array(x, self.dtype))


class EngineModel(StateConverter, Protocol):
    """A network that reads text in windows or step by step, and computes losses."""

    config: ModelConfig
    vocab_size: int

    def initial_state(self, batch_size: int) -> State:
        """The all-zero state for `batch_size` rows."""

    def forward(
        self, ids: Int[Array, "B T"], state: State, resets: Bool[Array, "B T"] | None = None
    ) -> tuple[Float[Array, "B T V"], State]:
        """Read T characters per row; return the logits after each character and the state after the last."""

    def step(self, ids: Int[Array, "B"], state: State) -> tuple[Float[Array, "B V"], State]:
        """Read one character per row."""

    def losses(self, window: Window, state: State) -> tuple[Float[Array, "B T"], State]:
        """The loss of each target in nats, in the model's precision, and the state after the last one."""

    def parameters(self) -> dict[str, Array]:
        """The parameters under their names, as NumPy arrays."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose the next character; `generation.filters` has the arithmetic."""

    seed: int  # 64 bits; seed, sample number and position determine each draw
    temperature: float = 1.0  # divides the logits; 0 = greedy, and below `GREEDY_BELOW` too
    top_k: int | None = None  # keep this many of the likeliest characters; None = all
    top_p: float | None = None  # keep the likeliest until their total probability reaches this; None = all
    min_p: float | None = None  # keep those with at least this share of the largest probability; None = all
    repetition_penalty: float | None = None  # divides the odds of recent characters; None = 1
    banned: Bool[Array, "V"] | None = None  # ids that are never generated
    end_id: int | None = None  # the id that ends a sample; None = no such id
    logit_bias: Float[Array, "V"] | None = None  # float32, added to the logits; None = 0

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest character is always chosen."""
        return self.temperature < GREEDY_BELOW


@dataclass(frozen=True, slots=True)
class DecodeState:
    """A batch of samples during generation. Shapes: B samples, V vocabulary, W recent characters."""

    logits: Float[Array, "B V"]  # of the next character of each sample
    state: State  # after all characters read
    recent: Int[Array, "B W"]  # last ids read or generated, by position modulo W; −1 = empty; W may be 0
    positions: Int[Array, "B"]  # characters generated so far
    samples: Int[Array, "B"]  # sample numbers, which are the lanes of the random draws


@dataclass(frozen=True, slots=True)
class DecodeOutput:
    """The result of one decoding call."""

    after: DecodeState
    ids: Int[Array, "B n"]
    lengths: Int[Array, "B"]  # characters generated in each row: n, or fewer if a row of its group ended
    log_probs: Float[Array, "B n"]  # the model's log-probability of each id in nats; (B, 0) if not requested


@runtime_checkable
class BatchDecoder(Protocol):
    """A model that samples many characters in one call, without returning to Python between them."""

    def decode(
        self,
        before: DecodeState,
        params: SamplingParams | Sequence[SamplingParams],
        num_chars: int,
        *,
        log_probs: bool = False,
    ) -> DecodeOutput:
        """Generate and read up to `num_chars` characters for each sample; `before` is not changed.

        `params` are those of every sample, or one for each. Every sample gains at least one character. The call may end
        early if one generates its `end_id`.

        Raises:
            DivergedError: a row's logits do not define a distribution.
        """


class Learner(StateConverter, Protocol):
    """A model in training: parameters, optimiser moments and averages, advanced many steps per call."""

    def initial_state(self, lanes: range) -> State:
        """The state of the given global lanes before their first window."""

    def advance(
        self, plan: Plan, first_step: int, num_steps: int, state: State, *, observe: bool = False
    ) -> tuple[State, Metrics]:
        """Take `num_steps` updates on the plan's windows, starting at `first_step`.

        With `observe`, the metrics describe the last update of each parameter; no update changes by a bit.

        Raises:
            DivergedError: a loss or gradient is not finite; the parameters are those before that step.
        """

    def set_progress(self, knots: tuple[tuple[int, float], ...]) -> None:
        """Set the map from step to progress in [0, 1] that drives the learning-rate schedule."""

    def tensors(self) -> dict[str, Array]:
        """The contents of a checkpoint: ``param.*``, ``moment.*`` and ``average.*``."""

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """Restore what `tensors` returned."""

    def model(self) -> EngineModel:
        """An independent model to validate and save, with the averaged weights if averaging is on."""


class Engine(Protocol):
    """A factory of models and learners."""

    name: str  # as in ``--engine``
    uses_blas: bool  # whether matrix products run in NumPy's BLAS and so need BLAS threads

    def resolve_device(self, name: str) -> str:
        """Turn a device name or ``auto`` into the device to use on this machine."""

    def check(self, config: ModelConfig, train_config: TrainConfig) -> None:
        """Refuse settings that this engine cannot train with a ConfigError, before any data is read or written."""

    def model(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        *,
        device: str = "cpu",
        precision: str = "float32",
        threads: int | None = None,
        portable: bool = False,
    ) -> EngineModel:
        """Bind arrays under the names of `charloom.parameters` to this engine.

        `precision` is float32, float64 or (fused) int8; `threads` (fused) may share a stream, None = one; `portable`
        (fused) computes the same bits on every processor.

        Raises:
            ConfigError: the engine does not support the device, the precision or the number of threads.
        """

    def learner(
        self,
        params: Mapping[str, Array],
        config: ModelConfig,
        train_config: TrainConfig,
        *,
        device: str,
        ranks: Ranks | None = None,
    ) -> Learner:
        """Create a learner that starts from the given parameters; with `ranks`, it computes this rank's lanes only.

        Raises:
            ConfigError: the engine does not divide a batch among ranks.
        """


def zero_state(config: ModelConfig, batch_size: int, dtype: np.dtype[Any]) -> State:
    """An all-zero state of NumPy arrays."""
    return [
        {key: np.zeros((batch_size, *shape), dtype) for key, shape in layer.items()}
        for layer in state_shapes(config)
    ]


def unflatten_state(config: ModelConfig, flat: Float[Array, "B S"]) -> State:
    """The named parts of a flat state, layer after layer, as views."""
    shapes = state_shapes(config)
    sizes = [int(np.prod(shape)) for layer in shapes for shape in layer.values()]
    parts = iter(np.split(flat, np.cumsum(sizes)[:-1], axis=1))
    return [{key: next(parts).reshape(len(flat), *shape) for key, shape in layer.items()} for layer in shapes]


def map_state(state: State, leaf: Callable[[Any], Any]) -> State:
    """Apply `leaf` to every array of a state."""
    return [{key: leaf(value) for key, value in layer.items()} for layer in state]
