"""The table that nobody has published: four cells, plain and residual, with as many parameters and as much time, on four texts.

Every row has about `PARAMS` parameters and `MINUTES` of two cores. Its learning rate is chosen by twelve short trials on a slice of the
training part (`benchmarks.trials`): six of a fifth of the time, a factor of two apart; four of half the time, from the best of them down, for a
longer training wants a smaller rate; and the best two of those again with another seed. Everything else is the same for all rows. Beside them: charloom's recipes in their own time, a small GPT of nanoGPT's setting for a laptop in its own, the primed n-gram of the
best order and xz.

Time is equal by count: all rows of a text take updates in turn on two cores with nothing else to do, the median over the rounds says what an
update costs in updates of ``flash``, and a minute is `UPDATES_A_MINUTE` of those. So no row is charged for a slow spell of a shared machine, a
faster machine repeats the same trainings, and these may run beside each other, one a core, as long as they please; or on a GPU, one
after another, which rounds otherwise and takes the same updates.

python -m benchmarks table                       goes on where ``results/table.json`` and ``results/table-trials.jsonl`` end
python -m benchmarks.table tinyshakespeare anna  those texts alone
python -m benchmarks.table show                  what it holds so far, as Markdown
python -m benchmarks.table costs                 what updates cost, anew: everything that was measured with the old costs goes

Losses are of the last tenth, nats a character; the mean and the spread of the seeds.
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
from charloom.text.windows import Plan
from charloom.training.closing import measure_baselines

TEXTS = ("tinyshakespeare", "anna", "moliere", "arabic_wiki")
PARAMS, MINUTES, SEEDS = 400_000, 1.0, 3
UPDATES_A_MINUTE = 1_000
"""Of ``flash``: two cores of an AMD EPYC with AVX-512 made 1,180, of an Intel Xeon with AMX 720 to 2,870, as busy as its host was."""
COST_ROUNDS = 11
WINDOWS = 200 * 64
COARSE = tuple(2e-3 * 2**i for i in range(6))
FINE = (1.0, 2**-0.5, 2**-1, 2**-1.5)
SHORT, LONG = 0.2, 0.5
"""Shares of the time that trials take: a fifth alone chose rates twice too large, and cost a residual GRU 0.05 nats (docs/lab-log.md, 29)."""
RECIPES: Mapping[str, int] = {"flash": 3, "best": 1}
"""Seeds of each: what `best` takes on four texts would be hours."""
COMMON: Mapping[str, Any] = {
    "recipe": "flash",  # its optimiser, schedule, averaging and resets; the network is the row's
    "batch_size": 32,
    "bptt_length": 64,
}
ROWS: Mapping[str, Mapping[str, Any]] = {
    f"{cell} {block}": {
        "cell": cell,
        "block": block,
        "embedding_size": None if block == "residual" else 64,  # a residual network has one of its width
        # minGRU's gates read no state: one plain layer of it can only sum what it has read
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
    """The multiple of 8 for `hidden_size` whose parameters come nearest to `PARAMS`.

    Example:
        >>> sized({"cell": "lstm", "block": "plain", "num_layers": 1}, 65)
        280
    """

    def distance(width: int) -> float:
        config = ModelConfig(**network, hidden_size=width)
        return abs(count_parameters(config, vocab_size) - PARAMS)

    return min(range(8, 1_025, 8), key=distance)


def settings_of(row: str, vocab_size: int) -> dict[str, Any]:
    """What a row trains with, but for its learning rate, its seed and its updates."""
    if row in RECIPES:
        return {"recipe": row}
    network = ROWS[row]
    return {**COMMON, **network, "hidden_size": sized(network, vocab_size)}


def costs(corpus: Corpus) -> dict[str, float]:
    """What an update of every row costs, in updates of ``flash``: medians of rounds in which all take turns."""
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
    """How many updates a row's time is: `MINUTES`, a recipe's own minutes, and no more passes than it allows."""
    if row not in RECIPES:
        return round(MINUTES * UPDATES_A_MINUTE / cost)
    config = resolved(settings_of(row, len(corpus.vocab)), len(corpus.train)).train_config
    assert config.minutes is not None
    steps = round(config.minutes * UPDATES_A_MINUTE / cost)
    if config.max_epochs is None:
        return steps
    return min(steps, round(config.max_epochs * Plan(corpus.train, config).steps_per_epoch))


class Book:
    """What was measured already, so that a table of hours can be made in pieces."""

    def __init__(self) -> None:
        self.trials = _lines(TRIALS)
        self.table: dict[str, Any] = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {}

    def trial(self, text: str, row: str, settings: Mapping[str, Any]) -> float:
        """The loss of a short training: windows of 256 of the slice that no table uses."""
        key = {"text": text, "row": row, **{k: settings[k] for k in ("learning_rate", "seed", "steps")}}
        for known in self.trials:
            if all(known[k] == value for k, value in key.items()):
                return float(known["windows_256"])
        if (parent := multiprocessing.parent_process()) and not parent.is_alive():
            sys.exit("nobody is left to keep the row")
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
        """Write a row of the table."""
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
        """Whether a row of the table is there."""
        return row in self.table.get("texts", {}).get(text, {})

    def forget(self, text: str) -> None:
        """Drop a text and its trials: what they were is worth nothing at other costs."""
        self.table.get("texts", {}).pop(text, None)
        self.trials = [line for line in self.trials if line["text"] != text]
        TRIALS.write_text("".join(json.dumps(line) + "\n" for line in self.trials), encoding="utf-8")


def tuned(book: Book, text: str, row: str, settings: Mapping[str, Any]) -> float:
    """The learning rate that twelve trials choose for so many updates as ``steps`` says."""

    def loss(rate: float, share: float, seed: int = 0) -> float:
        steps = max(1, round(settings["steps"] * share))
        own = {"learning_rate": float(f"{rate:.3g}"), "seed": seed, "steps": steps}
        return book.trial(text, row, {**settings, **own})

    best = min(COARSE, key=lambda rate: loss(rate, SHORT))
    losses = {best * factor: loss(best * factor, LONG) for factor in FINE}
    finalists = sorted(losses, key=losses.__getitem__)[:2]
    means = {rate: losses[rate] + loss(rate, LONG, seed=1) for rate in finalists}
    return float(f"{min(means, key=means.__getitem__):.3g}")


def measured(text: str, settings: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Trainings on the whole training part, one for each seed, judged by the last tenth."""
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
    """nanoGPT's setting for a laptop, to its end; its context is 64, so windows of 64 judge it."""
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
    """What needs no network."""
    found = measure_baselines(corpus)
    assert found.ngram_bits_per_char is not None
    assert found.xz_bits_per_char is not None
    return {
        "order": found.ngram_order,
        "ngram_stream": rounded(found.ngram_bits_per_char * math.log(2)),
        "xz_stream": rounded(found.xz_bits_per_char * math.log(2)),
    }


