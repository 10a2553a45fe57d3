"""The baselines are measured in steps, in the background or at the end, with the same results."""

import threading
import time

import numpy as np
import pytest

from charloom.training import baselines
from charloom.training.baselines import BaselineMeasurement, measure_baselines

from .small import small_corpus


def finished(measurement):
    steps = measurement.finish()
    while True:
        try:
            assert 0 <= next(steps) <= 1
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("background", [True, False])
def test_the_background_changes_no_result(background):
    corpus = small_corpus()
    measurement = BaselineMeasurement(corpus, corpus.validation)
    if background:
        measurement.start(spare_cores=1)
    assert finished(measurement) == measure_baselines(corpus)


def test_the_training_part_is_limited_by_the_held_out_text(monkeypatch):
    corpus = small_corpus()
    monkeypatch.setattr(baselines, "LEAST_TRAIN_CHARS", 300)
    found = finished(BaselineMeasurement(corpus, corpus.validation[:50]))
    assert found.baseline_train_chars == 500
    assert finished(BaselineMeasurement(corpus, corpus.validation[:20])).baseline_train_chars == 300


def test_an_error_in_the_background_is_raised_at_the_end():
    corpus = small_corpus()
    bad = np.array(corpus.validation, np.int64)
    bad[3] = 10_000
    measurement = BaselineMeasurement(corpus, bad)
    measurement.start(spare_cores=1)
    with pytest.raises(Exception, match="10000"):
        finished(measurement)


def test_a_stopped_measurement_takes_no_further_step(monkeypatch):
    taken, go = [], threading.Event()

    def steps(*_):
        for i in range(100):
            taken.append(i)
            go.wait(10)
            yield
        return baselines.Baselines()

    monkeypatch.setattr(baselines, "_measure", steps)
    corpus = small_corpus()
    measurement = BaselineMeasurement(corpus, corpus.validation)
    measurement.start(spare_cores=1)
    while not taken:
        time.sleep(0.01)
    measurement.stop()
    go.set()
    with measurement._lock:  # the step in progress is over
        pass
    time.sleep(0.05)
    assert len(taken) == 1


@pytest.mark.skipif(not hasattr(__import__("os"), "getpriority"), reason="no priorities here")
def test_the_background_has_the_lowest_priority_on_linux(monkeypatch):
    import os
    import sys

    if sys.platform != "linux":
        pytest.skip("a thread has a priority of its own on Linux only")
    seen = []

    def steps(*_):
        seen.append(
            (threading.current_thread().name, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        )
        return baselines.Baselines()
        yield

    monkeypatch.setattr(baselines, "_measure", steps)
    corpus = small_corpus()
    measurement = BaselineMeasurement(corpus, corpus.validation)
    measurement.start(spare_cores=0)
    while not seen:
        time.sleep(0.01)
    assert seen == [("baselines", 19)]
    assert finished(measurement) == baselines.Baselines()
