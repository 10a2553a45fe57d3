"""Valid files, mutated by structure and by byte: an explained error or the right answer, and nothing else.

The ordinary suite tries some hundred cases of each kind; ``pytest -m reliability`` ten thousand.
"""

import copy
import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from charloom.checkpoints import read_checkpoint
from charloom.errors import CharloomError
from charloom.files import Lock
from charloom.modelfile import read_header, read_model, write_tensors
from charloom.recipes import find_recipe
from charloom.runs import Run
from charloom.text.prepared import open_prepared
from charloom.training.state import LoopState
from tests.golden import __file__ as golden

GOLDEN = Path(golden).parent
FEW, MANY = 150, 10_000
SLOWEST_S = 2.0

STRANGE = [
    None, True, False, 0, -1, 1.5, 2**63, 10**30, 1e308, "", "x", "\x00", "\u202e\x1b[31m", "\ud800", [], {}, [[]],
    [None], {"": None}, {"a": {"a": {}}}, ["x"] * 50, "9" * 400, float("inf"), float("nan"),
]  # fmt: skip


def places(value, path=()):
    """Every place in a document, as a path of names and numbers."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(document, rng):
    """A copy with one to three values replaced, removed or added."""
    found = copy.deepcopy(document)
    for _ in range(rng.integers(1, 4)):
        every = list(places(found))
        path = every[rng.integers(len(every))]
        strange = copy.deepcopy(STRANGE[rng.integers(len(STRANGE))])
        if not path:
            if rng.random() < 0.1:
                return strange
            continue
        *parents, last = path
        inner = found
        for key in parents:
            inner = inner[key]
        kind = rng.integers(3)
        if kind == 0:
            inner[last] = strange
        elif kind == 1:
            del inner[last]
        elif isinstance(inner, dict):
            inner[str(rng.integers(1000))] = strange
        else:
            inner.append(strange)
    return found


def flipped(content, rng):
    """The bytes with some changed, cut off, repeated or inserted."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, kind = int(rng.integers(max(1, len(found)))), rng.integers(4)
        if kind == 0 and found:
            found[at] = rng.integers(256)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            found[at:at] = found[at : at + int(rng.integers(1, 40))]
        else:
            found[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(found)


def as_json(document):
    return json.dumps(document).encode()


class Kind:
    """A kind of file: a valid one, and what reads it all."""

    def __init__(self, name, content, read, *, document=None):
        self.name, self.content, self.read, self.document = name, content, read, document

    def __repr__(self):
        return self.name

    def case(self, rng):
        if self.document is not None and rng.random() < 0.7:
            return as_json(mutated(self.document, rng))
        return flipped(self.content, rng)


def run_of(content, folder, name):
    run = Run(folder / "run")
    for own in ("config.json", "events.jsonl"):
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run" / own).write_bytes((GOLDEN / "run-torch" / own).read_bytes())
    (folder / "run" / name).write_bytes(content)
    return run


def read_config(content, folder):
    run = run_of(content, folder, "config.json")
    run.config(), run.complete_config(), str(run.summary())
    find_recipe(str(run.path))


def read_events(content, folder):
    from charloom.insight.training_curve import training_curve

    events = run_of(content, folder, "events.jsonl").events()
    training_curve(events, clip_norm=1.0)


def read_model_file(content, folder):
    (folder / "model.safetensors").write_bytes(content)
    read_model(folder / "model.safetensors")


def read_card(content, folder):
    path = GOLDEN / "lstm-plain.safetensors"
    _, metadata = read_header(path)
    changed = metadata | {"card": content.decode("utf-8", "replace")}
    write_tensors(folder / "model.safetensors", read_model(path).parameters, changed)
    read_model(folder / "model.safetensors")


def read_saved(content, folder):
    (folder / "step-000000030.safetensors").write_bytes(content)
    LoopState.from_json(read_checkpoint(folder / "step-000000030.safetensors").scalars)


def read_toml(content, folder):
    (folder / "mine.toml").write_bytes(content)
    find_recipe(str(folder / "mine.toml"))


def read_prepared(content, folder):
    (folder / "text.chars").write_bytes(content)
    corpus = open_prepared(folder / "text.chars")
    np.asarray(corpus.train).sum()


def read_lock(content, folder):
    (folder / "lock").write_bytes(content)
    with Lock(folder / "lock"):
        pass


def kinds():
    config = json.loads((GOLDEN / "run-torch" / "config.json").read_text("utf-8"))
    facts = {"history": [[1, 2.0]], "last_step": 4, "best_step": 3, "passes": 1.0, "learning_rate_share": 0.1}
    facts |= {"train_chars": 9, "val_loss": 2.0, "train_loss": 1.0, "uniform_loss": 3.0}
    verdict = {
        "kind": "too-short",
        "says": "x",
        "number": 1.0,
        "threshold": 2.0,
        "advice": "y",
        "settings": {},
    }
    results = {
        "protocol": "stream",
        "steps": 4,
        "best_step": 3,
        "chars_seen": 9,
        "train_time_s": 1.0,
        "wall_time_s": 1.0,
    }
    results |= {"val_loss_nats": 2.0, "val_bits_per_char": 3.0, "ngram_bits_per_char": 3.0, "ngram_order": 2}
    results |= {"xz_bits_per_char": 4.0, "verdicts": [verdict], "facts": facts}
    config |= {
        "results": results,
        "as_taken": {"steps": 4, "plan": "0:0 4:1"},
        "branched_from": {"path": "x", "step": 3},
    }
    card = {
        key: config[key]
        for key in ("recipe", "sample", "train", "versions", "created", "results", "branched_from")
    }
    card |= {"corpus": {"name": "x", "sha256": "0" * 64, "num_chars": 3}}
    whole = (GOLDEN / "run-torch" / "events.jsonl").read_bytes()
    checkpoint = next((GOLDEN / "run-torch" / "checkpoints").iterdir()).read_bytes()
    toml = b'about = "x"\ncell = "lstm"\n[train]\nsteps = 10\nlearning_rate = 1e-3\n[sample]\nprompt = "a"\ntemperature = 0.5\n'
    holder = {"pid": 2**31 - 1, "host": socket.gethostname(), "boot": "before"}
    return [
        Kind("config.json", as_json(config), read_config, document=config),
        Kind("events.jsonl", whole, read_events),
        Kind("model", (GOLDEN / "lstm-plain.safetensors").read_bytes(), read_model_file),
        Kind("card", as_json(card), read_card, document=card),
        Kind("checkpoint", checkpoint, read_saved),
        Kind("recipe", toml, read_toml),
        Kind("prepared", (GOLDEN / "text.chars").read_bytes(), read_prepared),
        Kind("lock", as_json(holder), read_lock, document=holder),
    ]


def attack(kind, number, folder, rng):
    """Read so many mutations; how many were refused."""
    refused = longest = 0
    for case in range(number):
        content = kind.case(rng)
        began = time.process_time()
        try:
            kind.read(content, folder)
        except CharloomError as error:
            refused, longest = refused + 1, max(longest, len(str(error)))
        except Exception as error:
            raise AssertionError(
                f"case {case} of {kind}: {type(error).__name__}, content {content[:2000]!r}"
            ) from error
        assert time.process_time() - began < SLOWEST_S, f"case {case} of {kind} takes too long"
    assert longest < 4000
    return refused


@pytest.mark.parametrize("kind", kinds(), ids=repr)
def test_some_mutations_are_explained(kind, tmp_path, rng):
    kind.read(kind.content, tmp_path)
    assert attack(kind, FEW, tmp_path, rng) > FEW // 20


@pytest.mark.reliability
@pytest.mark.parametrize("kind", kinds(), ids=repr)
def test_ten_thousand_mutations_are_explained(kind, tmp_path, attacks):
    refused = attack(kind, MANY, tmp_path, attacks.rng)
    attacks.count(f"mutations, {kind}", MANY)
    print(f"{kind}: {MANY:,} mutations, {refused:,} refused, the others read")
