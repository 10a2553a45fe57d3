"""One number of threads for every pool, restored afterwards."""

import contextlib
import os
import sys

import pytest
import threadpoolctl
import torch

from charloom import threads
from charloom.errors import ConfigError


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_limit_sets_torch_and_blas_and_restores_them():
    before, blas_before = torch.get_num_threads(), blas_threads()
    with threads.limit(1, blas=1) as number:
        assert number == 1
        assert torch.get_num_threads() == 1
        assert blas_threads() == {1}
    with threads.limit(2, blas=1) as number:
        assert number == 2
        assert torch.get_num_threads() == 2
        assert blas_threads() == {1}
    assert torch.get_num_threads() == before
    assert blas_threads() == blas_before


def test_limit_restores_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads.limit(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_torch_is_restored_by_limit_itself(monkeypatch):
    # threadpoolctl also restores torch's pool if it is OpenMP's; it does not see the pool of another build of torch
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", lambda **_: contextlib.nullcontext())
    before = torch.get_num_threads()
    with threads.limit(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_none_means_the_cores_this_process_may_use(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 3)
    with threads.limit(None) as number:
        assert number == 3


def test_a_process_without_torch_is_limited_too(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with threads.limit(1) as number:
        assert number == 1


@pytest.mark.parametrize(
    ("quota", "expected"), [(None, 4), (0.5, 1), (1.0, 1), (1.5, 2), (2.0, 2), (64.0, 4)], ids=str
)
def test_available_is_the_affinity_limited_by_the_quota(quota, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: quota)
    assert threads.available() == expected


@pytest.mark.parametrize(("content", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("torn", None)])
def test_the_quota_is_read_from_the_cgroup(content, quota, monkeypatch):
    monkeypatch.setattr(threads.Path, "read_text", lambda *_: content)
    assert threads._cgroup_quota() == quota


def test_a_system_without_cgroups_has_no_quota(monkeypatch):
    def missing(*_):
        raise FileNotFoundError

    monkeypatch.setattr(threads.Path, "read_text", missing)
    assert threads._cgroup_quota() is None


def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    threads.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == str(threads.SPINS)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    threads.wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads.wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_at_most_limits_what_is_available(monkeypatch):
    cores = threads.available()
    with threads.at_most(3):
        assert threads.available() == 3
        with threads.at_most(None):
            assert threads.available() == cores
    assert threads.available() == cores


@pytest.mark.parametrize("number", [0, -1])
def test_no_thread_is_an_error(number):
    with pytest.raises(ConfigError, match=f"threads is {number}"), threads.at_most(number):
        pass


def test_a_limited_function_runs_torch_on_what_is_available_and_blas_on_one_thread():
    @threads.limited
    def seen(add):
        return torch.get_num_threads() + add, blas_threads()

    before = torch.get_num_threads(), blas_threads()
    with threads.at_most(1):
        assert seen(add=10) == (11, {1})
    assert (torch.get_num_threads(), blas_threads()) == before
