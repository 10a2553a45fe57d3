"""Losses of a recipe on tiny Shakespeare, seed by seed: the figures quoted in docs/results.md.

python -m benchmarks quality --recipe best [--seeds 3] [--minutes 3] [--text tinyshakespeare] [--dynamic]

Each seed trains on the first nine tenths, and the final model is evaluated on the last tenth, which training
never sees. Losses are in nats per character: 200 × 64 random windows of 64 and of 256 characters from a zero
state, the stream, and the stream with dynamic evaluation, which trains on the text after scoring it
(--dynamic; takes minutes).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness import RESULTS, as_text, machine, mean_and_sd, rounded
from benchmarks.trials import judged, trained, whole
from charloom import threads
from charloom.evaluation.dynamic import dynamic_score

WINDOWS = 200 * 64
PROTOCOLS = ("windows_64", "windows_256", "stream", "dynamic")


def row_of(settings: Mapping[str, Any], text: str, *, dynamic: bool) -> dict[str, Any]:
    """Train one seed and return its losses."""
    corpus, _ = whole(text)
    done = trained(corpus, settings)
    losses = judged(done.model, corpus, num_windows=WINDOWS)
    if dynamic:
        assert corpus.validation is not None
        kept = done.kept
        losses["dynamic"] = dynamic_score(kept.parameters, kept.model_config, corpus.validation).loss_nats
    return {
        "seed": settings["seed"],
        "num_params": done.num_params,
        "steps": done.finished.step,
        "epochs": rounded(done.finished.chars_seen / len(corpus.train)),
        "train_time_s": rounded(done.finished.train_time_s),
        "wall_time_s": rounded(done.finished.wall_time_s),
        "chars_per_s": round(done.finished.chars_seen / done.finished.train_time_s),
        **{protocol: rounded(loss) for protocol, loss in losses.items()},
    }


def main(arguments: Sequence[str] = ()) -> None:
    """Train every seed and write ``results/quality-RECIPE.json`` after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    parser.add_argument("--recipe", default="flash")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, help="budget, instead of the recipe's own")
    parser.add_argument("--text", default="tinyshakespeare")
    parser.add_argument("--dynamic", action="store_true")
    asked = parser.parse_args(arguments)
    own = {"recipe": asked.recipe} | ({"minutes": asked.minutes} if asked.minutes else {})
    suffix = f"-{asked.minutes:g}min" if asked.minutes else ""
    suffix += "" if asked.text == "tinyshakespeare" else f"-{asked.text}"
    path, rows = RESULTS / f"quality-{asked.recipe}{suffix}.json", []
    for seed in range(asked.seeds):
        with threads.limit(None):
            rows.append(row_of({**own, "seed": seed}, asked.text, dynamic=asked.dynamic))
        print(json.dumps(rows[-1]), flush=True)
        summary = {p: mean_and_sd([row[p] for row in rows]) for p in PROTOCOLS if p in rows[0]}
        path.write_text(
            as_text(
                {
                    "machine": machine(),
                    "text": asked.text,
                    **own,
                    "windows": WINDOWS,
                    "summary": summary,
                    "rows": rows,
                }
            ),
            encoding="utf-8",
        )
    print(json.dumps(summary))
    print(path)
