"""Leases: taken once, renewed, given back, taken over when they have expired; and a journal that several append to."""

import os
import threading
import time

import pytest

from charloom.errors import ConfigError, RunError
from charloom.tuning.journal_file import DEAD_AFTER_S, FileStore
from charloom.tuning.lease import HeldLease
from charloom.tuning.store import open_store
from tests.tuning.test_postgres import url  # noqa: F401 - a fixture

pytest.importorskip("optuna", reason="searching needs optuna")


@pytest.fixture(params=["file", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request, tmp_path):
    folder = tmp_path / request.node.name.translate(str.maketrans("[]", "--"))
    folder.mkdir()
    found = open_store(folder, None if request.param == "file" else request.getfixturevalue("url"))
    yield found
    found.close()


def test_a_lease_is_taken_once_and_is_free_when_given_back(store):
    assert store.claim(3, "ann", 60) == 1
    assert store.claim(3, "bob", 60) is None
    assert store.claim(3, "ann", 60) is None
    assert store.held() == {3: "ann"}
    store.release(3, "bob")  # it is not his
    assert store.held() == {3: "ann"}
    store.release(3, "ann")
    assert store.held() == {}
    assert store.claim(3, "bob", 60) == 2


def test_an_expired_lease_is_taken_over_and_its_holder_notices(store):
    assert store.claim(0, "ann", 0.05) == 1
    time.sleep(0.1)
    assert store.held() == {}
    assert store.claim(0, "bob", 60) == 2
    assert not store.renew(0, "ann", 60)
    assert store.renew(0, "bob", 60)
    store.release(0, "ann")
    assert store.held() == {0: "bob"}


def test_renewing_keeps_a_lease(store):
    assert store.claim(0, "ann", 0.5) == 1
    assert store.renew(0, "ann", 60)
    time.sleep(0.6)
    assert store.claim(0, "bob", 60) is None


def test_a_held_lease_is_renewed_until_the_block_ends(store, monkeypatch):
    renewed, real = threading.Semaphore(0), type(store).renew

    def renew(self, *how):
        renewed.release()
        return real(self, *how)

    monkeypatch.setattr(type(store), "renew", renew)
    assert store.claim(0, "ann", 60) == 1
    with HeldLease(store, 0, "ann", 0.06):
        assert all(renewed.acquire(timeout=60) for _ in range(3))
    assert store.held() == {}
    assert store.claim(0, "bob", 60) == 2


def test_a_lease_that_was_taken_over_is_lost(store):
    store.claim(0, "ann", 60)
    with HeldLease(store, 0, "ann", 60) as lease:
        store.release(0, "ann")
        store.claim(0, "bob", 60)
        assert not lease.check()
        assert lease.is_lost
    assert store.held() == {0: "bob"}


def test_the_clock_runs(store):
    before = store.now()
    assert abs(before - time.time()) < 5
    time.sleep(0.05)
    assert store.now() > before


def test_of_many_that_want_a_lease_one_gets_it(store, request, tmp_path):
    """Also when it has expired: then each of them first sees a lease to take over."""
    store.claim(0, "late", 0.001)
    time.sleep(0.05)
    got, gate = [], threading.Barrier(8)

    def want(holder):
        own = FileStore(store._folder) if isinstance(store, FileStore) else store
        gate.wait()
        got.append(own.claim(0, holder, 60))
        if own is not store:
            own.close()

    threads = [threading.Thread(target=want, args=(f"worker {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken for taken in got if taken is not None) == [2]


def test_entries_of_two_writers_have_one_order_without_gaps(store):
    journal = store.journal()

    def write(name):
        for number in range(40):
            journal.append_logs([{"who": name, "number": number}])

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = list(journal.read_logs(0))
    assert len(entries) == 80
    assert list(journal.read_logs(70)) == entries[70:]
    for name in "ab":
        assert [entry["number"] for entry in entries if entry["who"] == name] == list(range(40))


@pytest.mark.postgres
def test_the_small_files_of_dead_workers_are_swept(tmp_path):
    first = FileStore(tmp_path)
    now = first.now()
    for name, age_s in {
        ".clock-dead": 2 * DEAD_AFTER_S,
        ".new-dead": 2 * DEAD_AFTER_S,
        ".clock-alive": 60,
    }.items():
        (tmp_path / "leases" / name).write_bytes(b"")
        os.utime(tmp_path / "leases" / name, (now - age_s, now - age_s))
    second = FileStore(tmp_path)
    assert first._clock.exists()
    second.close()
    first.close()
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [".clock-alive"]


@pytest.mark.parametrize("torn", [b'{"op_code":', bytes(40), b"{"])
def test_a_line_of_the_journal_that_was_cut_off_is_removed(torn, tmp_path):
    """As after a full disk or a power cut: Optuna reads nothing beyond such a line."""
    store = FileStore(tmp_path)
    store.journal().append_logs([{"n": 0}])
    whole = (tmp_path / "journal.log").read_bytes()
    (tmp_path / "journal.log").write_bytes(whole + torn)
    store.journal().append_logs([{"n": 1}])
    assert list(store.journal().read_logs(0)) == [{"n": 0}, {"n": 1}]
    (tmp_path / "journal.log").write_bytes(torn)
    assert list(store.journal().read_logs(0)) == []
    store.close()


def test_a_broken_connection_is_opened_again(tmp_path, request):
    store = open_store(tmp_path, request.getfixturevalue("url"))
    (pid,) = store._all("SELECT pg_backend_pid()")[0]
    other = open_store(tmp_path, request.getfixturevalue("url"))
    other._all("SELECT pg_terminate_backend(%s)", (pid,))
    store.append_logs([{"a": 1}])
    assert store.read_logs(0) == [{"a": 1}]
    store.close()
    other.close()


def test_other_files_among_the_leases_are_left_alone(tmp_path):
    store = FileStore(tmp_path)
    for name in ("4.x", "note.txt", "99999999999999999999.1"):
        (tmp_path / "leases" / name).write_bytes(b"\xff")
    assert store.held() == {}
    assert store.claim(4, "ann", 60) == 1
    store.close()
    assert not list((tmp_path / "leases").glob(".*"))


def test_a_storage_that_is_no_database_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="sqlite"):
        open_store(tmp_path, "sqlite:///x.db")


def test_a_database_that_does_not_answer_is_explained(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(RunError, match="cannot be used") as caught:
        open_store(tmp_path, f"postgresql://nobody:secret@/postgres?host={tmp_path}")
    assert "secret" not in str(caught.value)
