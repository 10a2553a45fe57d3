"""The table that nobody has published: four cells, plain and residual, with as many parameters and as much time, on four texts.

Every row has about `PARAMS` parameters and `MINUTES` of two cores. Its learning rate is chosen by twelve short trials on a slice of the
training part (`benchmarks.trials`): six a factor of two apart, three between the best of them and its neighbours, and the best three again
with another seed. Everything else is the same for all rows. Beside them: charloom's recipes in their own time, the primed n-gram of the best order
and xz. `benchmarks.training` has the small GPT.

python -m benchmarks table                       goes on where ``results/table.json`` and ``results/table-trials.jsonl`` end
python -m benchmarks.table tinyshakespeare anna  those texts alone

Losses are of the last tenth, nats a character; the mean and the spread of `SEEDS` seeds.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness import RESULTS, as_text, machine, rounded
from benchmarks.trials import QUICK_WINDOWS, judged, trained, whole
from charloom import threads
from charloom.config import ModelConfig
from charloom.parameters import count_parameters
from charloom.training.closing import measure_baselines

TEXTS = ("tinyshakespeare", "anna", "moliere", "arabic_wiki")
PARAMS, MINUTES, TRIAL_MINUTES, SEEDS = 400_000, 1.0, 0.25, 3
WINDOWS = 200 * 64
COARSE = tuple(1e-3 * 2**i for i in range(6))
RECIPES = ("flash",)
COMMON: Mapping[str, Any] = {
    "recipe": "flash",  # its optimiser, schedule, averaging and resets; the network is the row's
    "batch_size": 32,
    "bptt_length": 64,
}
ROWS: Mapping[str, Mapping[str, Any]] = {
    f"{cell} {block}": {
        "cell": cell,
        "block": block,
        # minGRU's gates read no state: one plain layer of it can only sum what it has read
        "num_layers": 2 if block == "residual" or cell == "mingru" else 1,
    }
    for cell in ("elman", "lstm", "gru", "mingru")
    for block in ("plain", "residual")
}
TRIALS, TABLE = RESULTS / "table-trials.jsonl", RESULTS / "table.json"


def sized(network: Mapping[str, Any], vocab_size: int) -> int:
    """The multiple of 8 for `hidden_size` whose parameters come nearest to `PARAMS`.

    Example:
        >>> sized({"cell": "lstm", "block": "plain", "num_layers": 1}, 65)
        280
    """

    def distance(width: int) -> float:
        config = ModelConfig(**network, hidden_size=width)
        return abs(count_parameters(config, vocab_size) - PARAMS)

    return min(range(8, 1_025, 8), key=distance)


class Book:
    """What was measured already, so that a table of hours can be made in pieces."""

    def __init__(self) -> None:
        lines = TRIALS.read_text("utf-8").splitlines() if TRIALS.exists() else []
        self.trials = [json.loads(line) for line in lines]
        self.table: dict[str, Any] = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {}

    def trial(self, text: str, row: str, settings: Mapping[str, Any]) -> float:
        """The loss of a short training: windows of 256 of the slice that no table uses."""
        key = {"text": text, "row": row, **{k: settings[k] for k in ("learning_rate", "seed")}}
        for known in self.trials:
            if all(known[k] == value for k, value in key.items()):
                return float(known["windows_256"])
        _, corpus = whole(text)
        done = trained(corpus, {**settings, "minutes": TRIAL_MINUTES})
        losses = judged(done.model, corpus, num_windows=QUICK_WINDOWS)
        line = {**key, **{k: rounded(v) for k, v in losses.items()}, "steps": done.finished.step}
        self.trials.append(line)
        with TRIALS.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        return float(line["windows_256"])

    def keep(self, text: str, row: str, figures: Mapping[str, Any]) -> None:
        """Write a row of the table."""
        self.table.setdefault("texts", {}).setdefault(text, {})[row] = dict(figures)
        self.table = {"machine": machine(), "params": PARAMS, "minutes": MINUTES, "windows": WINDOWS} | {
            "texts": self.table["texts"]
        }
        TABLE.write_text(as_text(self.table), encoding="utf-8")
        print(text, row, json.dumps(figures), flush=True)

    def has(self, text: str, row: str) -> bool:
        """Whether a row of the table is there."""
        return row in self.table.get("texts", {}).get(text, {})


def tuned(book: Book, text: str, row: str, settings: Mapping[str, Any]) -> float:
    """The learning rate that twelve trials choose."""

    def loss(rate: float, seed: int = 0) -> float:
        return book.trial(text, row, {**settings, "learning_rate": float(f"{rate:.3g}"), "seed": seed})

    losses = {rate: loss(rate) for rate in COARSE}
    best = min(losses, key=losses.__getitem__)
    losses |= {best * 2**step: loss(best * 2**step) for step in (-0.5, 0.25, 0.5)}
    finalists = sorted(losses, key=losses.__getitem__)[:3]
    means = {rate: (losses[rate] + loss(rate, seed=1)) / 2 for rate in finalists}
    return float(f"{min(means, key=means.__getitem__):.3g}")


def measured(text: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`SEEDS` trainings on the whole training part, judged by the last tenth."""
    corpus, _ = whole(text)
    runs = []
    for seed in range(SEEDS):
        done = trained(corpus, {**settings, "seed": seed})
        runs.append((done, judged(done.model, corpus, num_windows=WINDOWS)))
    figures: dict[str, Any] = {
        "num_params": runs[0][0].num_params,
        "chars_seen": [done.finished.chars_seen for done, _ in runs],
        "train_time_s": [rounded(done.finished.train_time_s) for done, _ in runs],
    }
    for protocol in runs[0][1]:
        losses = [found[protocol] for _, found in runs]
        figures[protocol] = {
            "mean": rounded(statistics.fmean(losses)),
            "sd": rounded(statistics.stdev(losses)),
        }
    return figures


def main(texts: Sequence[str] = TEXTS) -> None:
    """Measure what the files do not hold yet."""
    book = Book()
    with threads.limit(None):
        for text in texts:
            corpus, _ = whole(text)
            if not book.has(text, "n-gram and xz"):
                found = measure_baselines(corpus)
                assert found.ngram_bits_per_char is not None
                assert found.xz_bits_per_char is not None
                figures = {
                    "order": found.ngram_order,
                    "ngram_stream": rounded(found.ngram_bits_per_char * math.log(2)),
                    "xz_stream": rounded(found.xz_bits_per_char * math.log(2)),
                }
                book.keep(text, "n-gram and xz", figures)
            for row, network in ROWS.items():
                if book.has(text, row):
                    continue
                width = sized(network, len(corpus.vocab))
                settings = {**COMMON, **network, "hidden_size": width}
                rate = tuned(book, text, row, settings)
                figures = measured(text, {**settings, "learning_rate": rate, "minutes": MINUTES})
                book.keep(text, row, {"hidden_size": width, "learning_rate": rate, **figures})
            for recipe in RECIPES:
                if not book.has(text, recipe):
                    book.keep(text, recipe, measured(text, {"recipe": recipe}))


if __name__ == "__main__":
    main(sys.argv[1:] or TEXTS)
