"""Fits of the cost laws: power laws by least squares on logarithms, and the loss law by robust regression.

The loss law is judged with each text left out in turn: its interval is as wide as the residuals on texts that took no part
in the fit demand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charloom.forecast.loss_law import LEVEL, predictors
from charloom.forecast.text_facts import TextFacts

RIDGE = 0.003
"""Strength of the ridge in units of a row; constants are not shrunk."""

HUBER, ROUNDS = 0.06, 30
"""Residuals beyond this count linearly: one odd text does not bend the law."""


class PowerLaw(NamedTuple):
    """y = factor · x^exponent, and the share of the variance of ln y that it explains."""

    factor: float
    exponent: float
    r2: float


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Fit a power law by least squares on the logarithms.

    Example:
        >>> power_law([1, 2, 4], [3, 12, 48])
        PowerLaw(factor=3.0, exponent=2.0, r2=1.0)
    """
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    exponent, constant = np.polyfit(log_x, log_y, 1)
    residual, around = log_y - constant - exponent * log_x, log_y - log_y.mean()
    total = float(around @ around)
    r2 = 1.0 if total == 0 else 1 - float(residual @ residual) / total
    return PowerLaw(*(round(float(value), 10) for value in (math.exp(constant), exponent, r2)))


class Row(NamedTuple):
    """A measured training: its text, the facts of the part it read, its result, and the kind of its network."""

    text: str
    facts: TextFacts
    read_chars: float
    bits_per_char: float
    kind: str


class LossFit(NamedTuple):
    """A fitted loss law; differences are of ln(bits).

    Attributes:
        coefficients: by predictor.
        of_kind: what each kind adds to the constant.
        spread: half the width of the interval.
        residuals: measured − forecast of each row when its text is left out of the fit.
        widths: half the width of its interval, its text being left out of that too.
        coverage: share of the texts' trainings that are inside, every text counting as one.
    """

    coefficients: dict[str, float]
    of_kind: dict[str, float]
    spread: float
    residuals: tuple[float, ...]
    widths: tuple[float, ...]
    coverage: float


def fit_loss(rows: Sequence[Row], names: Sequence[str], kinds: Sequence[str]) -> LossFit:
    """Fit ln(bits / n-gram bits) = c · x on rows, and judge it on texts left out.

    Args:
        rows: measured trainings.
        names: the predictors to use, the constant first.
        kinds: their networks, which differ in a constant; the first has none.
    """
    known = [predictors(row.facts, row.read_chars) for row in rows]
    others = [[float(row.kind == kind) for kind in kinds[1:]] for row in rows]
    x = np.array([[one[name] for name in names] + other for one, other in zip(known, others, strict=True)])
    y = np.log([row.bits_per_char / row.facts.best_bits for row in rows])
    texts = np.array([row.text for row in rows])
    free = len(kinds)
    residuals, widths = left_out(x, y, texts, free), np.zeros(len(y))
    for text in set(texts):
        own = texts == text
        widths[own] = spread_of(left_out(x[~own], y[~own], texts[~own], free), texts[~own])
    c = huber(x, y, free)
    return LossFit(
        {name: float(value) for name, value in zip(names, c, strict=False)},
        {kind: float(value) for kind, value in zip(kinds, [0.0, *c[len(names) :]], strict=True)},
        spread_of(residuals, texts),
        tuple(map(float, residuals)),
        tuple(map(float, widths)),
        float(np.mean([np.mean((np.abs(residuals) <= widths)[texts == text]) for text in set(texts)])),
    )


def huber(x: Any, y: Any, free: int = 1) -> Any:
    """Coefficients of a ridge regression with Huber's loss; the first column and the last `free` − 1 are not shrunk."""
    penalty = RIDGE * len(y) * np.eye(x.shape[1])
    for column in [0, *range(x.shape[1] - free + 1, x.shape[1])]:
        penalty[column, column] = 1e-9
    weights = np.ones(len(y))
    for _ in range(ROUNDS):
        c = np.linalg.solve(x.T @ (weights[:, None] * x) + penalty, x.T @ (weights * y))
        weights = HUBER / np.maximum(HUBER, np.abs(y - x @ c))
    return c


def left_out(x: Any, y: Any, texts: Any, free: int = 1) -> Any:
    """Residual of each row by the fit without its text."""
    found = np.zeros(len(y))
    for text in set(texts):
        own = texts == text
        found[own] = y[own] - x[own] @ huber(x[~own], y[~own], free)
    return found


def spread_of(residuals: Any, texts: Any, level: float = LEVEL) -> float:
    """Half the width of an interval that holds for this share of new texts.

    It is a quantile of residuals that were left out. Trainings on one text miss together, so every text counts as one,
    whatever the number of its trainings.
    """
    size, names, counts = np.abs(residuals), *np.unique(texts, return_counts=True)
    weight = 1 / counts[np.searchsorted(names, texts)]
    order = np.argsort(size)
    reached = np.cumsum(weight[order]) >= level * len(names) - 1e-9
    return float(size[order][np.argmax(reached)])
