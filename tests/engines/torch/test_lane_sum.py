"""The sum over lane groups: a fixed tree, with the same bits for every division among ranks and threads."""

import threading

import numpy as np
import pytest
import torch

from charloom import threads
from charloom.engines import load_engine
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


def summed(size, groups, num_rows, parts):
    """The sum in each of `size` ranks."""
    shared, found = SharedRanks(size), {}

    def work(rank):
        lanes = LaneSum(shared.of(rank) if size > 1 else None, groups)
        share = lanes.share(num_rows)
        own = clones([parts[i] for i in share.groups])
        found[rank] = lanes.add(share, own, [torch.zeros(s) for s in SHAPES])

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=20)
    return [found[rank] for rank in range(size)]


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
