"""Two hosts with their own names, addresses and link: equal bytes, a slow link, a cut link, a host that vanishes.

They are network namespaces, which need Linux, root and iproute2. `make hosts` runs these tests.
"""

import json
import re
import time

import pytest

from benchmarks.hosts import Hosts, cannot
from charloom.cli import main
from charloom.runs import Run

from ..training.small import assert_same_weights, bigram_source, bigram_text

pytest.importorskip("torch")
pytestmark = [pytest.mark.hosts, pytest.mark.skipif(cannot() is not None, reason=str(cannot()))]

NETWORK = ["--cell", "gru", "--hidden-size", "16", "--block", "plain", "--num-layers", "1", "--device", "cpu"]
TRAIN = ["train", "tales.txt", *NETWORK, "--batch-size", "8", "--bptt-length", "8", "--lane-groups", "2"]
TRAIN += ["--validate-every", "50", "--threads", "1"]
CHARLOOM, KILLABLE = ["-m", "charloom"], ["-m", "tests.training.killable"]


@pytest.fixture
def hosts():
    with Hosts(2) as both:
        yield both


@pytest.fixture
def workspace(tmp_path):
    text = bigram_text(bigram_source(), 4000)
    (tmp_path / "tales.txt").write_text(text, encoding="utf-8")
    return tmp_path


def whole_run(workspace, monkeypatch, steps):
    """The same training in one process."""
    monkeypatch.chdir(workspace)
    assert main([*TRAIN, "--steps", str(steps), "--out", "whole", "--quiet"]) == 0
    return Run.open(workspace / "whole")


def outputs(processes, timeout_s=90):
    done = [process.communicate(timeout=timeout_s) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, done, strict=True)]


def test_torchrun_on_two_hosts_ends_with_the_bytes_of_one_process(hosts, workspace, monkeypatch):
    words = [*CHARLOOM, *TRAIN, "--steps", "60", "--out", "run", "--quiet"]
    processes = [hosts.torchrun(i, words, folder=workspace) for i in range(2)]
    done = outputs(processes)
    assert [code for code, *_ in done] == [0, 0], done
    assert_same_weights(whole_run(workspace, monkeypatch, 60), Run.open(workspace / "run"))


def test_the_doctor_measures_a_slow_link(hosts, workspace):
    hosts.slow(10)
    words = [*CHARLOOM, "doctor", "--distributed", "--json", "tales.txt"]
    done = outputs([hosts.start_rank(i, words, folder=workspace) for i in range(2)])
    found = {check["name"]: check for check in json.loads(done[0][1])["checks"]}
    assert {name: check["status"] for name, check in found.items()} == dict.fromkeys(found, "ok")
    assert found["interface"]["says"].startswith("eth0, 10.77.0.1")
    assert found["ranks"]["says"] == "2 ranks on 2 hosts: host-0, host-1"
    mbit = float(re.search(r"about ([\d.]+) Mbit/s", found["connection"]["says"])[1])
    assert 4 < mbit < 25


def test_replicas_send_a_fiftieth_of_the_bytes(hosts, workspace):
    """Each host's whole traffic, with the start, validations and checkpoints."""

    def sent(name, *more):
        before = hosts.sent_bytes(1)
        wide = ["96" if word == "16" else word for word in TRAIN]
        words = [*CHARLOOM, *wide, "--steps", "800", "--out", name, "--quiet", *more]
        done = outputs([hosts.start_rank(i, words, folder=workspace) for i in range(2)])
        assert [code for code, *_ in done] == [0, 0], done
        return hosts.sent_bytes(1) - before

    assert sent("joint") / sent("apart", "--sync-every", "100") > 50


@pytest.mark.parametrize("fault", ["cut", "vanish"])
def test_a_lost_host_is_named_and_the_run_continues_elsewhere(hosts, workspace, monkeypatch, fault):
    words = [*KILLABLE, *TRAIN, "--steps", "800", "--peer-timeout-s", "3", "--out", "run", "--quiet"]
    processes = [hosts.start_rank(i, words, folder=workspace) for i in range(2)]
    run, until = Run(workspace / "run"), time.monotonic() + 60
    while len(run.checkpoint_paths()) < 2:
        assert time.monotonic() < until, outputs(processes)
        time.sleep(0.02)
    getattr(hosts, fault)(1)
    began = time.monotonic()
    _, error = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 1
    assert time.monotonic() - began < 30
    assert re.search(r"error: rank 1 on host-1 \(process \d+\) is gone or hangs", error), error
    assert "rank 0 on host-0 waited" in error
    assert not (run.path / "lock").exists()
    monkeypatch.chdir(workspace)
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert 0 < next(e["resumed_from"] for e in run.events() if "resumed_from" in e) < 800
    assert_same_weights(whole_run(workspace, monkeypatch, 800), run)


def test_torchrun_restarts_two_hosts_after_a_killed_rank(hosts, workspace, monkeypatch):
    from ..training.test_ranks import kill_rank

    words = [*KILLABLE, *TRAIN, "--steps", "800", "--out", "run", "--quiet"]
    processes = [hosts.torchrun(i, words, folder=workspace, restarts=2) for i in range(2)]
    kill_rank(processes[1].pid, 1, Run(workspace / "run"))
    done = outputs(processes)
    assert [code for code, *_ in done] == [0, 0], done
    run = Run.open(workspace / "run")
    assert [e for e in run.events() if e.get("resumed_from", 0) > 0]
    assert_same_weights(whole_run(workspace, monkeypatch, 800), run)
