"""Several ranks: the curve and the bits are those of one, whatever their number; failures name rank, host and reason."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charloom import threads
from charloom.cli import main
from charloom.config import TrainConfig
from charloom.distributed import Launch
from charloom.errors import ConfigError
from charloom.ranked_jobs import continued_folder
from charloom.runs import Run
from charloom.training.ranks import for_ranks
from tests.conftest import ROOT

from . import launches
from .rank_worker import DROPPED
from .small import (
    assert_same_weights,
    bigram_source,
    bigram_text,
    kinds,
    quick_report,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
    weights,
)

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.usefixtures("quick_report"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc, interfaces on Linux"),
]

SHARED = {"batch_size": 12, "steps": 12, "validate_every": 5}
CASES = {
    "stream": {**SHARED, "lane_groups": 4, "state_reset_probability": 0.2, "average_decay": 0.9},
    "float64": {**SHARED, "lane_groups": 5, "precision": "float64", "initial_state": "normal"},
    "sliding": {**SHARED, "lane_groups": 4, "batching": "sliding", "stride": 9, "optimizer": "muon"},
    "replicas": {**SHARED, "lane_groups": 2, "sync_every": 5, "replicas": 4, "average_decay": 0.9},
}


def launch(folder, size, cases):
    """Train cases on `size` ranks."""
    words = ["-m", "tests.training.rank_worker", str(folder), json.dumps(cases)]
    done = launches.finish(launches.start(lambda _rank: words, size))
    assert [code for code, *_ in done] == [0] * size, [error for *_, (_, error) in done]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Every case on two ranks."""
    folder = tmp_path_factory.mktemp("two")
    launch(folder, 2, {name: [changes, "new"] for name, changes in CASES.items()})
    return folder


@pytest.fixture(scope="module")
def of_four(tmp_path_factory):
    """Every case on four ranks, stopped at step 6, and continued on three; "stopped" is a copy from before that."""
    folder = tmp_path_factory.mktemp("four")
    launch(folder, 4, {name: [changes, 6] for name, changes in CASES.items()})
    shutil.copytree(folder, folder / "stopped")
    launch(folder, 3, {name: [changes, "resume"] for name, changes in CASES.items()})
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_bits_of_one(name, of_two, tmp_path):
    one, events = run_all(small_corpus(), settings(**CASES[name]), tmp_path / "one", model=DROPPED)
    assert_same_weights(one, Run.open(of_two / name))
    started = kinds(events, "Started")[0]
    (recorded,) = [e for e in Run.open(of_two / name).events() if e["event"] == "started"]
    assert (started.ranks, recorded["ranks"]) == (1, 2)
    assert recorded["lane_groups"] == started.lane_groups == CASES[name]["lane_groups"]
    assert recorded["replicas"] == started.replicas == CASES[name].get("replicas", 1)


@pytest.mark.parametrize("name", CASES)
def test_a_run_stopped_on_four_ranks_and_continued_on_three_has_the_bits_of_one(name, of_four, tmp_path):
    one, _ = run_all(small_corpus(), settings(**CASES[name]), tmp_path / "one", model=DROPPED)
    run = Run.open(of_four / name)
    assert_same_weights(one, run)
    assert [e["ranks"] for e in run.events() if e.get("event") == "started"] == [4, 3]
    losses = [[e["loss"] for e in r.events() if e.get("event") == "progress"] for r in (one, run)]
    assert np.concatenate(losses[0]).tolist() == np.concatenate(losses[1]).tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_run_stopped_on_four_ranks_and_continued_by_one_process_has_its_bits(name, of_four, tmp_path):
    one, _ = run_all(small_corpus(), settings(**CASES[name]), tmp_path / "one", model=DROPPED)
    path = of_four / "stopped" / name
    _, events = run_all(small_corpus(), settings(**CASES[name]), path, model=DROPPED, resume=True)
    assert 6 <= kinds(events, "Started")[0].step < 12
    assert_same_weights(one, Run.open(path))


def test_one_process_without_groups_has_the_curve_to_1e_9_in_float64(of_two, tmp_path):
    alone = CASES["float64"] | {"lane_groups": None}
    one, _ = run_all(small_corpus(), settings(**alone), tmp_path / "one", model=DROPPED)
    of_one, of_both = weights(one)[1], weights(Run.open(of_two / "float64"))[1]
    for name, content in of_one.items():
        mine, theirs = (
            np.frombuffer(x, np.float64 if len(x) % 8 == 0 else np.float32) for x in (content, of_both[name])
        )
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9, err_msg=name)


# ------------------------------------------------------------------------------- failures, on the command line

TRAIN = ["-m", "charloom", "train", "tales.txt", "--cell", "gru", "--hidden-size", "8", "--block", "plain"]
TRAIN += ["--num-layers", "1", "--batch-size", "8", "--bptt-length", "8", "--device", "cpu", "--out", "run"]


@pytest.fixture
def workspace(tmp_path):
    text = bigram_text(bigram_source(), 3000)
    (tmp_path / "tales.txt").write_text(text, encoding="utf-8")
    (tmp_path / "other.txt").write_text(text + "a", encoding="utf-8")
    return tmp_path


def error_of(done):
    """The only error message among the ranks' output, and its rank."""
    found = [(rank, error) for rank, (_, (_, error)) in enumerate(done) if "error:" in error]
    assert len(found) == 1, found
    assert all("Traceback" not in error for _, (_, error) in done)
    return found[0]


def test_a_rank_with_another_text_is_named(workspace):
    def words(rank):
        return [word.replace("tales", "other") if rank == 1 else word for word in TRAIN] + ["--steps", "9"]

    done = launches.finish(launches.start(words, 2, workspace))
    assert [code for code, _ in done] == [1, 1]
    rank, error = error_of(done)
    assert rank == 0
    assert f"rank 1 on {socket.gethostname()} has corpus" in error
    assert not (workspace / "run").exists()


