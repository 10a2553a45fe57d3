"""The training loop for every engine: its budget, its state, its events and its final report."""

from charloom.training.events import (
    Closing,
    EpochEnd,
    Event,
    Finished,
    ParameterStats,
    Preparing,
    Progress,
    Sampled,
    Saved,
    Started,
    UpdateStats,
    Validation,
    Watched,
    to_json,
)
from charloom.training.facts import Facts
from charloom.training.loop import extend, train
from charloom.training.verdict import Verdict, judge

__all__ = [
    "Closing",
    "EpochEnd",
    "Event",
    "Facts",
    "Finished",
    "ParameterStats",
    "Preparing",
    "Progress",
    "Sampled",
    "Saved",
    "Started",
    "UpdateStats",
    "Validation",
    "Verdict",
    "Watched",
    "extend",
    "judge",
    "to_json",
    "train",
]
