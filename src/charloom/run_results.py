"""The results of a finished run as one flat object, as ``train --json`` prints them."""

from __future__ import annotations

import math
from typing import Any

from charloom.config import ModelConfig, from_dict
from charloom.parameters import count_parameters
from charloom.runs import Run


def results_json(run: Run) -> dict[str, Any]:
    """Return the object that ``train --json`` prints, from the run's ``config.json``."""
    config = run.complete_config()
    results, vocab_size = config["results"], config["corpus"]["vocab_size"]
    model_config = from_dict(ModelConfig, config["model"], source=str(run.config_path))
    chars, seconds = results["chars_seen"], results["train_time_s"]
    return {
        "run": str(run.path),
        "model": str(run.model_path),
        "steps": results["steps"],
        "chars_seen": chars,
        "train_time_s": seconds,
        "chars_per_s": chars / seconds if seconds > 0 else math.nan,
        "num_params": count_parameters(model_config, vocab_size),
        "vocab_size": vocab_size,
        "protocol": results["protocol"],
        "val_loss_nats": results["val_loss_nats"],
        "val_bits_per_char": results["val_bits_per_char"],
        "val_bits_per_byte": results.get("val_bits_per_byte"),
        "ngram_bits_per_char": results["ngram_bits_per_char"],
        "ngram_order": results["ngram_order"],
        "xz_bits_per_char": results["xz_bits_per_char"],
        "best_step": results["best_step"],
        "wall_time_s": results["wall_time_s"],
        "recipe": config["recipe"],
        "unit": config["corpus"]["unit"],
        "verdicts": results["verdicts"],
    }
