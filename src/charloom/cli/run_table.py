"""A run as one table row, for `runs` and `compare`."""

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
    """Describe a run; its results are None until its state is ``finished``."""
    config, events = run.complete_config(), run.events()
    model, corpus, results = config["model"], config["corpus"], config.get("results", {})
    ended = run.is_finished
    steps = max((event.get("step", 0) for event in events), default=0)
    return {
        "run": str(run.path),
        "name": run.path.name,
        "state": "finished" if ended else "unfinished",
        "corpus": corpus["name"],
        "corpus_sha256": corpus["sha256"],
        "unit": corpus["unit"],
        "recipe": config.get("recipe"),
        **{name: model[name] for name in ("cell", "block", "hidden_size", "num_layers")},
        "num_params": count_parameters(
            from_dict(ModelConfig, model, source="config.json"), corpus["vocab_size"]
        ),
        **{name: results.get(name) if ended else None for name in _RESULTS},
        "steps": results["steps"] if ended else steps,
        "created": config.get("created"),
    }


def safe_row(run: Run) -> dict[str, Any]:
    """Describe a run as `run_row` does; a run that cannot be read has the state ``damaged``."""
    try:
        return run_row(run)
    except (CharloomError, KeyError, TypeError, ValueError):
        return {"run": str(run.path), "name": run.path.name, "state": "damaged"}
