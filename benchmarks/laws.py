"""Cost laws: what a training costs by its sizes, and the loss that it will reach.

python -m benchmarks laws [--part runs|speed|memory|target|fit]

runs    trainings of the default settings on parts of texts (resumable; ``results/law-runs.jsonl``)
speed   characters per processor second against width, layers, window, batch, vocabulary and corpus
memory  peak memory against the estimate
target  processor seconds until tiny Shakespeare costs 2.75 bits a character
fit     the loss law from the runs and from committed figures; writes ``src/charloom/forecast/law.json`` too

All parts take about an hour on one core. ENWIK8 and CHARLOOM_DATA say where texts are; those that are missing are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import law_costs
from benchmarks.harness import machine, rounded, write_parts
from benchmarks.law_fit import LossFit, Row, fit_loss
from benchmarks.law_runs import measure_missing, measured
from benchmarks.law_texts import part
from charloom.forecast.forecast import reported_chars
from charloom.forecast.loss_law import network_kind
from charloom.forecast.text_facts import TextFacts, measure_text
from charloom.recipes import find_recipe, resolve
from charloom.text import corpus_from_text
from charloom.training.verdict import COPIED

LAW = Path(__file__).parents[1] / "src/charloom/forecast/law.json"

COMMITTED: tuple[tuple[str, int, int, float, str, str], ...] = (
    ("tinyshakespeare", 1_115_394, 5_438_720, 2.067, "flash", "docs/results.md"),
    ("moliere", 1_687_290, 5_362_400, 1.882, "flash", "docs/results.md"),
    ("arabic_wiki", 1_660_735, 5_212_864, 2.461, "flash", "docs/results.md"),
    ("arabic_wiki_35m", 12_000_000, 3_129_344, 2.660, "flash", "docs/results.md"),
    ("tinyshakespeare", 450_000, 4_708_352, 1.999, "flash", "docs/lab-log, 49"),
    ("moliere", 440_737, 4_730_880, 1.714, "flash", "docs/lab-log, 49"),
    ("arabic_wiki", 250_848, 4_589_568, 2.755, "flash", "docs/lab-log, 49"),
    ("tinyshakespeare", 1_115_394, 3_072_000, 2.102, "flash", "table.json"),
    ("anna", 1_985_223, 3_072_000, 1.929, "flash", "table.json"),
    ("moliere", 1_687_290, 3_072_000, 1.952, "flash", "table.json"),
    ("arabic_wiki", 1_660_735, 3_072_000, 2.509, "flash", "table.json"),
    ("tinyshakespeare", 1_115_394, 7_860_000, 2.047, "flash", "quality-flash.json"),
    ("tinyshakespeare", 1_115_394, 3_227_648, 2.060, "best", "table.json"),
    ("anna", 1_985_223, 3_268_608, 1.870, "best", "table.json"),
    ("moliere", 1_687_290, 3_231_744, 1.876, "best", "table.json"),
    ("arabic_wiki", 1_660_735, 3_571_712, 2.417, "best", "table.json"),
    ("tinyshakespeare", 1_115_394, 8_060_000, 1.987, "best", "quality-best.json"),
    ("tinyshakespeare", 1_115_394, 8_060_000, 1.975, "record", "quality-record.json"),
    ("tinyshakespeare", 200_000, 2_402_656, 2.270, "medium", "docs/results.md"),
    ("moliere", 195_827, 2_953_728, 2.136, "medium", "docs/results.md"),
    ("arabic_wiki", 111_235, 2_200_704, 3.173, "medium", "docs/results.md"),
    ("tinyshakespeare", 50_000, 2_021_760, 2.261, "small", "docs/results.md"),
    ("tinyshakespeare", 20_000, 807_120, 2.527, "small", "docs/results.md"),
    ("tinyshakespeare", 5_000, 221_600, 2.949, "small", "docs/results.md"),
    ("moliere", 49_093, 1_985_040, 2.549, "small", "docs/results.md"),
    ("moliere", 19_634, 792_000, 2.174, "small", "docs/results.md"),
    ("moliere", 4_892, 216_800, 2.849, "small", "docs/results.md"),
    ("arabic_wiki", 27_669, 1_117_440, 3.067, "small", "docs/results.md"),
    ("arabic_wiki", 11_045, 493_600, 3.382, "small", "docs/results.md"),
    ("arabic_wiki", 2_763, 120_800, 3.504, "small", "docs/results.md"),
)
"""Earlier figures: text, its first characters, characters read, bits per character (stream), kind of network, source."""

FAMILIES = {"plain": ("small", "medium"), "residual": ("flash", "best", "record")}
"""Kinds that share their coefficients but for the constant."""

PREDICTORS = ("one", "gain", "gain·read", "gain·text")

FEWEST_UPDATES = 100
"""Shorter trainings are left out: in some dozen updates, a network learns little but which characters are frequent."""


def facts_of(text: str, read_chars: float) -> TextFacts:
    """The facts of a text, as a forecast of a training that reads so many characters has them."""
    return _facts_of(text, reported_chars(read_chars))


@cache
def _facts_of(text: str, reported: int) -> TextFacts:
    found = measure_text(corpus_from_text(text), reported)
    assert found is not None
    return found


def rows() -> Iterator[Row]:
    """Every measured training that is not too short and has a held-out part of its own, the committed ones first."""
    for name, chars, read, bits, kind, _ in COMMITTED:
        if text := part(name, 0.0, chars):
            yield Row(name, facts_of(text, read), read, bits, kind)
    for run in measured():
        facts = TextFacts(**{**run["facts"], "ngram_bits": tuple(run["facts"]["ngram_bits"])})
        if run["steps"] < FEWEST_UPDATES or facts.copied >= COPIED:
            continue
        recipe = None if run["recipe"] is None else find_recipe(run["recipe"])
        kind = network_kind(resolve(recipe, {"steps": 1}, num_chars=run["train_chars"]).model_config)
        assert kind is not None
        yield Row(run["text"], facts, run["chars_seen"], run["val_bits_per_char"], kind)


def fit() -> dict[str, Any]:
    """Fit each family, print how well it forecasts texts that were left out, and write the package's law."""
    every = list(rows())
    found, kinds = {}, {}
    for family, members in FAMILIES.items():
        own = [row for row in every if row.kind in members]
        law = fit_loss(own, PREDICTORS, members)
        found[family] = shown(own, law)
        kinds |= {kind: kind_json(own, law, kind) for kind in members if any(r.kind == kind for r in own)}
    where = machine()
    note = {name: where[name] for name in ("processor", "cores", "date")}
    LAW.write_text(
        json.dumps({"measured": note, "kinds": kinds}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    return found


def shown(own: Sequence[Row], law: LossFit) -> dict[str, Any]:
    """A family's fit with its rows; prints the summary."""
    texts = sorted({row.text for row in own})
    print(f"{len(own)} trainings on {len(texts)} texts, coverage {law.coverage:.2f}, spread {law.spread:.3f}")
    return {
        "trainings": len(own),
        "texts": texts,
        "coverage_of_texts_left_out": rounded(law.coverage),
        "spread": rounded(law.spread),
        "coefficients": {name: rounded(value) for name, value in law.coefficients.items()},
        "of_kind": {name: rounded(value) for name, value in law.of_kind.items()},
        "rows": [
            {
                "text": row.text,
                "train_chars": row.facts.train_chars,
                "chars_seen": row.read_chars,
                "kind": row.kind,
                "bits_per_char": row.bits_per_char,
                "ngram_bits_per_char": rounded(row.facts.best_bits),
                "left_out_ratio": rounded(residual),
                "interval": rounded(width),
            }
            for row, residual, width in zip(own, law.residuals, law.widths, strict=True)
        ],
    }


def kind_json(own: Sequence[Row], law: LossFit, kind: str) -> dict[str, Any]:
    """What the package reads about one kind of network."""
    rows_of = [row for row in own if row.kind == kind]
    coefficients = dict(law.coefficients)
    coefficients["one"] += law.of_kind[kind]
    return {
        "coefficients": {name: round(value, 5) for name, value in coefficients.items()},
        "spread": round(law.spread, 5),
        "read_chars": [min(row.read_chars for row in rows_of), max(row.read_chars for row in rows_of)],
        "train_chars": [
            min(row.facts.train_chars for row in rows_of),
            max(row.facts.train_chars for row in rows_of),
        ],
    }


PARTS = {"speed": law_costs.speed, "memory": law_costs.memory, "target": law_costs.target, "fit": fit}


def main(arguments: Sequence[str] = ()) -> None:
    """Measure all parts, or one, and write ``results/laws.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks laws")
    parser.add_argument("--part", choices=["runs", *PARTS])
    asked = parser.parse_args(list(arguments)).part
    if asked in (None, "runs"):
        measure_missing()
    parts = {name: run for name, run in PARTS.items() if asked in (None, name)}
    if parts:
        print(write_parts("laws", parts))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
