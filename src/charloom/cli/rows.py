"""A run as one row: what `runs` lists and `compare` puts side by side."""

from __future__ import annotations

from typing import Any

from charloom.config import ModelConfig, from_dict
from charloom.errors import CharloomError
from charloom.parameters import count_parameters
from charloom.runs import Run

_RESULTS = (
    "steps",
    "chars_seen",
    "train_time_s",
    "protocol",
    "val_loss_nats",
    "val_bits_per_char",
    "ngram_bits_per_char",
    "xz_bits_per_char",
)


def run_row(run: Run) -> dict[str, Any]:
    """What is known of a run; figures are None until it has finished, and its state says so."""
    config = run.config()
    model, corpus, results = config["model"], config["corpus"], config.get("results", {})
    events = run.events()
    ended = bool(results) and bool(events) and events[-1].get("event") == "finished"
    steps = max((event.get("step", 0) for event in events), default=0)
    return {
        "run": str(run.path),
        "name": run.path.name,
        "state": "finished" if ended else "unfinished",
        "corpus": corpus["name"],
        "corpus_sha256": corpus["sha256"],
        "unit": corpus["unit"],
        "recipe": config.get("recipe"),
        "cell": model["cell"],
        "block": model["block"],
        "hidden_size": model["hidden_size"],
        "num_layers": model["num_layers"],
        "num_params": _num_params(model, corpus["vocab_size"]),
        **{name: results.get(name) if ended else None for name in _RESULTS},
        "steps": results["steps"] if ended else steps,
        "created": config.get("created"),
    }


def safe_row(run: Run) -> dict[str, Any]:
    """As `run_row`; a folder that cannot be read becomes a row that says so."""
    try:
        return run_row(run)
    except (CharloomError, KeyError, TypeError, ValueError):
        return {"run": str(run.path), "name": run.path.name, "state": "damaged"}


def _num_params(model: dict[str, Any], vocab_size: int) -> int:
    return count_parameters(from_dict(ModelConfig, model, source="config.json"), vocab_size)
