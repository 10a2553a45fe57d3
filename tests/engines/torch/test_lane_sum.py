"""The sum over lane groups: a fixed tree, with the same bits for every division among ranks and threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from charloom import threads
from charloom.engines import load_engine
from charloom.engines.torch import bucketed_sum as bucketed
from charloom.engines.torch.bucketed_sum import BucketedSum
from charloom.engines.torch.lane_sum import LaneSum, own_branches, owned
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan
from tests.training.small import MODEL, settings, small_corpus

SHAPES = [(1,), (30, 4), (5,)]


class SharedRanks:
    """Ranks that are threads: each exchange puts its parts into a common table."""

    def __init__(self, size):
        self.size, self.table, self.barrier = size, {}, threading.Barrier(size)

    def of(self, rank):
        return _OneRank(self, rank)


class _OneRank:
    def __init__(self, shared, rank):
        self.shared, self.rank, self.size = shared, rank, shared.size

    def _exchanged(self, mine):
        self.shared.table[self.rank] = mine
        self.shared.barrier.wait()
        found = dict(self.shared.table)
        self.shared.barrier.wait()
        return found

    def all_to_all(self, into, source, sizes, sent):
        found = self._exchanged(source.split(sent))
        parts = [found[rank][self.rank] for rank in range(self.size)]
        assert [len(part) for part in parts] == sizes
        into.copy_(torch.cat(parts))

    def all_gather(self, into, piece):
        found = self._exchanged(piece)
        into.copy_(torch.cat([found[rank] for rank in range(self.size)]))


def parts_of(groups, seed=0):
    """One summand for each group, float32: with so many numbers, the sum shows the order."""
    rng = np.random.default_rng(seed)
    draw = lambda shape: torch.from_numpy(rng.normal(size=shape).astype(np.float32))  # noqa: E731
    return [[draw(shape) for shape in SHAPES] for _ in range(groups)]


def clones(parts):
    return [[x.clone() for x in part] for part in parts]


def flat(parts):
    return torch.cat([x.flatten() for x in parts])


def in_threads(work, arguments):
    """What a function returns for each argument, all at the same time."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(work, arguments, timeout=20))


def summed(size, groups, num_rows, parts):
    """The sum in each of `size` ranks."""
    shared = SharedRanks(size)

    def work(rank):
        lanes = LaneSum(shared.of(rank) if size > 1 else None, groups)
        share = lanes.share(num_rows)
        own = clones([parts[i] for i in share.groups])
        return lanes.add(share, own, [torch.zeros(s) for s in SHAPES])

    return in_threads(work, range(size))


def test_groups_are_added_in_a_tree():
    a, b, c, d, e = (flat(part) for part in parts_of(5))
    (total,) = summed(1, 5, 20, parts_of(5))
    assert torch.equal(flat(total), ((a + b) + (c + d)) + e)
    assert not torch.equal(flat(total), (((a + b) + c) + d) + e)  # the numbers tell the orders apart


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize(("groups", "num_rows"), [(5, 20), (8, 8), (13, 40), (8, 3), (7, 5), (6, 1)])
def test_every_number_of_ranks_has_the_same_bits(size, groups, num_rows):
    parts = parts_of(groups, seed=groups)
    (alone,) = summed(1, groups, num_rows, parts)
    for total in summed(size, groups, num_rows, parts):
        assert torch.equal(flat(total), flat(alone))
        assert [tuple(x.shape) for x in total] == SHAPES


def arriving(size, groups, num_rows, parts, bucket_bytes, monkeypatch):
    """The sum in each of `size` ranks, of tensors that arrive from two threads in an order of each rank's own."""
    monkeypatch.setattr(bucketed, "BUCKET_BYTES", bucket_bytes)
    shared = SharedRanks(size)

    def work(rank):
        lanes = LaneSum(shared.of(rank), groups)
        share = lanes.share(num_rows)
        with BucketedSum(lanes, share, [torch.zeros(s) for s in SHAPES]) as total:
            places = [(group, i) for group in range(len(share.groups)) for i in range(len(SHAPES))]
            np.random.default_rng(rank).shuffle(places)

            def put(some):
                for group, i in some:
                    total.put(group, i, parts[share.groups[group]][i].clone())

            in_threads(put, [places[half::2] for half in range(2)])
            return total.result()

    return in_threads(work, range(size))


