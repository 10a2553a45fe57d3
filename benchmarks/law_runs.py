"""The trainings that the loss law is fitted on: the default settings on parts of texts, for a number of characters.

Each trains on one thread for a number of updates, so a busy machine changes its seconds and not its loss. A line per run
is added to ``results/law-runs.jsonl``, and a run that is there is not repeated. It has the facts of its text, because a
system's messages change with what is installed.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import RESULTS, machine, rounded
from benchmarks.law_texts import part
from charloom.config import TextConfig
from charloom.forecast.forecast import reported_chars
from charloom.forecast.text_facts import measure_text
from charloom.recipes import Resolved, find_recipe, resolve
from charloom.runs import Run
from charloom.text import Corpus, corpus_from_text
from charloom.text.batching import Plan, fit_batch
from charloom.training import train

LOG = RESULTS / "law-runs.jsonl"


class Case(NamedTuple):
    """A part of a text, and how many characters to train on; a row of the default table stops some earlier."""

    text: str
    offset: float
    chars: int
    budget_chars: int
    recipe: str | None = None


def _cases() -> Iterator[Case]:
    small = (
        "tinyshakespeare",
        "moliere",
        "arabic_wiki",
        "names",
        "anna",
        "enwik8",
        "files-python",
        "files-torch",
    )
    other = ("messages-de", "messages-ru", "messages-ja", "messages-zh_CN", "messages-es", "messages-el")
    for text in (*small, *other):
        yield Case(text, 0.6, 5_000, 10**9)
    for text in (*small, *other[:4]):
        yield Case(text, 0.4, 450_000 if text != "names" else 130_000, 300_000)
    for text in (
        "anna",
        "files-python",
        "messages-de",
        "enwik8",
        "arabic_wiki",
        "messages-ru",
        "messages-zh_CN",
    ):
        yield Case(text, 0.3, 20_000, 10**9)
    for text in ("moliere", "files-torch", "messages-es", "names", "enwik8"):
        yield Case(text, 0.2, 20_000, 200_000)
    for text in ("enwik8", "messages-de", "files-python"):
        yield Case(text, 0.5, 1_000_000 if not text.startswith("messages") else 600_000, 1_000_000)
    yield Case("anna", 0.45, 1_000_000, 900_000)
    yield Case("messages-ja", 0.3, 600_000, 700_000)
    yield Case("anna", 0.55, 60_000, 800_000)
    yield Case("enwik8", 0.15, 180_000, 450_000)
    for text in ("tinyshakespeare", "moliere", "messages-fi", "arabic_wiki", "files-python"):
        yield Case(text, 0.1, 400_000 if text.startswith("messages") else 900_000, 80_000)
    yield Case("files-python", 0.55, 60_000, 800_000)
    for text in ("moliere", "messages-ru", "files-python"):
        yield Case(text, 0.25, 180_000, 150_000)
    yield Case("enwik8", 0.0, 8_000_000, 900_000)
    for text in ("messages-de", "arabic_wiki", "files-torch", "messages-el"):
        yield Case(text, 0.7, 60_000, 250_000)
    for text in ("anna", "messages-es", "files-torch"):
        yield Case(text, 0.15, 180_000, 450_000)
    for text in ("enwik8", "files-torch"):
        yield Case(text, 0.2, 2_200_000, 250_000)
    for text in ("messages-ru", "enwik8", "tinyshakespeare"):
        yield Case(text, 0.55, 60_000, 800_000)


CASES = tuple(_cases())


def settings(case: Case, corpus: Corpus) -> Resolved:
    """The default settings for this text, with a budget in updates that reads the characters asked for."""
    recipe = None if case.recipe is None else find_recipe(case.recipe)
    flags: dict[str, Any] = {"steps": 1, "threads": 1, "engine": "torch", "device": "cpu"}
    own = resolve(recipe, flags, num_chars=len(corpus.train))
    config, _ = fit_batch(len(corpus.train), own.train_config)
    epoch = Plan(corpus.train, config).steps_per_epoch
    most = case.budget_chars // (config.batch_size * config.bptt_length)
    limit = most if config.max_epochs is None else round(config.max_epochs * epoch)
    config = replace(own.train_config, steps=max(1, min(most, limit)), max_epochs=None)
    return replace(own, train_config=config)


def row_of(case: Case) -> dict[str, Any] | None:
    """Train on one case; None if its text is missing."""
    text = part(case.text, case.offset, case.chars)
    if text is None:
        return None
    corpus = corpus_from_text(text, TextConfig())
    own = settings(case, corpus)
    began, began_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        for _ in train(corpus, own.model_config, own.train_config, run):
            pass
        results = run.config()["results"]
    kept = ("steps", "best_step", "chars_seen", "val_bits_per_char", "val_chars", "ngram_bits_per_char")
    kept = (*kept, "ngram_order", "xz_bits_per_char", "train_time_s", "train_loss_nats")
    facts = measure_text(corpus, reported_chars(results["chars_seen"]))
    assert facts is not None
    return {
        **case._asdict(),
        "facts": {name: _short(value) for name, value in asdict(facts).items()},
        "train_chars": len(corpus.train),
        "vocab": len(corpus.vocab),
        "cell": own.model_config.cell,
        "hidden_size": own.model_config.hidden_size,
        **{name: _short(results[name]) for name in kept},
        "wall_s": rounded(time.perf_counter() - began),
        "cpu_s": rounded(time.process_time() - began_cpu),
    }


def _short(value: Any) -> Any:
    if isinstance(value, tuple):
        return [*map(rounded, value)]
    return rounded(value) if isinstance(value, float) else value


def measured() -> list[dict[str, Any]]:
    """The runs of the log."""
    return [json.loads(line) for line in LOG.read_text("utf-8").splitlines()] if LOG.exists() else []


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What distinguishes a run."""
    return tuple(row[name] for name in Case._fields)


def measure_missing(most_s: float = math.inf) -> bool:
    """Train cases that the log lacks, and begin no other after `most_s` seconds; whether any may be left."""
    began = time.perf_counter()
    done = {key(row) for row in measured()}
    where = {name: machine()[name] for name in ("processor", "multiplies_with", "date")}
    for case in CASES:
        if tuple(case) in done:
            continue
        if time.perf_counter() - began > most_s:
            return True
        row = row_of(case)
        print(case, "missing" if row is None else f"{row['val_bits_per_char']} {row['cpu_s']} s", flush=True)
        if row is not None:
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row | where) + "\n")
    return False
