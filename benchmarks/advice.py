"""Whether the judge's advice is right: labelled runs, each followed by what the advice says.

Each case trains a network and notes the verdict. Then the advice is followed: the run is resumed for as many steps
as it says, or trained again with the settings it changes, with more text before the same held-out text, or with
another held-out text. The figure that the advice names must be better than before. "Nothing to gain" is right if
neither more steps nor twice the width improves the loss beyond its standard error.

The texts are parts of the files in the data folder, this Python's own library (source code), and generated ones.
"""

from __future__ import annotations

import pydoc_data.topics
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charloom
from benchmarks.harness import rounded
from benchmarks.trials import data_file

PLAIN: Mapping[str, Any] = {
    "block": "plain",
    "embedding_size": 32,
    "num_layers": 1,
    "batch_size": 16,
    "bptt_length": 64,
    "learning_rate": 5e-3,
    "average_decay": None,
    "max_epochs": None,
    "dropout_input": 0.0,
    "dropout_output": 0.0,
}
RESIDUAL: Mapping[str, Any] = {
    "block": "residual",
    "num_layers": 2,
    "batch_size": 16,
    "bptt_length": 64,
    "learning_rate": 4e-3,
    "average_decay": None,
    "max_epochs": None,
    "dropout_output": 0.0,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled run.

    Attributes:
        name: what is special about it.
        text: the text's name in `text_of`.
        chars: characters used of it.
        kinds: the verdicts that would be right.
        settings: of the training.
        shape: what is done to the text: as it is, repeated, or doubled.
    """

    name: str
    text: str
    chars: int
    kinds: tuple[str, ...]
    settings: Mapping[str, Any]
    shape: str = "plain"


def text_of(name: str) -> str:
    """A text by name: a file of the data folder, source code, documentation, or generated from a fixed seed."""
    draw = random.Random(name)
    made: dict[str, Callable[[], str]] = {
        "letters": lambda: "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=100_000)),
        "digits": lambda: "".join(draw.choices("0123456789", k=100_000)),
        "skewed": lambda: "".join(draw.choices("abcd", weights=(8, 4, 2, 1), k=100_000)),
        "source": _source_code,
        "docs": lambda: "\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics)),
        "sums": lambda: "".join(f"{a}+{b}={a + b}\n" for a, b in _pairs(draw, 20_000)),
    }
    return made[name]() if name in made else data_file(name).read_text("utf-8")


def _source_code() -> str:
    folder = Path(random.__file__).parent
    return "".join((folder / f"{name}.py").read_text("utf-8") for name in ("argparse", "typing", "inspect"))


def _pairs(draw: random.Random, count: int) -> list[tuple[int, int]]:
    return [(draw.randrange(100), draw.randrange(100)) for _ in range(count)]


SHORT, LONGER = ("too-short",), ("too-short", "still-improving")
OVER = ("overfitting", "memorised")
FULL = ("well-fitted", "overfitting", "still-improving")
NOTHING, COPIED = ("nothing-to-gain",), ("overlapping",)
UNSTABLE = ("unstable",)
SMALL = ("underfitting", "still-improving")


def plain(cell: str, width: int, steps: int, **more: Any) -> dict[str, Any]:
    """Settings of a plain network of one layer."""
    return {**PLAIN, "cell": cell, "hidden_size": width, "steps": steps, **more}


def residual(cell: str, width: int, steps: int, **more: Any) -> dict[str, Any]:
    """Settings of a residual network of two layers."""
    return {**RESIDUAL, "cell": cell, "hidden_size": width, "steps": steps, **more}


CASES: tuple[Case, ...] = (
    Case("5 steps", "tinyshakespeare", 100_000, SHORT, plain("gru", 64, 5)),
    Case("5 steps, 1 kB", "anna", 1_000, SHORT, plain("lstm", 32, 5)),
    Case("10 steps", "moliere", 300_000, SHORT, plain("elman", 64, 10)),
    Case("10 steps of minGRU", "arabic_wiki", 50_000, SHORT, residual("mingru", 32, 10)),
    Case("60 steps, half a pass", "moliere", 150_000, SHORT, plain("lstm", 64, 60)),
    Case("60 steps at a constant rate", "moliere", 150_000, SHORT, plain("gru", 64, 60, schedule="constant")),
    Case("100 steps, two thirds of a pass", "anna", 170_000, SHORT, plain("gru", 96, 100)),
    Case("100 steps of a residual LSTM", "docs", 100_000, SHORT, residual("lstm", 48, 100)),
    Case("150 steps, wsd", "source", 100_000, SHORT, plain("gru", 64, 150, schedule="wsd")),
    Case("2 MB, a tenth of a pass", "anna", 1_900_000, SHORT, plain("elman", 64, 200)),
    Case("names, 40 steps", "names", 60_000, SHORT, plain("gru", 48, 40, documents="line")),
    Case("1.1 MB, half a pass", "tinyshakespeare", 1_115_394, LONGER, plain("mingru", 64, 500)),
    Case("three passes", "tinyshakespeare", 100_000, LONGER, plain("lstm", 64, 300)),
    Case("three passes, Arabic", "arabic_wiki", 100_000, LONGER, plain("gru", 64, 280)),
    Case("source code, three passes", "source", 100_000, LONGER, residual("gru", 32, 300)),
    Case("names, three passes", "names", 100_000, LONGER, plain("lstm", 48, 300, documents="line")),
    Case("a tiny network", "tinyshakespeare", 50_000, SMALL, plain("elman", 8, 800)),
    Case("a tiny GRU", "moliere", 40_000, SMALL, plain("gru", 8, 700)),
    Case("a tiny LSTM, constant rate", "docs", 50_000, SMALL, plain("lstm", 8, 700, schedule="constant")),
    Case("a tiny minGRU", "names", 40_000, SMALL, plain("mingru", 12, 800, documents="line")),
    Case("sums of two numbers", "sums", 60_000, (*SMALL, *FULL), plain("gru", 32, 800, documents="line")),
    Case("20 kB, no dropout", "arabic_wiki", 20_000, OVER, plain("gru", 128, 500)),
    Case("20 kB, wide", "moliere", 20_000, OVER, plain("lstm", 192, 500, learning_rate=8e-3)),
    Case("5 kB, constant rate", "anna", 5_000, OVER, plain("lstm", 128, 300, schedule="constant")),
    Case("10 kB, residual", "anna", 10_000, OVER, residual("lstm", 64, 300)),
    Case("10 kB, two layers", "tinyshakespeare", 10_000, OVER, plain("gru", 96, 400, num_layers=2)),
    Case("3 kB, Elman", "arabic_wiki", 3_296, OVER, plain("elman", 128, 400)),
    Case("5 kB of names", "names", 5_000, OVER, plain("lstm", 96, 400, documents="line")),
    Case("20 kB of code", "source", 20_000, OVER, plain("lstm", 160, 500, schedule="constant")),
    Case(
        "one-hot, no dropout",
        "docs",
        15_000,
        OVER,
        plain("gru", 128, 500, embedding_size=None, dropout_input=0.0),
    ),
    Case("minGRU, residual, 10 kB", "moliere", 10_000, OVER, residual("mingru", 64, 400)),
    Case(
        "20 kB, fitted",
        "tinyshakespeare",
        20_000,
        FULL,
        plain("lstm", 128, 450, dropout_input=0.3, dropout_output=0.5),
    ),
    Case("50 kB, fitted", "moliere", 50_000, FULL, plain("lstm", 96, 800, dropout_output=0.4)),
    Case("default recipe, 5 kB", "anna", 5_000, (*FULL, *OVER), {"minutes": 0.5}),
    Case("default recipe, 20 kB", "arabic_wiki", 20_000, (*FULL, *OVER, *LONGER), {"minutes": 0.5}),
    Case("random letters, 1 kB", "letters", 1_000, (*NOTHING, *LONGER, *OVER), plain("gru", 32, 60)),
    Case("random letters, 10 kB", "letters", 10_000, NOTHING, plain("gru", 48, 300)),
    Case("random letters, 50 kB", "letters", 50_000, NOTHING, plain("lstm", 48, 400)),
    Case("random digits", "digits", 30_000, NOTHING, plain("elman", 32, 300)),
    Case("skewed letters", "skewed", 20_000, NOTHING, residual("mingru", 24, 300)),
    Case("random letters, 5 steps", "letters", 30_000, SHORT, plain("gru", 48, 5)),
    Case("a text twice", "moliere", 20_000, COPIED, plain("gru", 64, 200), shape="doubled"),
    Case(
        "an Arabic text twice, few steps",
        "arabic_wiki",
        30_000,
        COPIED,
        plain("lstm", 48, 20),
        shape="doubled",
    ),
    Case("one sentence repeated", "anna", 5_000, COPIED, plain("gru", 32, 100), shape="repeated"),
    Case(
        "a held-out part that is a copy", "docs", 20_000, COPIED, plain("lstm", 48, 200), shape="copied end"
    ),
    Case("names twice", "names", 15_000, COPIED, plain("gru", 48, 200, documents="line"), shape="doubled"),
    Case(
        "a learning rate far too high",
        "tinyshakespeare",
        30_000,
        ("not-learning", "too-short"),
        plain("elman", 64, 300, learning_rate=1.0),
    ),
    Case(
        "L2 of 0.05 with Adam",
        "moliere",
        60_000,
        UNSTABLE,
        plain(
            "elman", 160, 800, learning_rate=0.01, optimizer="adam", weight_decay=0.05, schedule="constant"
        ),
    ),
    Case(
        "L2 of 0.02 with Adam, GRU",
        "docs",
        60_000,
        UNSTABLE,
        plain("gru", 64, 600, learning_rate=0.02, optimizer="adam", weight_decay=0.02, schedule="constant"),
    ),
    Case(
        "RMSprop at a rate too high",
        "moliere",
        60_000,
        UNSTABLE,
        plain(
            "elman", 128, 600, learning_rate=0.02, optimizer="rmsprop", weight_decay=0.0, schedule="constant"
        ),
    ),
    Case("30 seconds", "moliere", 500_000, LONGER, {"minutes": 0.5}),
    Case("bytes, two passes", "arabic_wiki", 30_000, LONGER, plain("gru", 64, 120, unit="byte")),
)


def corpus_files(case: Case, folder: Path) -> tuple[Path, str]:
    """Write a case's text; return it and the text that follows it in its source."""
    whole = text_of(case.text)
    own, after = whole[: case.chars], whole[case.chars :]
    if case.shape == "doubled":
        own += ("" if own.endswith("\n") else "\n") + own
    if case.shape == "repeated":
        sentence = own[:80]
        own = sentence * (case.chars // len(sentence))
    if case.shape == "copied end":
        own = own[: case.chars * 9 // 10] + own[case.chars // 3 : case.chars // 3 + case.chars // 10]
    text = folder / "text.txt"
    text.write_text(own, encoding="utf-8")
    return text, after


def follow(case: Case, text: Path, after: str, model: charloom.Model, folder: Path) -> dict[str, Any]:
    """Do what the first verdict advises, and return the figure before and after, or the gains of other changes."""
    results = model.card["results"]
    (verdict,) = results["verdicts"]
    run, figure = folder / "run", verdict["figure"]
    before = _figure(results, figure or "val_loss_nats")
    if figure is None:
        return _nothing(text, run, folder, results, before)
    if verdict["more_steps"]:
        done = charloom.resume(run, more_steps=verdict["more_steps"])
    elif verdict["text"] == "more":
        done = _with_more_text(case, text, after, run, folder)
    elif verdict["text"] == "other":
        other = folder / "other.txt"
        other.write_text(after[:2_000], encoding="utf-8")
        done = charloom.train(text, recipe=str(run), val=other, out=folder / "again")
    else:
        done = charloom.train(text, recipe=str(run), out=folder / "again", **verdict["settings"])
    after_it = _figure(done.card["results"], figure)
    return {"before": rounded(before), "after": rounded(after_it), "right": after_it < before}


def _figure(results: Mapping[str, Any], name: str) -> float:
    return float(results["facts"][name] if name == "overlap" else results[name])


def _with_more_text(case: Case, text: Path, after: str, run: Path, folder: Path) -> charloom.Model:
    """Train on three times the text, with the same text held out: both are judged by the same characters."""
    words = text.read_text("utf-8")
    edge = len(words) * 9 // 10
    held_out, more = folder / "held-out.txt", folder / "more.txt"
    held_out.write_text(words[edge:], encoding="utf-8")
    more.write_text(words[:edge] + after[: 2 * case.chars], encoding="utf-8")
    return charloom.train(more, recipe=str(run), val=held_out, out=folder / "again")


def _nothing(
    text: Path, run: Path, folder: Path, results: Mapping[str, Any], before: float
) -> dict[str, Any]:
    """Whether more steps and twice the width fail to improve the loss beyond its standard error."""
    wide = 2 * charloom.load(run).file.model_config.hidden_size
    wider = charloom.train(text, recipe=str(run), out=folder / "again", hidden_size=wide)
    longer = charloom.resume(run, more_steps=results["steps"])
    error = results["val_standard_error_nats"] or 0.0
    found = [done.card["results"]["val_loss_nats"] for done in (longer, wider)]
    return {
        "before": rounded(before),
        "longer": rounded(found[0]),
        "wider": rounded(found[1]),
        "standard_error": rounded(error),
        "right": before - min(found) <= error,
    }


def row_of(case: Case) -> dict[str, Any]:
    """Train one case, follow its advice, and say what came of it."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, after = corpus_files(case, folder)
        model = charloom.train(text, out=folder / "run", threads=1, **case.settings)
        results = model.card["results"]
        (verdict,) = results["verdicts"]
        followed = follow(case, text, after, model, folder)
    facts = {key: value for key, value in results["facts"].items() if "history" not in key}
    return {
        "case": case.name,
        "text": f"{case.text}, {case.chars:,} characters",
        "kind": verdict["kind"],
        "expected": case.kinds,
        "as_expected": verdict["kind"] in case.kinds,
        "says": verdict["says"],
        "advice": verdict["advice"],
        "figure": verdict["figure"],
        **followed,
        "facts": {k: rounded(v) if isinstance(v, float) else v for k, v in facts.items()},
        "seconds": rounded(time.perf_counter() - began),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often the advice was right, and the verdict one of those expected."""
    return {
        "right": sum(row["right"] for row in rows),
        "as_expected": sum(row["as_expected"] for row in rows),
        "of": len(rows),
        "wrong": [row["case"] for row in rows if not row["right"]],
    }