def row_of(text: str, row: str, cost: float, device: str) -> dict[str, Any]:
    """Tune and measure one row: what a process does on its core, or the one thread of a GPU."""
    corpus, _ = whole(text)
    if row == BESIDE:
        return beside(corpus)
    if row == GPT:
        with threads.limit(None):
            return small_gpt(corpus) | {"trained_on": machine()["processor"]}
    settings = {**settings_of(row, len(corpus.vocab)), "minutes": None, "device": device}
    settings["steps"] = updates(row, corpus, cost)
    where = {"trained_on": gpu() if device == "cuda" else machine()["processor"]}
    with threads.limit(None) if device == "cpu" else nullcontext():  # on a GPU `workers` did
        if row in RECIPES:
            return measured(text, settings, RECIPES[row]) | where
        rate = tuned(Book(), text, row, settings)
        found = measured(text, {**settings, "learning_rate": rate}, SEEDS)
    return {"hidden_size": settings["hidden_size"], "learning_rate": rate, **found, **where}


def complete(texts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The texts whose every row has been measured, in the order of `TEXTS`."""
    return {t: texts[t] for t in TEXTS if {BESIDE, *TRAINED} <= texts.get(t, {}).keys()}


def shown(texts: Mapping[str, Mapping[str, Any]], protocol: str) -> str:
    """Markdown: a line for every row, a column for every text, mean ± standard deviation of the seeds in nats a character.

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
    """Markdown: width, chosen learning rate, weights and passes of every row, text by text."""

    def chosen(rows: Mapping[str, Any], row: str) -> str:
        found = rows.get(row)
        if found is None:
            return ""
        tuned = f"width {found['hidden_size']}, η {found['learning_rate']:g}, " if row in ROWS else ""
        return f"{tuned}{found['num_params']:,} weights, {found['epochs']:.1f} passes"

    return _markdown(texts, {row: [chosen(rows, row) for rows in texts.values()] for row in TRAINED})


def keep_to_one_core(cores: Queue[int]) -> None:
    """Begin a process: it takes a core for itself."""
    os.sched_setaffinity(0, {cores.get()})


@contextmanager
def workers(device: str) -> Iterator[Executor]:
    """Who trains rows beside each other."""
    if device == "cuda":  # one alone: the driver launches one after another (docs/lab-log.md, 30)
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
    """Measure what the files do not hold yet."""
    texts = [text for text in arguments if text not in ("costs", "show")] or TEXTS
    book = Book()
    if "show" in arguments:
        for protocol in ("stream", "windows_256", "windows_64"):
            print(protocol, shown(book.table["texts"], protocol), sep="\n\n")
        print(settings_shown(book.table["texts"]))
        return
    for text in texts:
        if "costs" in arguments:
            book.forget(text)
        if not book.has(text, COSTS):
            assert gpu() is None, "costs are of two cores: measure them on a machine without a GPU first"
            with threads.limit(None):
                book.keep(text, COSTS, {"machine": machine(), **costs(whole(text)[0])})
    missing = [(text, row) for text in texts for row in (BESIDE, *TRAINED) if not book.has(text, row)]
    device = "cpu" if gpu() is None else "cuda"
    with workers(device) as pool:
        pending = {
            pool.submit(row_of, text, row, book.table["texts"][text][COSTS].get(row, 0.0), device): (
                text,
                row,
            )
            for text, row in missing
        }
        for done in as_completed(pending):
            book.keep(*pending[done], done.result())


def _markdown(columns: Iterable[str], lines: Mapping[str, Sequence[str]]) -> str:
    columns = list(columns)
    told = [f"| {name} | {' | '.join(cells)} |" for name, cells in lines.items() if any(cells)]
    return "\n".join(["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns), *told]) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])
