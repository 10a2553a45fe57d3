"""Named spaces: the settings that a search varies for each cell, and the range of each.

A setting that the user gives is fixed and leaves the space. A setting outside the space comes from the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from charloom.config import nearest_name
from charloom.errors import ConfigError


class Suggesting(Protocol):
    """What a space needs of a trial: the three ways of Optuna's `Trial` to choose a value."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Choose a number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Choose a whole number of a range."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Choose one of a few values."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A range of numbers; with `step`, whole ones; with `log`, equally likely in every octave."""

    low: float
    high: float
    log: bool = False
    step: int | None = None

    def choose(self, trial: Suggesting, name: str) -> float:
        """Let the trial choose."""
        if self.step is None:
            return trial.suggest_float(name, self.low, self.high, log=self.log)
        return trial.suggest_int(name, int(self.low), int(self.high), step=self.step)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A few values."""

    values: tuple[Any, ...]

    def choose(self, trial: Suggesting, name: str) -> Any:
        """Let the trial choose."""
        return trial.suggest_categorical(name, self.values)


Range = Numbers | OneOf

_TRAINING: Mapping[str, Range] = MappingProxyType(
    {
        "learning_rate": Numbers(5e-4, 3e-2, log=True),
        "batch_size": OneOf((16, 32, 64, 128)),
        "bptt_length": OneOf((32, 64, 128)),
        "weight_decay": Numbers(1e-3, 0.3, log=True),
    }
)
_PLAIN: Mapping[str, Range] = MappingProxyType(
    {
        "hidden_size": Numbers(64, 512, step=32),
        "num_layers": Numbers(1, 3, step=1),
        "embedding_size": OneOf((None, 16, 32, 64)),
        "dropout_output": Numbers(0.0, 0.6),
    }
)
_RESIDUAL: Mapping[str, Range] = MappingProxyType(
    {
        "hidden_size": Numbers(64, 384, step=32),
        "num_layers": Numbers(1, 6, step=1),
        "expansion": OneOf((1.0, 1.5, 2.0)),
        "mlp_ratio": OneOf((0.0, 1.0, 2.0, 3.0)),
        "dropout_branch": Numbers(0.0, 0.4),
        "dropout_output": Numbers(0.0, 0.4),
    }
)


@dataclass(frozen=True, slots=True)
class Space:
    """A named space.

    Attributes:
        name: of the space.
        about: one sentence.
        fixed: settings that every trial has.
        ranges: {setting: range}, in the order in which they are chosen.
    """

    name: str
    about: str
    fixed: Mapping[str, Any]
    ranges: Mapping[str, Range]

    def without(self, settings: Iterable[str]) -> Space:
        """The space with these settings no longer varied; a plain or residual space loses its block with them.

        Raises:
            ConfigError: nothing is left to vary.
        """
        given = set(settings)
        left = {name: range_ for name, range_ in self.ranges.items() if name not in given}
        if not left:
            raise ConfigError(
                f"the space {self.name} has nothing left to vary",
                why="each of its settings was given a value",
                fix="leave out one of --" + ", --".join(name.replace("_", "-") for name in self.ranges),
            )
        fixed = {name: value for name, value in self.fixed.items() if name not in given}
        return Space(self.name, self.about, fixed, left)

    def choose(self, trial: Suggesting) -> dict[str, Any]:
        """Choose a value for every setting of the space.

        Example:
            >>> class Lowest:
            ...     suggest_float = suggest_int = lambda self, name, low, high, **how: low
            ...     suggest_categorical = lambda self, name, choices: choices[0]
            >>> SPACES["gru"].without(["embedding_size"]).choose(Lowest())["hidden_size"]
            64
        """
        return {**self.fixed, **{name: range_.choose(trial, name) for name, range_ in self.ranges.items()}}


def _plain(cell: str, about: str, **more: Range) -> Space:
    return Space(cell, about, {"cell": cell, "block": "plain"}, {**_TRAINING, **_PLAIN, **more})


def _residual(cell: str) -> Space:
    about = f"residual blocks with a {cell}: width, depth, MLP, dropout and training"
    fixed = {"cell": cell, "block": "residual", "embedding_size": None}
    return Space(f"residual-{cell}", about, fixed, {**_TRAINING, **_RESIDUAL})


_ALL = (
    _plain(
        "elman",
        "a plain Elman network",
        activation=OneOf(("tanh", "relu")),
        clip_norm=OneOf((0.25, 1.0, 5.0)),
    ),
    _plain("lstm", "a plain LSTM", forget_bias=OneOf((0.0, 1.0, 2.0))),
    _plain("gru", "a plain GRU"),
    _plain("mingru", "a plain minGRU"),
    *map(_residual, ("lstm", "gru", "mingru")),
    Space("training", "the recipe's network; only how it is trained", {}, _TRAINING),
)

SPACES: Mapping[str, Space] = MappingProxyType({space.name: space for space in _ALL})
"""The named spaces."""


def space_named(name: str) -> Space:
    """Find a space by name.

    Raises:
        ConfigError: there is no such space.
    """
    if name in SPACES:
        return SPACES[name]
    near = nearest_name(name, SPACES)
    raise ConfigError(
        f"unknown space {name!r}",
        why=f"the spaces are {', '.join(SPACES)}",
        fix=f"did you mean {near}?" if near else "give --space with one of them",
    )


def check_space(space: Space, refuse: Callable[[Mapping[str, Any]], object]) -> None:
    """Check the lowest and highest corner of a space, before any training.

    Args:
        space: the space.
        refuse: called with the settings of each corner; raises an error if they are not allowed.
    """
    for corner in (_Corner(high=False), _Corner(high=True)):
        refuse(space.choose(corner))


@dataclass(frozen=True, slots=True)
class _Corner:
    """Chooses the lowest values, or the highest."""

    high: bool

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        del name, log
        return high if self.high else low

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del name, log
        return low + (high - low) // step * step if self.high else low

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        del name
        return choices[-1 if self.high else 0]
