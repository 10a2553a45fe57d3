"""Limits of recurrent networks: a measurement for each point of system E's closing list.

    context    information is hard to carry far    loss by the number of characters read since a zero state
    gradient   gradients vanish                    ‖∂L_t/∂s_{t−k}‖ by the lag k, for four networks of 128 units
    speed      no parallelism over time            characters per second, trained one by one and in windows
    room       little room for complex relations   held-out bits by the number of units
    gpt        transformers replace them           a small GPT, and the default recipe in the same seconds

python -m benchmarks limits                measures all and writes results/limits.json; minutes
python -m benchmarks.limits gradient gpt   measures those and keeps the others' figures

Texts: the 50,000 characters of Molière that system E is trained on (its last tenth held out), all of Molière, and
tiny Shakespeare.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, as_text, interleave, machine, rounded
from benchmarks.scratch import E_MODEL, E_TRAIN, ids_of, own, published
from charloom import threads
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.engines import EngineModel
from charloom.evaluation.protocols import stream_loss, windows_loss
from charloom.insight.context import context_curve, enough
from charloom.insight.gradient_flow import horizon
from charloom.insight.gradient_grid import grad_norm_by_lag, gradient_grid
from charloom.parameters import count_parameters
from charloom.reproduce import find_systems
from charloom.reproduce.best import own_choice
from charloom.reproduce.systems import System, corpus_path
from charloom.reproduce.train import train_system
from charloom.text import Corpus, read_corpus
from charloom.training.baselines import measure_baselines

(E,), (D,) = find_systems("moliere-elman"), find_systems("shakespeare-scratch")
UNITS, EPOCHS = 128, 10
REACH, STRETCHES, TARGETS = 256, 12, 1_000
LAGS, PASSAGES = 200, 4
MINUTES = 2.0
"""The default recipe's own budget."""

SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Characters or lags whose figures are recorded."""

ROUNDS = 5
MINGRU = ModelConfig(cell="mingru", block="residual", hidden_size=UNITS, num_layers=2)
MINGRU_TRAIN = TrainConfig(
    batch_size=32, bptt_length=64, learning_rate=2e-3, schedule="constant", steps=10**9
)
Part = Callable[[], Mapping[str, Any]]


def whole(system: System) -> Corpus:
    """The whole file of a system, with its last tenth held out."""
    return read_corpus([corpus_path(system)], TextConfig(val_fraction=0.1))


# ------------------------------------------------------------------------------------------------ context


def context() -> dict[str, Any]:
    """Loss on the same characters, 1, 2, … 256 characters after a zero state."""
    elman, moliere = train_system(E), whole(E)
    networks = {
        "system E, 50,000 characters of Molière": (elman.trained, elman.corpus),
        "default recipe, the same": (own_choice(elman.corpus, minutes=MINUTES).model, elman.corpus),
        "default recipe, all of Molière": (own_choice(moliere, minutes=MINUTES).model, moliere),
    }
    rows = []
    for name, (model, corpus) in networks.items():
        assert corpus.validation is not None
        with threads.limit(None):
            curve = context_curve(model, corpus.validation, reach=REACH, targets=TARGETS, stretches=STRETCHES)
        rows.append({"network": name, "enough_chars": enough(curve), "loss_nats": shown(curve, first=1)})
        print(f"  {name:40} {rows[-1]['enough_chars']:4} characters are enough", flush=True)
    return {"reach_chars": REACH, "rows": rows}


def shown(values: np.ndarray, *, first: int) -> dict[str, float]:
    """The values at `SHOWN` places; `first` is the place of the first value."""
    return {str(k): rounded(values[k - first]) for k in SHOWN if k - first < len(values)}


# ------------------------------------------------------------------------------------------------ gradient


def gradient() -> dict[str, Any]:
    """How the gradient of a loss fades backwards in time: system E, and networks of its size on windows."""
    elman = train_system(E)
    sizes: dict[str, Any] = {"hidden_size": UNITS, "embedding_size": None, "epochs": float(EPOCHS)}
    trained = {"system E, the gradient cut at every step": elman.trained}
    for name, cell in {
        "Elman": {"cell": "elman", "activation": "sigmoid"},
        "GRU": {"cell": "gru"},
        "LSTM": {"cell": "lstm"},
    }.items():
        trained[f"{name}, windows of 64"] = own_choice(elman.corpus, **sizes, **cell).model
    rows = []
    for name, model in trained.items():
        by_lag = mean_norm_by_lag(model, elman.corpus.validation)
        bits = stream_loss(model, elman.corpus.validation).bits_per_char
        rows.append(
            {
                "network": name,
                "horizon_lags": horizon(by_lag),
                "bits_per_char": round(bits, 3),
                "share_of_lag_0": shown(by_lag / by_lag[0], first=0),
            }
        )
        print(f"  {name:42} 1 % at lag {rows[-1]['horizon_lags']}   {bits:.3f} bits/char", flush=True)
    return {"units": UNITS, "epochs": EPOCHS, "lags": LAGS, "rows": rows}


def mean_norm_by_lag(model: EngineModel, ids: np.ndarray) -> np.ndarray:
    """‖∂L_t/∂s_{t−k}‖ by lag k on held-out passages; s is the whole state, h and c together for an LSTM."""
    starts = np.linspace(0, len(ids) - LAGS - 2, PASSAGES).astype(int)
    grids = [
        gradient_grid(model.config, model.parameters(), ids[at : at + LAGS + 1].astype(int), LAGS)
        for at in starts
    ]
    return np.mean([grad_norm_by_lag(np.sqrt(sum(n**2 for n in grid.values()))) for grid in grids], axis=0)


# ------------------------------------------------------------------------------------------------ speed


def speed() -> dict[str, Any]:
    """Characters per second in training: one update per character, and windows processed by one scan."""
    from benchmarks.baselines.plain_online_rnn import PlainOnlineRNN

    ids = ids_of(E.corpus, 50_000)
    V = int(ids.max()) + 1
    single = replace(MINGRU_TRAIN, batch_size=1, bptt_length=1)
    window = replace(MINGRU_TRAIN, batch_size=1)
    runs = {
        "system E as published": (published(PlainOnlineRNN(V), ids, 1_000), 1_000, E_MODEL),
        "system E, online trainer": (own("fused", E_MODEL, E_TRAIN, ids, 45_000), 45_000, E_MODEL),
        "residual minGRU, one by one": (own("torch", MINGRU, single, ids, 50), 50, MINGRU),
        "residual minGRU, windows of 64": (own("torch", MINGRU, window, ids, 20), 20 * 64, MINGRU),
        "residual minGRU, 32 windows of 64": (
            own("torch", MINGRU, MINGRU_TRAIN, ids, 5),
            5 * 32 * 64,
            MINGRU,
        ),
    }
    seconds = interleave({name: run for name, (run, _, _) in runs.items()}, rounds=ROUNDS)
    rows = []
    for name, (_, chars, config) in runs.items():
        num_params, chars_per_s = count_parameters(config, V), chars / statistics.median(seconds[name])
        rows.append(
            {
                "contestant": name,
                "num_params": num_params,
                "chars_per_s": round(chars_per_s),
                "million_params_chars_per_s": round(num_params * chars_per_s / 1e6),
            }
        )
        print(f"  {name:36} {chars_per_s:10,.0f} characters/s, {num_params:,} parameters", flush=True)
    return {"threads": threads.available(), "rounds": ROUNDS, "rows": rows}


# ------------------------------------------------------------------------------------------------ capacity


def capacity() -> dict[str, Any]:
    """Held-out bits of system E's form and of the default recipe, at 128, 256 and 512 units."""
    rows, corpus = [], train_system(E, num_steps=1).corpus
    for units in (UNITS, 2 * UNITS, 4 * UNITS):
        scale = 1 / math.sqrt(len(corpus.vocab) + units)  # PyTorch's bound for one layer that reads both
        theirs = train_system(E, settings={"hidden_size": units, "init_scale": scale}).trained
        ours = own_choice(corpus, hidden_size=units, minutes=10.0).model  # ends earlier, after 45 passes
        row = {
            "units": units,
            "system_e": _held_out(theirs, corpus),
            "default_recipe": _held_out(ours, corpus),
        }
        rows.append(row)
        print(f"  {row}", flush=True)
    ngram = measure_baselines(corpus).ngram_bits_per_char
    return {"protocol": "stream", "ngram": ngram and round(ngram, 3), "rows": rows}


