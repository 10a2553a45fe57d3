"""One training loop for every engine, its pace, its memory, and what it says at the end."""

from charloom.training.events import (
    EpochEnd,
    Event,
    Finished,
    Progress,
    Sampled,
    Saved,
    Started,
    Validation,
    to_json,
)
from charloom.training.loop import extend, train
from charloom.training.verdict import Facts, Verdict, judge

__all__ = [
    "EpochEnd",
    "Event",
    "Facts",
    "Finished",
    "Progress",
    "Sampled",
    "Saved",
    "Started",
    "Validation",
    "Verdict",
    "extend",
    "judge",
    "to_json",
    "train",
]
