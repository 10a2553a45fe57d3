"""A process that has computed can be forked: the child computes too, and neither waits for threads that are gone."""

import os
import subprocess
import sys

import pytest

from charloom import threads

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SCRIPT = """
import multiprocessing, sys
import charloom

TEXT = "the cat sat on the mat, a dog ran to the sea\\n" * 200
TINY = dict(cell="gru", hidden_size=32, num_layers=1, steps=4, quiet=True, threads=2)

def work(name):
    model = charloom.train(text=TEXT, out=name, **TINY)
    samples = model.sample(count=8, length=20, seed=1)
    return model.evaluate().loss_nats, [one.text for one in samples]

def child(queue):
    queue.put(work("child"))

if __name__ == "__main__":
    mine = work("parent")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    loss, texts = queue.get(timeout=100)
    process.join(20)
    print(process.exitcode, abs(loss - mine[0]) < 1e-4, len(texts))
"""


def test_a_forked_child_trains_evaluates_and_samples(tmp_path):
    (tmp_path / "forked.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "forked.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.stdout.split() == ["0", "True", "8"], done.stderr


def test_a_forked_child_has_one_thread_and_no_cuda(monkeypatch):
    torch_engine = pytest.importorskip("charloom.engines.torch").ENGINE
    from charloom.engines.torch.cpu.row_threads import RowThreads
    from charloom.errors import ConfigError

    monkeypatch.setattr(threads, "_forked_after_torch", True)
    assert threads.available() == 1
    with threads.limit(2) as number:
        assert number == RowThreads().number == 1
    assert torch_engine.resolve_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="forked") as refused:
        torch_engine.resolve_device("cuda")
    assert "spawn" in refused.value.fix
