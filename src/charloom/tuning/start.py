"""Start a search, or join one: check the settings, read the text, record the plan once, create the trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.config import ModelConfig
from charloom.errors import ConfigError, RunError
from charloom.recipes import Resolved, find_recipe
from charloom.recipes.set_up import check_job, settings_for
from charloom.tuning.lease import LEASE_S, HeldLease
from charloom.tuning.objective import Measured, Text, nothing_held_out, train_trial
from charloom.tuning.plan import SearchPlan, plan_from_json
from charloom.tuning.spaces import SPACES, check_space, space_named
from charloom.tuning.store import SETUP, SearchStore, new_holder
from charloom.tuning.study import DEADLINE, PLAN, create_study, quiet_optuna, unfinished

if TYPE_CHECKING:
    from optuna.study import Study


@dataclass(frozen=True, slots=True)
class Training:
    """The `Objective` that trains a network on the text of the search, in a folder of its own."""

    text: Text
    objectives: tuple[str, ...]
    folder: Path

    def __call__(
        self,
        number: int,
        settings: Mapping[str, Any],
        *,
        seconds: float | None,
        watch: Callable[[float, float], None],
        check: Callable[[], None],
    ) -> Measured:
        """Train; the folder's name says which trial it is, and which worker's host and process if it was taken over."""
        folder = self.folder / f"trial-{number:04d}"
        if folder.exists():
            folder = folder.with_name(f"{folder.name}-{new_holder().rpartition(':')[2]}")
        return train_trial(
            self.text, settings, self.objectives, folder, seconds=seconds, watch=watch, check=check
        )


def plan_search(
    text: Text,
    *,
    space: str | None,
    objectives: tuple[str, ...],
    trials: int,
    minutes: float | None,
    settings: Mapping[str, Any],
) -> SearchPlan:
    """Check everything that a search will need before its first trial.

    Args:
        text: the sources, the recipe, and files set aside.
        space: its name; None = the one for the recipe's cell and block.
        objectives: one or two.
        trials: in the whole search.
        minutes: for the whole search, or None.
        settings: those that every trial has.

    Raises:
        ConfigError: the space, an objective or a setting is not allowed, also at the corners of the space.
        DataError: the text cannot be read.
    """
    if space is not None:
        space_named(space)
    corpus, resolved = check_job(*text.sources, recipe=text.recipe, val=text.val, test=text.test, **settings)
    space = space or _space_of(resolved.model_config)
    plan = SearchPlan(
        space=space,
        settings=dict(settings),
        recipe=text.recipe,
        objectives=objectives,
        corpus={"name": corpus.name, "sha256": corpus.sha256},
        trials=trials,
        minutes=minutes,
        has_own_length=_has_own_length(text, settings, resolved, minutes),
        seed=int(settings.get("seed") or 0),
    )
    if "loss" in objectives and (corpus.validation is None or len(corpus.validation) < 2):
        raise nothing_held_out()

    named = None if text.recipe is None else find_recipe(text.recipe)
    check_space(plan.searched, lambda chosen: settings_for(corpus, named, {**settings, **chosen}))
    return plan


def _space_of(network: ModelConfig) -> str:
    """The space for the recipe's cell and block."""
    name = network.cell if network.block == "plain" else f"residual-{network.cell}"
    return name if name in SPACES else network.cell


def _has_own_length(
    text: Text, settings: Mapping[str, Any], resolved: Resolved, minutes: float | None
) -> bool:
    """Whether the settings or the recipe say how many steps a trial has; otherwise it gets a share of the minutes.

    Raises:
        ConfigError: neither does.
    """
    if any(settings.get(name) is not None for name in ("steps", "epochs")):
        return True
    if minutes is not None:
        return False
    if text.recipe is None or resolved.train_config.minutes is not None:
        raise ConfigError(
            "the search has no budget",
            why="nothing says how long a trial trains",
            fix="give --minutes for the whole search, or --steps or --epochs for each trial",
        )
    return True


def start_search(
    store: SearchStore, plan: SearchPlan, *, lease_s: float = LEASE_S
) -> tuple[Study, SearchPlan]:
    """Record the plan and create the trials, or join the search that is there.

    One worker at a time does this. A search whose trials are all finished, or whose time was up, is continued: with
    more trials, or with the minutes of this call.

    Returns:
        The study and the plan in force.

    Raises:
        RunError: the search has other terms, or the store cannot be reached.
    """
    holder = new_holder()
    while store.claim(SETUP, holder, lease_s) is None:
        time.sleep(0.05)
    with HeldLease(store, SETUP, holder, lease_s), quiet_optuna():
        study = create_study(store, plan.directions)
        recorded = study.user_attrs.get(PLAN)
        if recorded is not None:
            earlier = plan_from_json(recorded)
            plan.check_same(earlier)
            plan = earlier.with_more(plan)
        if recorded != plan.to_json():
            study.set_user_attr(PLAN, plan.to_json())
        for _ in range(plan.trials - len(study.get_trials(deepcopy=False))):
            study.enqueue_trial({})
        deadline = study.user_attrs.get(DEADLINE)
        is_over = deadline is None or deadline <= store.now()
        if plan.minutes is not None and is_over and unfinished(study, plan.trials):
            study.set_user_attr(DEADLINE, store.now() + 60.0 * plan.minutes)
    return study, plan


def plan_of(study: Study | None, name: str) -> SearchPlan:
    """The plan of an existing search.

    Raises:
        RunError: there is none.
    """
    if study is None or PLAN not in study.user_attrs:
        raise RunError(
            f"there is no search {name}",
            why="no worker has started it in this folder or database",
            fix="start it: charloom search TEXT --trials 40 --minutes 30",
        )
    return plan_from_json(study.user_attrs[PLAN])
