"""Messages between ranks: JSON and arrays, unpacked as they were packed, and nothing else."""

import numpy as np
import pytest
import torch

from charloom.distributed.failures import Failures
from charloom.distributed.ranks import _packed, _unpacked
from charloom.errors import CharloomError


def test_a_message_and_its_arrays_come_back():
    arrays = {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "moments": np.array([1e-300, -0.0]),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.float64(3).reshape(()),
        "ids": np.array([2**40]),
    }
    message = {"do": "load", "knots": [[0, 0.0], [3, 1.0]], "text": "ø\n"}
    found, back = _unpacked(*_packed(message, arrays))
    assert found == message
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("cut", [1, -1])
def test_contents_of_another_size_are_refused(cut):
    head, body = _packed({}, {"x": np.zeros(4)})
    body = body[:-1] if cut < 0 else torch.cat([body, body[:1]])
    with pytest.raises(AssertionError):
        _unpacked(head, body)


class Store:
    """A store in memory."""

    def __init__(self):
        self.kept = {}

    def set(self, name, value):
        self.kept[name] = value.encode()

    def get(self, name):
        return self.kept[name]

    def check(self, names):
        return all(name in self.kept for name in names)

    def compare_set(self, name, expected, value):
        if self.kept.get(name, b"") == expected.encode():
            self.set(name, value)
        return self.kept[name]

    def set_timeout(self, timeout):
        pass


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr("charloom.distributed.failures.SETTLE_S", 0.2)
    store = Store()
    ranks = [Failures(store, rank, 3) for rank in range(3)]
    for rank, one in enumerate(ranks):
        one.host = f"host-{rank}"
        one.announce()
    for one in ranks:
        one.learn_hosts()
    return ranks


def test_the_first_failure_is_believed_and_told_by_the_rank_that_failed(three):
    reason = CharloomError("the disk is full", why="0 bytes are free", fix="free some")
    assert three[1].post(reason)
    assert not three[2].post(CharloomError("later", why="w", fix="f"))
    error = three[0].explained(RuntimeError("closed"), 1.0, 9.0)
    assert error.what == "rank 1 on host-1 failed: the disk is full"
    assert (error.why, error.fix, error.is_told) == ("0 bytes are free", "free some", True)


def test_a_rank_that_does_not_answer_is_named_by_the_lowest_survivor(three):
    three[1].store.set("answers/1", "1")
    error = three[0].explained(RuntimeError("[/pytorch/a.cpp:1] Timed out. Check."), 9.04, 9.0)
    assert error.what.startswith("rank 2 on host-2 (process ")
    assert error.what.endswith("is gone or hangs")
    assert error.why == "Timed out (rank 0 on host-0 waited 9.0 s of at most 9 s)"
    assert not error.is_told
    assert three[1].explained(RuntimeError("x"), 0.0, 9.0).is_told


def test_a_cut_between_ranks_that_all_run_is_said(three):
    for rank in (1, 2):
        three[rank].store.set(f"answers/{rank}", "1")
    assert "all of them run" in three[0].explained(RuntimeError("x"), 0.0, 9.0).what


def test_without_a_store_all_others_are_lost(three, monkeypatch):
    def gone(_names):
        raise RuntimeError("connection closed")

    monkeypatch.setattr(three[1].store, "check", gone)
    what = three[1].explained(RuntimeError("x"), 0.0, 9.0).what
    assert "rank 0 on host-0" in what
    assert "rank 2 on host-2" in what
