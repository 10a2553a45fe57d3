"""A table not published before: four cells, plain and residual, at equal parameters and time, on four texts.

Every row has about `PARAMS` parameters and `MINUTES` of two cores. Its learning rate is chosen by twelve
short trials on a slice of the training part (`benchmarks.trials`): six in a fifth of the time, a factor of
two apart; four in half the time, from the best of them down, as longer training needs a smaller rate; and the
best two of those again with another seed. Everything else is the same for all rows. For comparison:
charloom's recipes and a small GPT with nanoGPT's setting for a laptop, each in its own time, the primed
n-gram of the best order, and xz.

Time is made equal by counting updates: all rows of a text take turns on two otherwise idle cores, the median
over the rounds gives the cost of an update in updates of ``flash``, and a minute is `UPDATES_A_MINUTE` of
those. So a slow phase of a shared machine does not affect any row, a faster machine repeats the same
trainings, and they can run in parallel, one per core, for as long as needed, or one after another on a GPU,
which rounds differently but takes the same updates.

python -m benchmarks table                       continues from results/table.json and results/table-trials.jsonl
python -m benchmarks.table tinyshakespeare anna  measures only those texts
python -m benchmarks.table show                  prints the results so far as Markdown
python -m benchmarks.table costs                 measures update costs again and discards results that used the old

Losses are on the last tenth, in nats per character: mean and standard deviation over the seeds.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, as_text, gpu, interleave, machine, mean_and_sd, median_ratio, rounded
from benchmarks.training import charloom_run
from benchmarks.trials import QUICK_WINDOWS, judged, resolved, trained, whole
from charloom import threads
from charloom.config import ModelConfig
from charloom.evaluation.protocols import windows_loss
from charloom.parameters import count_parameters
from charloom.text import Corpus
from charloom.text.batching import Plan
from charloom.training.baselines import measure_baselines

TEXTS = ("tinyshakespeare", "anna", "moliere", "arabic_wiki")
PARAMS, MINUTES, SEEDS = 400_000, 1.0, 3
UPDATES_A_MINUTE = 1_000
"""Updates of ``flash``: two cores of an AMD EPYC with AVX-512 made 1,180, of an Intel Xeon with AMX 720 to 2,870,
depending on the load."""
COST_ROUNDS = 11
WINDOWS = 200 * 64
COARSE = tuple(2e-3 * 2**i for i in range(6))
FINE = (1.0, 2**-0.5, 2**-1, 2**-1.5)
SHORT, LONG = 0.2, 0.5
"""Fractions of the time used for trials. A fifth alone chose rates twice too large, which cost a residual GRU
0.05 nats (docs/lab-log/2026-11.md, 29)."""
RECIPES: Mapping[str, int] = {"flash": 3, "best": 1}
"""Seeds of each: more of `best` on four texts would take hours."""
COMMON: Mapping[str, Any] = {
    "recipe": "flash",  # for its optimiser, schedule, averaging and resets; the network is the row's
    "batch_size": 32,
    "bptt_length": 64,
}
ROWS: Mapping[str, Mapping[str, Any]] = {
    f"{cell} {block}": {
        "cell": cell,
        "block": block,
        "embedding_size": None
        if block == "residual"
        else 64,  # a residual network has an embedding of its own width
        # minGRU's gates do not read the state: a single plain layer can only sum its inputs
        "num_layers": 2 if block == "residual" or cell == "mingru" else 1,
    }
    for cell in ("elman", "lstm", "gru", "mingru")
    for block in ("plain", "residual")
}
GPT = "small GPT"
TRAINED = (*ROWS, *RECIPES, GPT)
TRIALS, TABLE = RESULTS / "table-trials.jsonl", RESULTS / "table.json"
COSTS, BESIDE = "cost of an update", "n-gram and xz"


def sized(network: Mapping[str, Any], vocab_size: int) -> int:
    """The `hidden_size`, a multiple of 8, whose number of parameters is closest to `PARAMS`.

    Example:
        >>> sized({"cell": "lstm", "block": "plain", "num_layers": 1}, 65)
        280
    """

    def distance(width: int) -> float:
        config = ModelConfig(**network, hidden_size=width)
        return abs(count_parameters(config, vocab_size) - PARAMS)

    return min(range(8, 1_025, 8), key=distance)


def settings_of(row: str, vocab_size: int) -> dict[str, Any]:
    """The training settings of a row, without learning rate, seed and updates."""
    if row in RECIPES:
        return {"recipe": row}
    network = ROWS[row]
    return {**COMMON, **network, "hidden_size": sized(network, vocab_size)}


def costs(corpus: Corpus) -> dict[str, float]:
    """The cost of each row's update in updates of ``flash``: medians over rounds in which all take turns."""
    contestants: dict[str, Callable[[], object]] = {}
    for row in (*ROWS, *RECIPES):
        own = resolved(settings_of(row, len(corpus.vocab)), len(corpus.train))
        plan = Plan(corpus.train, own.train_config)
        contestants[row] = charloom_run(
            own.model_config, plan, own.train_config, vocab_size=len(corpus.vocab)
        )
    seconds = interleave(contestants, rounds=COST_ROUNDS)
    return {row: rounded(median_ratio(times, seconds["flash"])) for row, times in seconds.items()}


