"""The terms of a search, which the first worker records and every other must share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from charloom.errors import ConfigError, RunError
from charloom.tuning.spaces import SPACES, Space

OBJECTIVES: Mapping[str, str] = MappingProxyType(
    {"loss": "minimize", "chars_per_s": "maximize", "size": "minimize"}
)
"""{objective: direction}: held-out nats per character, speed of generation, number of parameters."""

MOST_TRIALS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search varies, measures and may use.

    Attributes:
        space: name of the space.
        settings: settings that are the same in every trial.
        recipe: the recipe below them, or None for the default of this text.
        objectives: one or two names of `OBJECTIVES`.
        corpus: name and SHA-256 of the text.
        trials: how many trials there are in all.
        minutes: wall-clock minutes of the whole search; None = no bound.
        has_own_length: whether the settings say how long a trial trains; otherwise it gets a share of the minutes.
        seed: of the sampler.
    """

    space: str
    settings: Mapping[str, Any]
    recipe: str | None
    objectives: tuple[str, ...]
    corpus: Mapping[str, str]
    trials: int
    minutes: float | None = None
    has_own_length: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_objectives(self.objectives)
        if not 1 <= self.trials <= MOST_TRIALS:
            what, why = f"trials is {self.trials}", f"a search has 1 to {MOST_TRIALS:,} trials"
            raise ConfigError(what, why=why, fix="give --trials 40")
        if self.minutes is not None and not 0 < self.minutes <= 1e6:
            what, why = f"minutes is {self.minutes:g}", "a search needs time to train in"
            raise ConfigError(what, why=why, fix="give --minutes 30, or leave it out")

    @property
    def searched(self) -> Space:
        """The space without the settings that are fixed."""
        return SPACES[self.space].without(self.settings)

    @property
    def directions(self) -> list[str]:
        """Of each objective, as Optuna calls them."""
        return [OBJECTIVES[name] for name in self.objectives]

    @property
    def prunes(self) -> bool:
        """Whether hopeless trials are stopped early: only where the validation curve is what is searched for."""
        return self.objectives == ("loss",)

    def to_json(self) -> dict[str, Any]:
        """The plan as one JSON object."""
        return asdict(self) | {"settings": dict(self.settings), "corpus": dict(self.corpus)}

    def check_same(self, recorded: SearchPlan) -> None:
        """Refuse to join a search that has other terms; the number of trials and the time may differ.

        Raises:
            RunError: something else differs.
        """
        for name in ("corpus", "space", "settings", "recipe", "objectives", "has_own_length", "seed"):
            mine, theirs = (_comparable(getattr(plan, name)) for plan in (self, recorded))
            if mine != theirs:
                raise RunError(
                    f"this search has {name} {theirs!r:.200}, and this command {mine!r:.200}",
                    why="every worker of a search must try the same things on the same text",
                    fix="give the same command as the first worker, or another --out",
                )

    def with_more(self, other: SearchPlan) -> SearchPlan:
        """This plan with the larger number of trials of the two, and the other's time."""
        return replace(self, trials=max(self.trials, other.trials), minutes=other.minutes)


def _comparable(value: Any) -> Any:
    return (
        {key: value[key] for key in sorted(value) if key != "name"} if isinstance(value, Mapping) else value
    )


def _check_objectives(objectives: tuple[str, ...]) -> None:
    unknown = next((name for name in objectives if name not in OBJECTIVES), None)
    if unknown is not None:
        what, why = f"objective is {unknown!r}", f"the objectives are {', '.join(OBJECTIVES)}"
        raise ConfigError(what, why=why, fix="give --objective loss, or --objective loss,chars_per_s")
    if not 1 <= len(objectives) <= 2 or len(set(objectives)) != len(objectives):
        what, why = (
            f"objective is {','.join(objectives)!r}",
            "a search has one objective, or two different ones",
        )
        raise ConfigError(what, why=why, fix="give --objective loss, or --objective loss,chars_per_s")


def plan_from_json(values: Any) -> SearchPlan:
    """Build and check the plan that a storage holds, which another machine may have written.

    Raises:
        RunError: it is not the plan of a search.
    """
    try:
        if values["space"] not in SPACES or not isinstance(values["settings"], dict):
            raise ValueError("space or settings")
        corpus = {key: str(values["corpus"][key]) for key in ("name", "sha256")}
        recipe = values["recipe"]
        return SearchPlan(
            space=values["space"],
            settings=values["settings"],
            recipe=None if recipe is None else str(recipe),
            objectives=tuple(values["objectives"]),
            corpus=corpus,
            trials=int(values["trials"]),
            minutes=None if values["minutes"] is None else float(values["minutes"]),
            has_own_length=bool(values["has_own_length"]),
            seed=int(values["seed"]),
        )
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise RunError(
            "the storage does not hold the plan of a search",
            why=f"it is missing or not valid ({error})",
            fix="name the storage of a search, or start a new one with another --out",
        ) from error