@pytest.mark.parametrize("bucket_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize(("size", "groups", "num_rows"), [(2, 8, 8), (3, 13, 40), (4, 7, 5), (2, 6, 1)])
def test_buckets_have_the_bits_of_one_exchange(size, groups, num_rows, bucket_bytes, monkeypatch):
    parts = parts_of(groups, seed=groups)
    (alone,) = summed(1, groups, num_rows, parts)
    for total in arriving(size, groups, num_rows, parts, bucket_bytes, monkeypatch):
        assert torch.equal(flat(total), flat(alone))
        assert [tuple(x.shape) for x in total] == SHAPES


def test_a_bucket_is_exchanged_before_the_others_have_arrived(monkeypatch):
    monkeypatch.setattr(bucketed, "BUCKET_BYTES", 1)
    exchanged = threading.Event()
    lanes = LaneSum(SharedRanks(1).of(0), 1)
    real = LaneSum.add

    def add(self, share, summands, like):
        exchanged.set()
        return real(self, share, summands, like)

    monkeypatch.setattr(LaneSum, "add", add)
    (part,) = parts_of(1)
    with BucketedSum(lanes, lanes.share(4), [torch.zeros(s) for s in SHAPES]) as total:
        total.put(0, 0, part[0])
        assert not exchanged.wait(0.05)
        total.put(0, 2, part[2])
        assert exchanged.wait(20)
        total.put(0, 1, part[1])
        assert torch.equal(flat(total.result()), flat(part))


def test_a_failure_ends_the_exchange():
    lanes = LaneSum(SharedRanks(1).of(0), 1)
    with pytest.raises(ZeroDivisionError), BucketedSum(lanes, lanes.share(4), [torch.zeros(3)]) as total:
        _ = 1 / 0
    total._thread.join(20)
    assert not total._thread.is_alive()
    with BucketedSum(lanes, lanes.share(4), [torch.zeros(3)]) as total:
        lanes.ranks.all_to_all = lambda *_: 1 / 0
        total.put(0, 0, torch.ones(3))
        with pytest.raises(ZeroDivisionError):
            total.result()


@pytest.mark.parametrize("num_rows", [1, 2, 7, 12, 33])
@pytest.mark.parametrize("groups", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_lane_has_one_group_and_one_rank(num_rows, groups, size):
    if groups < size:
        with pytest.raises(ConfigError, match=f"there are {size} ranks and lane_groups is {groups}"):
            LaneSum(SharedRanks(size).of(0), groups)
        return
    seen = []
    for rank in range(size):
        share = LaneSum(SharedRanks(size).of(rank) if size > 1 else None, groups).share(num_rows)
        rows = [
            i
            for part in share.slices
            for i in range(share.lanes.start + part.start, share.lanes.start + part.stop)
        ]
        assert rows == list(share.lanes)
        assert share.num_rows == num_rows
        seen += rows
    assert seen == list(range(num_rows))


def test_replicas_divide_the_lanes():
    shares = [LaneSum(None, 2, (k, 3)).share(12) for k in range(3)]
    assert [(share.lanes, share.num_rows) for share in shares] == [
        (range(4), 4),
        (range(4, 8), 4),
        (range(8, 12), 4),
    ]


@pytest.mark.parametrize("groups", range(1, 12))
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_branches_cover_the_groups_of_a_rank(groups, size):
    for rank in range(size):
        own = owned(groups, rank, size)
        branches = list(own_branches([True] * groups, own))
        assert [i for a, b in branches for i in range(a, b)] == list(range(*own))


def test_lane_groups_free_the_bits_from_the_number_of_threads():
    corpus, found = small_corpus(), []
    for number in (1, 2, 3):
        with threads.limit(number):
            config = settings(batch_size=12, lane_groups=3, optimizer="sgd", threads=number)
            params = initial_parameters(MODEL, len(corpus.vocab), 0)
            learner = load_engine("torch").learner(params, MODEL, config, device="cpu")
            learner.advance(Plan(corpus.train, config), 0, 5, learner.initial_state(range(12)))
            found.append({name: x.tobytes() for name, x in learner.tensors().items()})
    assert found[0] == found[1] == found[2]
