"""The ranks of one start find each other, whatever earlier starts have left in the store."""

import threading

import pytest

from charloom.distributed.meeting import meet
from charloom.errors import RankError

from .test_messages import Store


class SharedStore(Store):
    def add(self, name, amount):
        total = int(self.kept.get(name, b"0")) + amount
        self.set(name, str(total))
        return total


def all_meet(store, size):
    found = {}
    threads = [
        threading.Thread(target=lambda rank=rank: found.update({rank: meet(store, rank, size, 10)}))
        for rank in range(size)
    ]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return [found[rank] for rank in range(size)]


def test_every_start_has_its_own_name():
    store, names = SharedStore(), []
    for attempt in (1, 2, 3):
        found = all_meet(store, 3)
        assert len({one.name for one in found}) == 1
        assert found[0].attempt == attempt
        names.append(found[0].name)
    assert len(set(names)) == 3


def test_the_hello_of_a_dead_process_is_not_taken_for_a_new_one():
    store = SharedStore()
    store.set("hello/1", "dead")
    with pytest.raises(RankError, match="rank 1 did not come"):
        meet(store, 0, 2, 0.1)
    (first, second) = all_meet(store, 2)
    assert first.name == second.name


def test_a_welcome_to_a_dead_process_is_not_taken():
    store = SharedStore()
    store.set("welcome/1", "dead old-name")
    with pytest.raises(RankError, match="rank 0 did not come"):
        meet(store, 1, 2, 0.1)
