"""Eight workers share a search in PostgreSQL, and are killed at random: no trial is lost, none is counted twice."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.scripts import script
from tests.tuning.workers import NAME, run_worker

pytestmark = pytest.mark.postgres

WORKERS, TRIALS, KILLS, LEASE_S = 8, 1000, 32, 1.0
SET_TRIAL_STATE, FINISHED = 6, (1, 2, 3)  # in Optuna's journal: the operation; complete, pruned, fail
MOST_S = 240  # a bound for a machine that is very busy, not a claim


def tool():
    return script("tools/postgres.py")


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("optuna", reason="searching needs optuna")
    pytest.importorskip("psycopg", reason="a search in PostgreSQL needs psycopg")
    if (reason := tool().why_not()) is not None:
        pytest.skip(reason)
    with tool().private_postgres() as found:
        yield found


class Counted:
    """How often each trial was recorded as finished in the journal, read as it grows."""

    def __init__(self, store):
        self.store, self.read, self.times = store, 0, Counter()

    def update(self):
        for entry in self.store.read_logs(self.read):
            self.read += 1
            if entry["op_code"] == SET_TRIAL_STATE and entry["state"] in FINISHED:
                self.times[entry["trial_id"]] += 1
        return len(self.times)


def test_eight_workers_of_which_32_are_killed_do_1000_trials_once_each(url, tmp_path):
    from charloom.tuning.postgres import PostgresStore

    folder = tmp_path / NAME
    folder.mkdir()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.tuning.workers", "optuna", "optuna.samplers", "psycopg"])

    def worker():
        process = processes.Process(target=run_worker, args=(str(folder), url, TRIALS, LEASE_S))
        process.start()
        return process

    store, workers, killed, rng = (
        PostgresStore(url, NAME),
        [worker() for _ in range(WORKERS)],
        0,
        random.Random(1),
    )
    finished, began = Counted(store), time.monotonic()
    try:
        while any(process.is_alive() for process in workers):
            assert time.monotonic() - began < MOST_S
            time.sleep(0.02)
            if killed < KILLS and finished.update() >= (killed + 1) * TRIALS // (KILLS + 4):
                victim = rng.randrange(WORKERS)
                os.kill(workers[victim].pid, signal.SIGKILL)
                workers[victim].join()
                workers[victim] = worker()
                killed += 1
        finished.update()
    finally:
        for process in workers:
            process.kill()
            process.join()
        store.close()
    print(f"{time.monotonic() - began:.1f} s, {killed} killed")
    assert killed == KILLS
    assert [process.exitcode for process in workers] == [0] * WORKERS
    assert set(finished.times) == set(range(TRIALS))
    assert set(finished.times.values()) == {1}