def updates(row: str, corpus: Corpus, cost: float) -> int:
    """Updates in a row's time: `MINUTES`, or a recipe's own minutes up to the passes it allows."""
    if row not in RECIPES:
        return round(MINUTES * UPDATES_A_MINUTE / cost)
    config = resolved(settings_of(row, len(corpus.vocab)), len(corpus.train)).train_config
    assert config.minutes is not None
    steps = round(config.minutes * UPDATES_A_MINUTE / cost)
    if config.max_epochs is None:
        return steps
    return min(steps, round(config.max_epochs * Plan(corpus.train, config).steps_per_epoch))


class Measurements:
    """The trials and rows measured so far, so that the table can be completed in several sessions."""

    def __init__(self) -> None:
        self.trials = _lines(TRIALS)
        self.table: dict[str, Any] = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {}

    def trial(self, text: str, row: str, settings: Mapping[str, Any]) -> float:
        """The loss of a short training, on windows of 256 in the slice that no table uses."""
        key = {"text": text, "row": row, **{k: settings[k] for k in ("learning_rate", "seed", "steps")}}
        for known in self.trials:
            if all(known[k] == value for k, value in key.items()):
                return float(known["windows_256"])
        if (parent := multiprocessing.parent_process()) and not parent.is_alive():
            sys.exit("the parent process has ended, so the row cannot be saved")
        _, corpus = whole(text)
        model = trained(corpus, settings).model
        losses = judged(model, corpus, num_windows=QUICK_WINDOWS, protocols=["windows_256"])
        line = {**key, **{k: rounded(v) for k, v in losses.items()}}
        self.trials.append(line)
        with TRIALS.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        return float(line["windows_256"])

    def keep(self, text: str, row: str, figures: Any) -> None:
        """Save a row of the table."""
        self.table.setdefault("texts", {}).setdefault(text, {})[row] = figures
        head = {
            "params": PARAMS,
            "minutes": MINUTES,
            "updates_a_minute": UPDATES_A_MINUTE,
            "windows": WINDOWS,
        }
        self.table = head | {"texts": self.table["texts"]}
        TABLE.write_text(as_text(self.table), encoding="utf-8")
        print(text, row, json.dumps(figures), flush=True)

    def has(self, text: str, row: str) -> bool:
        """Whether a row of the table has been measured."""
        return row in self.table.get("texts", {}).get(text, {})

    def forget(self, text: str) -> None:
        """Discard a text and its trials, which are not valid for other costs."""
        self.table.get("texts", {}).pop(text, None)
        self.trials = [line for line in self.trials if line["text"] != text]
        TRIALS.write_text("".join(json.dumps(line) + "\n" for line in self.trials), encoding="utf-8")


