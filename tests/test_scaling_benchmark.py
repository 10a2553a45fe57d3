"""The simulator of several machines."""

import pytest

from benchmarks.scaling import Link, exchange_s, step_s


def test_an_exchange_is_two_phases_of_a_latency_and_the_parts_of_the_others():
    link = Link(0.001, 1e6)
    assert exchange_s(link, 1e6, 1) == pytest.approx(0.002)  # nothing to send
    assert exchange_s(link, 1e6, 2) == pytest.approx(2 * (0.001 + 0.5))
    assert exchange_s(link, 1e6, 64) == pytest.approx(2 * (0.001 + 63 / 64))


def test_replicas_exchange_once_in_n_steps():
    link = Link(0.01, 1e5)
    joint, apart = (step_s(0.02, link, 1e6, 2, sync_every=every) for every in (1, 50))
    assert joint - 0.02 == pytest.approx(50 * (apart - 0.02))
