"""One training loop for every engine, its pace, its memory, and what it says at the end."""

from charloom.training.events import (
    EpochEnd,
    Event,
    Finished,
    ParameterSignal,
    Progress,
    Sampled,
    Saved,
    Signals,
    Started,
    Validation,
    Watched,
    to_json,
)
from charloom.training.loop import extend, train
from charloom.training.verdict import Facts, Verdict, judge

__all__ = [
    "EpochEnd",
    "Event",
    "Facts",
    "Finished",
    "ParameterSignal",
    "Progress",
    "Sampled",
    "Saved",
    "Signals",
    "Started",
    "Validation",
    "Verdict",
    "Watched",
    "extend",
    "judge",
    "to_json",
    "train",
]
