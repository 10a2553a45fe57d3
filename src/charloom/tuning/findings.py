"""What a search has found: its trials, the best of them, the front of two objectives, and which settings matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charloom.tuning.plan import OBJECTIVES, SearchPlan
from charloom.tuning.recipe import recipe_toml
from charloom.tuning.start import plan_of
from charloom.tuning.store import SearchStore
from charloom.tuning.study import FACTS, existing_study, quiet_optuna

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FEWEST_FOR_IMPORTANCE = 8
"""Complete trials below which no importance is computed."""


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial.

    Attributes:
        number: from 0.
        state: complete, pruned, fail, running or waiting.
        params: the settings that were chosen.
        values: {what: number} that were measured, all of them, not only the objectives.
        settings: all settings, which repeat the trial; empty unless it is complete.
        run: the run folder, on the machine that trained it.
        train_time_s: time in optimiser steps.
        failure: what happened, if it failed.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    values: Mapping[str, float]
    settings: Mapping[str, Any]
    run: str
    train_time_s: float | None
    failure: str

    def to_json(self) -> dict[str, Any]:
        """The row as one JSON object."""
        names = ("number", "state", "run", "train_time_s", "failure")
        row = {name: getattr(self, name) for name in names}
        return row | {"params": dict(self.params), "values": dict(self.values)}


@dataclass(frozen=True, slots=True)
class Findings:
    """The trials of a search and what follows from them.

    Attributes:
        name: of the search.
        plan: its terms.
        trials: all trials, in the order of their numbers.
        best: the front: trials that no other trial beats in every objective; with one objective, the best trial.
        importance: {setting: how much it decides which trials are the best by the first objective}, from 0 to 1, the
            largest first; empty with few trials.
    """

    name: str
    plan: SearchPlan
    trials: tuple[TrialRow, ...]
    best: tuple[TrialRow, ...]
    importance: Mapping[str, float]

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return Counter(row.state for row in self.trials)[state]

    def recipe_of(self, row: TrialRow) -> str:
        """The settings of a trial as a recipe in TOML."""
        told = ", ".join(f"{name} {row.values[name]!r}" for name in self.plan.objectives)
        about = f"trial {row.number} of the search {self.name}: {told}"
        return recipe_toml(row.settings, about=about, source=f"charloom search on {self.plan.corpus['name']}")


def findings_of(store: SearchStore) -> Findings:
    """Read a search.

    Raises:
        RunError: there is no such search.
    """
    with quiet_optuna():
        study = existing_study(store)
        plan = plan_of(study, store.name)
        assert study is not None
        frozen = study.get_trials(deepcopy=False)[: plan.trials]
        rows = tuple(_row(trial) for trial in frozen)
        return Findings(
            store.name, plan, rows, pareto_front(rows, plan.objectives), _importance(study, plan, rows)
        )


def pareto_front(rows: Sequence[TrialRow], objectives: Sequence[str]) -> tuple[TrialRow, ...]:
    """The complete trials that no other beats: none is as good in every objective and better in one.

    Sorted by the first objective, the best first; of equal trials, the first counts.
    """
    complete = [(_key(row, objectives), row) for row in rows if row.state == "complete"]
    keyed = [(key, row) for key, row in complete if key is not None]
    front: list[tuple[tuple[float, ...], TrialRow]] = []
    for key, row in sorted(keyed, key=lambda pair: (pair[0], pair[1].number)):
        if not any(all(a <= b for a, b in zip(better, key, strict=True)) for better, _ in front):
            front.append((key, row))
    return tuple(row for _, row in front)


def _key(row: TrialRow, objectives: Sequence[str]) -> tuple[float, ...] | None:
    """The values such that lower is better; None if one was not measured."""
    if not all(name in row.values for name in objectives):
        return None
    signs = [1.0 if OBJECTIVES[name] == "minimize" else -1.0 for name in objectives]
    return tuple(sign * row.values[name] for sign, name in zip(signs, objectives, strict=True))


def _row(trial: FrozenTrial) -> TrialRow:
    """A trial as the storage has it, with what another machine may have written checked for its type."""
    facts = _mapping(trial.user_attrs.get(FACTS))
    values = {
        str(name): float(value)
        for name, value in _mapping(facts.get("values")).items()
        if isinstance(value, int | float)
    }
    seconds = facts.get("train_time_s")
    return TrialRow(
        trial.number,
        trial.state.name.lower(),
        dict(trial.params),
        values,
        _mapping(facts.get("settings")),
        str(facts.get("run", "")),
        float(seconds) if isinstance(seconds, int | float) else None,
        str(facts.get("failure", "")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _importance(study: Study, plan: SearchPlan, rows: Sequence[TrialRow]) -> dict[str, float]:
    """How much each setting decides which trials are in the best tenth.

    Source: Watanabe et al. (2023), "PED-ANOVA".
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if sum(row.state == "complete" for row in rows) < FEWEST_FOR_IMPORTANCE:
        return {}
    try:
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            target=lambda trial: _key(_row(trial), plan.objectives[:1])[0],  # type: ignore[index]
        )
    except (ValueError, RuntimeError):  # every trial has the same value, or no setting is in all of them
        return {}
    return {str(name): float(share) for name, share in found.items()}
