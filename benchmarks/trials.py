"""Short trainings for choosing a recipe: the effect of settings on a part of the text that no table uses.

A text's first nine tenths are its training part; a trial trains on their first eight ninths and is evaluated
on the rest, so the last tenth of the text, which the tables show, does not influence any choice.

python -m benchmarks.trials TEXT [KEY=VALUE …] [-- KEY=VALUE …]

Each group is one trial, of recipe=NAME or of the default recipe, with the given settings; a line per trial is
added to ``results/trials.jsonl``. TEXT is the name of a file in the data folder, without its suffix.

    python -m benchmarks.trials tinyshakespeare minutes=1.5 batch_size=16 -- minutes=1.5 batch_size=32
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, gpu, machine, rounded
from charloom import threads
from charloom.config import TextConfig
from charloom.engines import EngineModel, load_engine
from charloom.evaluation.protocols import stream_loss, windows_loss
from charloom.modelfile import ModelFile, read_model
from charloom.parameters import count_parameters
from charloom.recipes import Resolved, find_recipe, resolve
from charloom.reproduce.systems import BESIDE
from charloom.runs import Run
from charloom.text import Corpus, read_corpus
from charloom.training import train
from charloom.training.distillation import Teacher, num_written
from charloom.training.events import Finished

LOG = RESULTS / "trials.jsonl"
PROTOCOLS = ("windows_64", "windows_256", "stream")
ENWIK8_PARTS = (slice(90_000_000), slice(90_000_000, 95_000_000), slice(95_000_000, None))
"""The usual bytes of enwik8 for training, for validation and for testing."""
QUICK_WINDOWS = 1_000
"""Windows per evaluation of a trial, the same for all: a standard error near 0.003 nats."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model and the record of its training.

    Attributes:
        kept: the final model, not chosen by validation.
        model: the same, bound to its engine.
        finished: the last event.
        num_params: number of parameters.
        settings: the settings as given.
        num_written: characters that a teacher wrote, which were trained on too.
    """

    kept: ModelFile
    model: EngineModel
    finished: Finished
    num_params: int
    settings: Mapping[str, Any]
    num_written: int = 0


def data_file(name: str) -> Path:
    """A text in the data folder: ``$CHARLOOM_DATA``, or the folder next to the checkout."""
    return Path(os.environ.get("CHARLOOM_DATA", BESIDE)).absolute() / f"{name}.txt"


def whole(name: str) -> tuple[Corpus, Corpus]:
    """The corpus with its last tenth held out, and the one for trials, which holds out training text.

    enwik8 is divided as usual: bytes, 90 million to train on, the next 5 million for trials, the last 5 held out.
    """
    if name == "enwik8":
        corpus = read_corpus([data_file(name)], TextConfig(unit="byte", val_fraction=0.0))
        train, for_trials, held_out = (corpus.train[part] for part in ENWIK8_PARTS)
        corpus = replace(corpus, train=train, validation=held_out)
        return corpus, replace(corpus, validation=for_trials)
    corpus = read_corpus([data_file(name)], TextConfig(val_fraction=0.1))
    ids = corpus.train
    edge = len(ids) * 8 // 9
    return corpus, replace(corpus, train=ids[:edge], validation=ids[edge:])


def resolved(settings: Mapping[str, Any], num_chars: int) -> Resolved:
    """Resolve settings over their base, given by ``recipe``; without patience, as nothing is held out."""
    flags = {name: value for name, value in settings.items() if name != "recipe"}
    recipe = find_recipe(settings["recipe"]) if "recipe" in settings else None
    return resolve(recipe, {"patience": None, **flags}, num_chars=num_chars)


def trained(corpus: Corpus, settings: Mapping[str, Any], *, teacher: Teacher | None = None) -> Trained:
    """Train on a corpus without using its held-out part, taught by another network if one is given."""
    own = resolved(settings, len(corpus.train))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        text = replace(corpus, validation=None)
        for event in train(text, own.model_config, own.train_config, run, teacher=teacher):
            finished = event
        kept = read_model(run.model_path)
    assert isinstance(finished, Finished)
    device = settings.get("device", "cpu")
    return Trained(
        kept,
        load_engine("auto" if device == "cpu" else "torch").model(
            kept.parameters, kept.model_config, device=device
        ),
        finished,
        count_parameters(kept.model_config, len(corpus.vocab)),
        settings,
        num_written(own.train_config, teacher),
    )


def judged(
    model: EngineModel, corpus: Corpus, *, num_windows: int, protocols: Sequence[str] = PROTOCOLS
) -> dict[str, float]:
    """Held-out nats per character: windows of 64 and of 256 from a zero state, and the stream."""
    ids = corpus.validation
    assert ids is not None
    side_by_side = 64 if str(getattr(model, "device", "cpu")) == "cpu" else 1_024

    def loss(protocol: str) -> float:
        if protocol == "stream":
            return stream_loss(model, ids).loss_nats
        length = int(protocol.removeprefix("windows_"))
        found = windows_loss(model, ids, window=length, num_windows=num_windows, batch_size=side_by_side)
        return found.loss_nats

    return {protocol: loss(protocol) for protocol in protocols}


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` words as settings.

    Example:
        >>> settings_of(["cell=gru", "steps=300", "learning_rate=4e-3", "tie_embeddings=true", "clip_norm=none"])
        {'cell': 'gru', 'steps': 300, 'learning_rate': 0.004, 'tie_embeddings': True, 'clip_norm': None}
    """
    constants = {"none": None, "true": True, "false": False}

    def value(text: str) -> Any:
        if text in constants:
            return constants[text]
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    return {key: value(text) for key, _, text in (word.partition("=") for word in words)}


def main(arguments: Sequence[str]) -> int:
    """Run every trial, and print and save a line for each."""
    if not arguments:
        print(__doc__)
        return 2
    name, *words = arguments
    _, corpus = whole(name)
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            groups.append([])
        else:
            groups[-1].append(word)
    for group in groups:
        with threads.limit(None):
            done = trained(corpus, settings_of(group))
            losses = judged(done.model, corpus, num_windows=QUICK_WINDOWS)
        line = {
            "text": name,
            "settings": dict(done.settings),
            **{key: rounded(value) for key, value in losses.items()},
            "steps": done.finished.step,
            "num_params": done.num_params,
            "train_time_s": rounded(done.finished.train_time_s),
            "chars_per_s": round(done.finished.chars_seen / done.finished.train_time_s),
            "processor": gpu() if "cuda" in str(done.settings.get("device")) else machine()["processor"],
            "date": machine()["date"],
        }
        print(json.dumps(line), flush=True)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
