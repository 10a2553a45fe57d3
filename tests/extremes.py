"""Extreme values of every setting, from the settings' own declarations, each tried in a small training or sample.

    python -m tests.extremes FOLDER

prints one line of JSON a case: the setting, the value, and what came of it. It bounds its own memory, so a setting that
takes too much fails here and not in the tests.
"""

import contextlib
import io
import itertools
import json
import math
import signal
import sys
import time
import traceback
import typing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

import charloom
from charloom.config import ModelConfig, SampleConfig, TextConfig, TrainConfig
from charloom.engines import load_engine
from charloom.errors import CharloomError
from charloom.generation import sample
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary
from charloom.training import baselines, loop

WHOLE = (0, -1, 1, 2**31, 2**63, 10**30, math.nan, math.inf)
REAL = (0.0, -1.0, 5e-324, 1e-9, 1.0, 1e308, math.nan, math.inf, -math.inf, 10**400, 2**64)
MOST_BYTES, MOST_S, ENOUGH_S = 8 << 30, 20, 0.5
WORKS, REFUSED = "works", "refused"

PARTNERS = {"test_fraction": {"val_fraction": 0.1}, "momentum": {"optimizer": "sgd"}}
"""What a setting needs beside it to act."""


def numeric_fields():
    """Each numeric setting: its class, its name, and its extreme values."""
    for cls in (TextConfig, ModelConfig, TrainConfig, SampleConfig):
        hints = typing.get_type_hints(cls)
        for spec in fields(cls):
            kinds = set(typing.get_args(hints[spec.name]) or (hints[spec.name],))
            if int in kinds:
                yield cls, spec.name, WHOLE
            elif float in kinds:
                yield cls, spec.name, REAL


def main(folder):
    """Try every value of every setting."""
    limit_memory()
    without_baselines()
    numbers = itertools.count()
    for cls, name, values in numeric_fields():
        for value in values:
            found, took_s = tried(cls, name, value, Path(folder) / str(next(numbers)))
            print(
                json.dumps(
                    {"setting": f"{cls.__name__}.{name}", "value": repr(value), "found": found, "s": took_s}
                ),
                flush=True,
            )


def limit_memory():
    """Let this process take no more than `MOST_BYTES`."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


def tried(cls, name, value, folder):
    """What came of one value, and the seconds that it took: works, refused, or a fault with its traceback."""

    def too_long(*_):
        raise TimeoutError(f"it took more than {MOST_S} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_S)
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            use(cls, {name: value} | PARTNERS.get(name, {}), folder)
        found = WORKS
    except CharloomError as error:
        found = REFUSED if error.what and error.why and error.fix else f"it explains nothing: {error!r}"
    except Exception:  # the fault that is looked for
        found = traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    return found, round(time.perf_counter() - began, 3)


class Enough(Exception):  # noqa: N818 - the end of a case, not a fault
    """A training has taken some steps, and would go on."""


def use(cls, given, folder):
    """A training of two steps, or a sample of ten characters with each engine, with these settings."""
    if cls is SampleConfig:
        chosen = SampleConfig(**{"length": 10, "seed": 1} | given)
        for engine in ("fused", "scratch", "torch"):
            sampled(replace(chosen, length=min(chosen.length, 10), count=min(chosen.count, 3)), engine)
        return
    settings = {"hidden_size": 8, "batch_size": 2, "bptt_length": 8, "threads": 1, "device": "cpu"} | given
    if not {"steps", "epochs", "minutes", "max_epochs"} & set(given):
        settings["steps"] = 2
    end = time.monotonic() + ENOUGH_S

    def stop(event):
        if time.monotonic() > end and getattr(event, "step", 0) > 0:
            raise Enough

    with contextlib.suppress(Enough):
        charloom.train(text="abcab cbabc\n" * 60, out=folder, quiet=True, on_event=stop, **settings)


def sampled(chosen, engine):
    """A few characters of a small network."""
    config = ModelConfig(cell="gru", hidden_size=8)
    model = load_engine(engine).model(initial_parameters(config, 5, 0), config)
    sample(model, Vocabulary.from_text("abc\n "), [np.array([0, 1])], chosen, seed=chosen.seed or 0)


def without_baselines():
    """Leave out the n-gram and xz, which take longer than these trainings."""

    def none(*_):
        yield
        return baselines.Baselines()

    baselines._measure = none
    loop.SAMPLE_CHARS = 3


if __name__ == "__main__":
    main(sys.argv[1])
