"""Workers for the tests: the real worker code with an objective that only computes a number."""

import math
import random
import time
from pathlib import Path

from charloom.tuning import SearchPlan, open_store, start_search, work
from charloom.tuning.objective import Measured

NAME = "synthetic"


def plan_of_trials(trials, **more):
    """A search over how a network is trained."""
    terms = {
        "space": "training",
        "settings": {},
        "recipe": None,
        "objectives": ("loss",),
        "has_own_length": True,
    }
    return SearchPlan(corpus={"name": "no text", "sha256": "0"}, trials=trials, **terms | more)


def loss_of(settings):
    """A bowl in the logarithm of the learning rate, with its lowest point at 0.004."""
    return 1.0 + (math.log10(settings["learning_rate"]) - math.log10(0.004)) ** 2 + settings["weight_decay"]


def synthetic(number, settings, *, seconds, watch, check):
    """Compute for a moment, report a curve, and return the number."""
    for progress in (0.1, 0.3):
        time.sleep(0.002 * random.random())
        check()
        watch(progress, loss_of(settings) + 1 - progress)
    return Measured({"loss": loss_of(settings)}, dict(settings), f"trial-{number}", 0.0)


def run_worker(folder, url, trials, lease_s):
    """Join the search and work until it is finished."""
    store = open_store(Path(folder), url)
    study, plan = start_search(store, plan_of_trials(trials), lease_s=lease_s)
    for _ in work(store, study, plan, synthetic, lease_s=lease_s):
        pass
    store.close()