def test_the_failure_of_one_rank_is_told_once_with_its_host_and_reason(workspace):
    def words(rank):
        return [word.replace("tales", "missing") if rank == 1 else word for word in TRAIN] + ["--steps", "9"]

    done = launches.finish(launches.start(words, 2, workspace))
    assert [code for code, _ in done] == [1, 1]
    rank, error = error_of(done)
    assert rank == 1
    assert f"rank 1 on {socket.gethostname()} failed: missing.txt" in error


def test_torchrun_restarts_a_killed_training_which_ends_with_the_undisturbed_bytes(workspace, monkeypatch):
    words = [*TRAIN[2:-2], "--steps", "300", "--lane-groups", "2", "--validate-every", "100", "--quiet"]
    module = ["-m", "tests.training.killable"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    process = subprocess.Popen(
        [sys.executable, *torchrun, *module, *words, "--out", "run"],
        cwd=workspace,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        killed = kill_rank(process.pid, 1, Run(workspace / "run"))
        _, error = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, error
    assert error.count("error: ") == 1
    assert f"rank 1 on {socket.gethostname()} (process {killed}) is gone or hangs" in error
    run = Run.open(workspace / "run")
    (resumed,) = [e["resumed_from"] for e in run.events() if "resumed_from" in e]
    assert 0 < resumed < 300
    monkeypatch.chdir(workspace)
    assert main([*words, "--threads", "1", "--out", "whole"]) == 0
    assert_same_weights(Run.open(workspace / "whole"), run)


def kill_rank(parent, rank, run):
    """Kill a rank among a process's children once the run has a checkpoint after the first; its process id."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        newest = next(iter(run.checkpoint_paths()), None)
        if newest is not None and newest.name != "step-000000000.safetensors":
            for child in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split():
                if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    return int(child)
        time.sleep(0.01)
    raise AssertionError("the run wrote no checkpoint")


def test_a_rank_that_hangs_is_found_by_the_timeout(workspace):
    words = [*TRAIN, "--steps", "1000000", "--peer-timeout-s", "1"]
    processes = launches.start(lambda _rank: words, 2, workspace)
    for line in processes[0].stderr:
        if line.startswith("step "):
            break
    os.kill(processes[1].pid, signal.SIGSTOP)
    began = time.monotonic()
    assert processes[0].wait(timeout=60) == 1
    error = processes[0].stderr.read()
    assert time.monotonic() - began < 30
    processes[1].kill()
    for process in processes:
        process.communicate(timeout=10)
    assert f"rank 1 on {socket.gethostname()} (process {processes[1].pid}) is gone or hangs" in error
    assert "of at most 1 s" in error
    assert Run.open(workspace / "run").newest_checkpoint()[0] is not None
    assert not (workspace / "run" / "lock").exists()


def test_ranks_need_a_name_for_the_run(monkeypatch, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="there are 2 ranks and no --out"):
        continued_folder(None)
    Run.create(tmp_path / "run", {})
    assert continued_folder(tmp_path / "run", 2) == tmp_path / "run"
    assert continued_folder(tmp_path / "run") is None  # a new launch does not continue a run without --resume
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert continued_folder(tmp_path / "run") == tmp_path / "run"
    assert continued_folder(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("config", "launch_of", "expected"),
    [
        ({}, {"size": 2, "local_size": 2}, (2, None)),
        ({"threads": 3}, {"size": 2, "local_size": 1}, (6, None)),
        ({"threads": 3, "batch_size": 8}, {"size": 2, "local_size": 1}, (2, None)),
        ({"lane_groups": 5}, {"size": 4, "local_size": 4}, (5, None)),
        ({"lane_groups": 3}, {"size": 4, "local_size": 4}, (4, None)),
        ({"sync_every": 9}, {"size": 4, "local_size": 4}, (1, 4)),
        ({"sync_every": 9, "replicas": 8, "lane_groups": 2}, {"size": 4, "local_size": 4}, (2, 8)),
    ],
)
def test_a_launch_settles_the_groups_and_replicas(config, launch_of, expected, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 2)
    settled, notes = for_ranks(TrainConfig(**config), Launch(**launch_of))
    assert (settled.lane_groups, settled.replicas) == expected
    assert bool(notes) == (config.get("lane_groups") == 3)


def test_a_run_keeps_its_groups_unless_there_are_more_ranks():
    launched = Launch(size=2, local_size=2)
    with pytest.raises(ConfigError, match="there are 2 ranks and device is mps"):
        for_ranks(TrainConfig(), launched, device="mps")
    assert for_ranks(TrainConfig(threads=4), launched, device="cuda")[0].lane_groups == 2
    assert for_ranks(TrainConfig(lane_groups=2), launched, before=6)[0].lane_groups == 6
    settled, notes = for_ranks(TrainConfig(), launched, before=1)
    assert settled.lane_groups == 2
    assert "not byte-identical" in notes[0]
    with pytest.raises(ConfigError, match="there are 2 ranks and batch_size is 1"):
        for_ranks(TrainConfig(batch_size=1), launched)


@pytest.mark.parametrize("engine", ["scratch", "fused"])
@pytest.mark.parametrize("setting", ["lane_groups", "sync_every"])
def test_only_torch_divides_a_batch(engine, setting, tmp_path):
    pytest.importorskip("charloom.engines.fused")
    with pytest.raises(ConfigError, match=f"{setting} is 2 and engine is {engine}"):
        run_all(small_corpus(), settings(engine=engine, **{setting: 2}), tmp_path / "run")