def _held_out(model: EngineModel, corpus: Corpus) -> float:
    assert corpus.validation is not None
    with threads.limit(None):
        return round(stream_loss(model, corpus.validation).bits_per_char, 3)


# ------------------------------------------------------------------------------------------------ gpt


def gpt() -> dict[str, Any]:
    """nanoGPT's CPU setting on tiny Shakespeare, and the default recipe in the same training time."""
    from benchmarks.baselines.plain_gpt import CONTEXT, taught

    corpus = whole(D)
    assert corpus.validation is not None
    with threads.limit(None, blas=1) as num_threads:
        trainer, seconds = taught(corpus.train, len(corpus.vocab))
        taken_s = sum(seconds)
        rows = [_scored("small GPT", trainer, corpus, CONTEXT, trainer.num_params, taken_s)]
    ours = own_choice(corpus, minutes=taken_s / 60)
    size = sum(p.size for p in ours.model.parameters().values())
    rows.append(_scored("default recipe", ours.model, corpus, CONTEXT, size, ours.train_time_s))
    return {"protocol": "windows", "window": CONTEXT, "threads": num_threads, "rows": rows}


def _scored(
    name: str, model: EngineModel, corpus: Corpus, window: int, num_params: int, train_time_s: float
) -> dict[str, Any]:
    assert corpus.validation is not None
    with threads.limit(None):
        loss = windows_loss(model, corpus.validation, window=window).loss_nats
    row = {
        "network": name,
        "num_params": num_params,
        "train_time_s": round(train_time_s, 1),
        "loss_nats": round(loss, 4),
    }
    print(f"  {row}", flush=True)
    return row


PARTS: Mapping[str, Part] = {
    "context": context,
    "gradient": gradient,
    "speed": speed,
    "room": capacity,
    "gpt": gpt,
}


def main(names: Sequence[str] = ()) -> int:
    """Measure the named parts, or all, and write each to ``results/limits.json`` when it is done."""
    path = RESULTS / "limits.json"
    for name in names or PARTS:
        print(name, flush=True)
        found = PARTS[name]()
        done = json.loads(path.read_text("utf-8")) if path.exists() else {}
        done[name] = {"machine": machine(), **found}
        RESULTS.mkdir(exist_ok=True)
        path.write_text(as_text(done), encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