def tuned(done: Measurements, text: str, row: str, settings: Mapping[str, Any]) -> float:
    """The learning rate chosen by twelve trials for the number of updates in ``steps``."""

    def loss(rate: float, share: float, seed: int = 0) -> float:
        steps = max(1, round(settings["steps"] * share))
        own = {"learning_rate": float(f"{rate:.3g}"), "seed": seed, "steps": steps}
        return done.trial(text, row, {**settings, **own})

    best = min(COARSE, key=lambda rate: loss(rate, SHORT))
    losses = {best * factor: loss(best * factor, LONG) for factor in FINE}
    finalists = sorted(losses, key=losses.__getitem__)[:2]
    means = {rate: losses[rate] + loss(rate, LONG, seed=1) for rate in finalists}
    return float(f"{min(means, key=means.__getitem__):.3g}")


def measured(text: str, settings: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Train each seed on the whole training part and evaluate it on the last tenth."""
    corpus, _ = whole(text)
    losses = []
    for seed in range(seeds):
        done = trained(corpus, {**settings, "seed": seed})
        losses.append(judged(done.model, corpus, num_windows=WINDOWS))
    return {
        "num_params": done.num_params,
        "updates": done.finished.step,
        "epochs": rounded(done.finished.chars_seen / len(corpus.train)),
        "seeds": seeds,
        **{protocol: mean_and_sd([found[protocol] for found in losses]) for protocol in losses[0]},
    }


def small_gpt(corpus: Corpus) -> dict[str, Any]:
    """Train nanoGPT's setting for a laptop to its end; evaluate it on windows of 64, its context length."""
    from benchmarks.baselines.plain_gpt import BATCH, CONTEXT, STEPS, taught

    assert corpus.validation is not None
    losses = []
    for seed in range(SEEDS):
        model, _ = taught(corpus.train, len(corpus.vocab), seed=seed)
        losses.append(windows_loss(model, corpus.validation, window=CONTEXT, num_windows=WINDOWS).loss_nats)
    return {
        "num_params": model.num_params,
        "updates": STEPS,
        "epochs": rounded(STEPS * BATCH * CONTEXT / len(corpus.train)),
        "seeds": SEEDS,
        f"windows_{CONTEXT}": mean_and_sd(losses),
    }


def beside(corpus: Corpus) -> dict[str, Any]:
    """The baselines without a network."""
    found = measure_baselines(corpus)
    assert found.ngram_bits_per_char is not None
    assert found.xz_bits_per_char is not None
    return {
        "order": found.ngram_order,
        "ngram_stream": rounded(found.ngram_bits_per_char * math.log(2)),
        "xz_stream": rounded(found.xz_bits_per_char * math.log(2)),
    }


def row_of(text: str, row: str, cost: float, device: str) -> dict[str, Any]:
    """Tune and measure one row, in a process on its own core or in the single thread for a GPU."""
    corpus, _ = whole(text)
    if row == BESIDE:
        return beside(corpus)
    if row == GPT:
        with threads.limit(None):
            return small_gpt(corpus) | {"trained_on": machine()["processor"]}
    settings = {**settings_of(row, len(corpus.vocab)), "minutes": None, "device": device}
    settings["steps"] = updates(row, corpus, cost)
    where = {"trained_on": gpu() if device == "cuda" else machine()["processor"]}
    with threads.limit(None) if device == "cpu" else nullcontext():  # on a GPU `workers` sets the limit
        if row in RECIPES:
            return measured(text, settings, RECIPES[row]) | where
        rate = tuned(Measurements(), text, row, settings)
        found = measured(text, {**settings, "learning_rate": rate}, SEEDS)
    return {"hidden_size": settings["hidden_size"], "learning_rate": rate, **found, **where}


def complete(texts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The texts for which all rows have been measured, in the order of `TEXTS`."""
    return {t: texts[t] for t in TEXTS if {BESIDE, *TRAINED} <= texts.get(t, {}).keys()}


def shown(texts: Mapping[str, Mapping[str, Any]], protocol: str) -> str:
    """Markdown: a line per row, a column per text, mean ± standard deviation of the seeds in nats per character.

    Example:
        >>> figures = {"tiny": {"gru plain": {"stream": {"mean": 1.5, "sd": 0.01}}}}
        >>> print(shown(figures, "stream").splitlines()[2])
        | gru plain | 1.500 ± 0.010 |
    """

    def loss(rows: Mapping[str, Any], row: str) -> str:
        found = rows.get(row, {}).get(protocol)
        if found is None:
            return ""
        return f"{found['mean']:.3f}" + ("" if found["sd"] is None else f" ± {found['sd']:.3f}")

    lines = {row: [loss(rows, row) for rows in texts.values()] for row in TRAINED}
    if protocol == "stream":
        for name, key in {"n-gram, primed": "ngram_stream", "xz": "xz_stream"}.items():
            figures = [rows.get(BESIDE, {}).get(key) for rows in texts.values()]
            lines[name] = ["" if figure is None else f"{figure:.3f}" for figure in figures]
    return _markdown(texts, lines)


def settings_shown(texts: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: width, chosen learning rate, weights and passes of every row, by text."""

    def chosen(rows: Mapping[str, Any], row: str) -> str:
        found = rows.get(row)
        if found is None:
            return ""
        tuned = f"width {found['hidden_size']}, η {found['learning_rate']:g}, " if row in ROWS else ""
        return f"{tuned}{found['num_params']:,} weights, {found['epochs']:.1f} passes"

    return _markdown(texts, {row: [chosen(rows, row) for rows in texts.values()] for row in TRAINED})


def keep_to_one_core(cores: Queue[int]) -> None:
    """Initialise a process: pin it to a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


@contextmanager
def workers(device: str) -> Iterator[Executor]:
    """The pool that trains rows in parallel."""
    if device == "cuda":  # one: the driver runs them one by one anyway (docs/lab-log/2026-11.md, 30)
        with threads.limit(None), ThreadPoolExecutor(1) as pool:
            yield pool
        return
    spawn = multiprocessing.get_context("spawn")
    cores: Queue[int] = spawn.Queue()
    available = sorted(os.sched_getaffinity(0))
    for core in available:
        cores.put(core)
    with ProcessPoolExecutor(len(available), spawn, keep_to_one_core, (cores,)) as pool:
        yield pool


def main(arguments: Sequence[str] = ()) -> None:
    """Measure the rows that are missing in the files."""
    texts = [text for text in arguments if text not in ("costs", "show")] or TEXTS
    done = Measurements()
    if "show" in arguments:
        for protocol in ("stream", "windows_256", "windows_64"):
            print(protocol, shown(done.table["texts"], protocol), sep="\n\n")
        print(settings_shown(done.table["texts"]))
        return
    for text in texts:
        if "costs" in arguments:
            done.forget(text)
        if not done.has(text, COSTS):
            assert gpu() is None, "costs are for two cores: measure them first, on a machine without a GPU"
            with threads.limit(None):
                done.keep(text, COSTS, {"machine": machine(), **costs(whole(text)[0])})
    missing = [(text, row) for text in texts for row in (BESIDE, *TRAINED) if not done.has(text, row)]
    device = "cpu" if gpu() is None else "cuda"
    with workers(device) as pool:
        pending = {
            pool.submit(row_of, text, row, done.table["texts"][text][COSTS].get(row, 0.0), device): (
                text,
                row,
            )
            for text, row in missing
        }
        for future in as_completed(pending):
            done.keep(*pending[future], future.result())


def _markdown(columns: Iterable[str], lines: Mapping[str, Sequence[str]]) -> str:
    columns = list(columns)
    rows = [f"| {name} | {' | '.join(cells)} |" for name, cells in lines.items() if any(cells)]
    return "\n".join(["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns), *rows]) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])
