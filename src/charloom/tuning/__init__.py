"""Search for settings: many short trainings, chosen by Optuna, shared by workers on any number of machines.

A search is a journal of trials and a lease for each trial that is being worked on (`store`). A worker takes the first
trial that is neither finished nor leased, trains it, reports its validation curve to the pruner, and records the result
(`worker`). `spaces` says what is varied, `study` chooses, `objective` trains and measures, `findings` reads the results.
"""

from charloom.tuning.findings import Findings, findings_of
from charloom.tuning.plan import OBJECTIVES, SearchPlan
from charloom.tuning.recipe import recipe_toml
from charloom.tuning.spaces import SPACES, space_named
from charloom.tuning.start import start_search
from charloom.tuning.store import open_store
from charloom.tuning.worker import work

__all__ = [
    "OBJECTIVES",
    "SPACES",
    "Findings",
    "SearchPlan",
    "findings_of",
    "open_store",
    "recipe_toml",
    "space_named",
    "start_search",
    "work",
]
