"""The simulator of several machines."""

import pytest

from benchmarks.simulator import Link, exchange_s, step_s


def test_an_exchange_is_two_phases_of_a_latency_and_the_parts_of_the_others():
    link = Link(0.001, 1e6)
    assert exchange_s(link, 1e6, 1) == pytest.approx(0.002)  # nothing to send
    assert exchange_s(link, 1e6, 2) == pytest.approx(2 * (0.001 + 0.5))
    assert exchange_s(link, 1e6, 64) == pytest.approx(2 * (0.001 + 63 / 64))


def test_replicas_exchange_once_in_n_steps():
    link = Link(0.01, 1e5)
    joint, apart = (step_s([0.02], link, 1e6, 2, sync_every=every) for every in (1, 50))
    assert joint - 0.02 == pytest.approx(50 * (apart - 0.02))


def test_all_wait_for_the_slowest():
    none = Link(0.0, 1e12)
    uneven = [0.01] * 9 + [0.11]
    assert step_s(uneven, none, 0, 1) == pytest.approx(0.02, rel=0.1)
    assert step_s(uneven, none, 0, 64) == pytest.approx(0.11, rel=0.01)  # 0.9⁶⁴ = 0.1 %: some rank is late
    assert 0.02 < step_s(uneven, none, 0, 64, sync_every=100) < 0.04  # what they wait for evens out
