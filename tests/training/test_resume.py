"""Resuming is exact: a run stopped anywhere ends with the same bytes as an uninterrupted one."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.runs import Run
from charloom.training import loop, train

from .small import (
    MODEL,
    Clock,
    assert_same_weights,
    kinds,
    line_corpus,
    quick_report,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
)

pytestmark = pytest.mark.usefixtures("quick_report")

RESIDUAL = ModelConfig(cell="lstm", hidden_size=6, block="residual", num_layers=2, dropout_branch=0.2)
DROPPED = ModelConfig(
    cell="lstm", hidden_size=8, num_layers=2, embedding_size=4, dropout_char=0.1, dropout_input=0.1,
    dropout_layer=0.2, dropout_output=0.3,
)  # fmt: skip
STREAM = {"stream_offset": "random", "state_reset_probability": 0.2}
SLIDING = {"batching": "sliding", "stride": 3, "order": "shuffled"}

# every optimiser, batching and block, with and without dropout, averaging, paired biases and random initial states
COVERING = {
    "adamw-stream": (MODEL, {"weight_decay": 0.1, **STREAM}),
    "adamw-average-dropout": (DROPPED, {"average_decay": 0.9, **STREAM}),
    "adamw-random-residual": (RESIDUAL, {"batching": "random", "average_decay": 0.8}),
    "adam-sliding-dropout": (DROPPED, {"optimizer": "adam", **SLIDING}),
    "adam-pair-stream": (MODEL, {"optimizer": "adam", "bias": "pair", "average_decay": 0.9}),
    "sgd-stream": (MODEL, {"optimizer": "sgd", "learning_rate": 0.5}),
    "sgd-momentum-random": (DROPPED, {"optimizer": "sgd", "momentum": 0.9, "batching": "random"}),
    "adagrad-stream-residual": (RESIDUAL, {"optimizer": "adagrad", "state_reset": "wrap"}),
    "adagrad-inside-sliding": (MODEL, {"optimizer": "adagrad", "epsilon_inside_root": True, **SLIDING}),
    "rmsprop-stream": (MODEL, {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "wsd"}),
    "rmsprop-sliding-residual": (RESIDUAL, {"optimizer": "rmsprop", "objective": "last", **SLIDING}),
    "muon-stream-dropout": (DROPPED, {"optimizer": "muon", "weight_decay": 0.1, **STREAM}),
    "muon-random-residual": (RESIDUAL, {"optimizer": "muon", "batching": "random", "average_decay": 0.9}),
    "normal-states-float64": (MODEL, {"initial_state": "normal", "precision": "float64", **STREAM}),
    "mingru-bfloat16": (
        ModelConfig(cell="mingru", hidden_size=8, block="residual", conv_width=1),
        {"precision": "bfloat16"},
    ),
    "elman-clip-value": (ModelConfig(cell="elman", hidden_size=8), {"clip_norm": None, "clip_value": 0.01}),
}


def test_the_cases_cover_every_optimiser_and_batching():
    import typing

    from charloom.config import TrainConfig

    hints = typing.get_type_hints(TrainConfig)
    for field in ("optimizer", "batching", "state_reset", "order", "precision", "initial_state", "bias"):
        default = TrainConfig.__dataclass_fields__[field].default
        assert {s.get(field, default) for _, s in COVERING.values()} == set(typing.get_args(hints[field])), (
            field
        )


def stop_after(events, step):
    """Stop the run at the first event at or beyond `step`, like a caller that stops iterating."""
    for event in events:
        if event.step >= step:
            events.close()
            return event.step
    raise AssertionError(f"the run ended before step {step}")


@pytest.mark.parametrize("name", COVERING)
def test_a_stopped_and_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one(name, tmp_path):
    model, changes = COVERING[name]
    corpus, config = small_corpus(), settings(**{"validate_every": 7, **changes})
    whole, _ = run_all(corpus, config, tmp_path / "whole", model=model)
    run = Run.create(tmp_path / "run", {})
    stopped = stop_after(train(corpus, model, config, run), 11)
    assert 11 <= stopped < 24
    run_all(corpus, config, run.path, model=model, resume=True)
    assert_same_weights(run, whole)


def test_documents_resume_too(tmp_path):
    corpus, config = line_corpus(), settings(validate_every=7)
    assert corpus.vocab.boundary_id is not None
    whole, _ = run_all(corpus, config, tmp_path / "whole", model=RESIDUAL)
    run = Run.create(tmp_path / "run", {})
    stop_after(train(corpus, RESIDUAL, config, run), 9)
    run_all(corpus, config, run.path, model=RESIDUAL, resume=True)
    assert_same_weights(run, whole)


@pytest.mark.parametrize("place", range(14))
def test_a_run_stopped_at_any_event_resumes_exactly(place, tmp_path):
    corpus, config = small_corpus(600), settings(steps=12, validate_every=3, sample_every=4)
    whole, events = run_all(corpus, config, tmp_path / "whole")
    assert len(events) > 14
    run = Run.create(tmp_path / "run", {})
    generator = train(corpus, MODEL, config, run)
    for _ in range(place + 1):
        next(generator)
    generator.close()
    assert not (run.path / "lock").exists()
    run_all(corpus, config, run.path, resume=True)
    assert_same_weights(run, whole)
    kept, expected = ([e for e in r.events() if e.get("event") == "validation"] for r in (run, whole))
    assert [(e["step"], e["loss"], e["best"]) for e in kept] == [
        (e["step"], e["loss"], e["best"]) for e in expected
    ]


def test_a_run_stopped_many_times_resumes_exactly(tmp_path):
    corpus, config = small_corpus(), settings(validate_every=5, average_decay=0.9)
    whole, _ = run_all(corpus, config, tmp_path / "whole")
    run = Run.create(tmp_path / "run", {})
    stop_after(train(corpus, MODEL, config, run), 2)
    for step in (4, 9, 10, 20):
        stop_after(train(corpus, MODEL, config, run, resume=True), step)
    _, events = run_all(corpus, config, run.path, resume=True)
    assert_same_weights(run, whole)
    assert kinds(events, "Finished")[0].chars_seen == 24 * 4 * 8


def test_without_a_checkpoint_a_resumed_run_starts_again(tmp_path):
    corpus, config = small_corpus(), settings(validate_every=7)
    whole, _ = run_all(corpus, config, tmp_path / "whole")
    run = Run.create(tmp_path / "run", {})
    run.append({"event": "note", "step": 5})
    run_all(corpus, config, run.path, resume=True)
    assert_same_weights(run, whole)
    assert not [e for e in run.events() if e.get("event") == "note"]


def test_a_damaged_newest_checkpoint_is_skipped_and_reported(tmp_path):
    corpus, config = small_corpus(), settings(validate_every=7)
    whole, _ = run_all(corpus, config, tmp_path / "whole")
    run = Run.create(tmp_path / "run", {})
    stop_after(train(corpus, MODEL, config, run), 6)
    stop_after(train(corpus, MODEL, config, run, resume=True), 13)
    newest = run.checkpoint_paths()[0]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    _, events = run_all(corpus, config, run.path, resume=True)
    assert 6 <= kinds(events, "Started")[0].step < 13
    assert [note for note in kinds(events, "Started")[0].notes if "skipped a damaged checkpoint" in note]
    assert_same_weights(run, whole)


def test_a_finished_run_takes_no_further_step_when_resumed(tmp_path):
    corpus, config = small_corpus(), settings()
    run, _ = run_all(corpus, config, tmp_path / "run")
    model = run.model_path.read_bytes()
    _, events = run_all(corpus, config, run.path, resume=True)
    assert not kinds(events, "Progress")
    assert kinds(events, "Finished")[0].step == 24
    assert len(run.model_path.read_bytes()) == pytest.approx(len(model), abs=64)
    kept = [e for e in run.events() if e.get("event") == "finished"]
    assert kept


def test_a_run_out_of_patience_takes_no_further_step_when_resumed(tmp_path):
    corpus = small_corpus()
    config = settings(
        steps=400, patience=1, validate_every=2, learning_rate=1.0, optimizer="sgd", clip_norm=None
    )
    run = Run.create(tmp_path / "run", {})
    generator = train(corpus, MODEL, config, run)
    for event in generator:
        if type(event).__name__ == "Finished":
            break
    generator.close()
    before, _ = run.newest_checkpoint()
    assert before.step < 400
    _, events = run_all(corpus, config, run.path, resume=True)
    assert not kinds(events, "Progress")
    assert kinds(events, "Finished")[0].reason == "patience"


def test_the_minutes_used_before_a_resume_count(tmp_path, monkeypatch):
    clock = Clock(0.05).install(monkeypatch)
    corpus, config = small_corpus(), settings(steps=None, minutes=0.1)  # six seconds: 120 updates
    run = Run.create(tmp_path / "run", {})
    stopped = stop_after(train(corpus, MODEL, config, run, clock=clock), 50)
    clock.now += 3600  # it is resumed an hour later
    _, events = run_all(corpus, config, run.path, resume=True, clock=clock)
    finished = kinds(events, "Finished")[0]
    assert stopped < finished.step
    in_loop_s = 6 - loop.FIXED_REPORT_S  # the final report is part of the minutes
    assert finished.step == pytest.approx(in_loop_s / 0.05, abs=6)
    assert finished.wall_time_s == pytest.approx(in_loop_s, rel=0.05)


# --------------------------------------------------------------------------------------------- a real kill -9

SCRIPT = """
    import sys
    from pathlib import Path
    from charloom.runs import Run
    from charloom.training import loop, recorder
    from tests.training import small

    recorder.CHECKPOINT_EVERY_S = 0.05
    loop.SAMPLE_CHARS = 3
    path, resume = Path(sys.argv[1]), sys.argv[2] == "resume"
    run = Run.open(path) if resume else Run.create(path, {})
    config = small.settings(steps=400, validate_every=40, average_decay=0.95)
    for event in loop.train(small.small_corpus(), small.MODEL, config, run, resume=resume):
        print(event.step, flush=True)
"""


def start(path, how):
    script, root = textwrap.dedent(SCRIPT), os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), how],
        cwd=root,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_run_killed_at_random_moments_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path):
    config = settings(steps=400, validate_every=40, average_decay=0.95)
    whole, _ = run_all(small_corpus(), config, tmp_path / "whole")
    moments, how = np.random.default_rng(time.time_ns() % 2**32), "begin"
    for life in range(3):
        process = start(tmp_path / "run", how)
        how = "resume"
        for _ in range(int(moments.integers(3, 12))):
            assert process.stdout.readline()
        if life < 2:
            time.sleep(float(moments.uniform(0, 0.05)))
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        assert process.returncode == (0 if life == 2 else -signal.SIGKILL)
    assert_same_weights(Run(tmp_path / "run"), whole)
