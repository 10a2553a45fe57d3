"""The settings of sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How to sample text from probabilities."""

    length: int = setting(500, "characters to generate; 0 = until interrupted or stopped", at_least=0)
    count: int = setting(1, "number of samples", at_least=1, at_most=10_000_000)
    temperature: float = setting(1.0, "above 1 bolder, below 1 safer, 0 greedy", at_least=0.0)
    top_k: int | None = setting(None, "keep the k likeliest characters; none = all", at_least=1)
    top_p: float | None = setting(
        None, "keep the smallest set with at least this probability; none = all", above=0.0, at_most=1.0
    )
    min_p: float | None = setting(
        None, "minimum probability relative to the likeliest character; none = all", at_least=0.0, at_most=1.0
    )
    repetition_penalty: float | None = setting(
        None, "divides the odds of recent characters: above 1 discourages repetition; none = off", above=0.0
    )
    repetition_window: int = setting(
        32, "how many recent characters the repetition penalty covers", at_least=1, at_most=65_536
    )
    seed: int | None = setting(
        None, "same seed, same text; none = random, and printed", at_least=0, below=2**64
    )
    unknown: Literal["error", "skip", "similar", "replace"] = setting(
        "error", "what to do with prompt characters outside the vocabulary"
    )
    batch: int = setting(64, "samples generated in parallel", at_least=1, at_most=65_536)
    engine: Literal["auto", "torch", "scratch", "fused"] = setting("auto", "auto, torch, scratch or fused")
    precision: Literal["float32", "float64", "int8"] = setting(
        "float32", "arithmetic of the forward pass; int8 = 8-bit matrices (fused engine), twice as fast"
    )
    threads: int | None = setting(
        None, "threads of the fused engine; none = one for a single sample, all for several", at_least=1
    )
    portable: bool = setting(
        False, "the same text on every processor and in the browser; slower (fused engine, float32 or int8)"
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.portable and self.precision == "float64":
            raise ConfigError(
                "portable is on and precision is 'float64'",
                why="the portable order of sums is for float32",
                fix="use --precision float32 or int8, or leave --portable out",
            )
