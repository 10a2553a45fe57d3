"""The sum of gradients over the lanes of a batch, with the same bits however many processes share it.

The lanes of the global batch are divided into G *lane groups*. A group's gradient is computed by itself, on one
thread, so its bits do not depend on the process or thread that does it. Groups are added in a fixed tree over their
numbers:

    sum(a, b) = group a                          if b = a + 1
    sum(a, b) = sum(a, m) + sum(m, b)            m = a + the largest power of two below b − a

Rank r of R owns the groups ⌊G r / R⌋ … ⌊G (r + 1) / R⌋ − 1. It adds those of its groups that are a whole branch of the
tree and sends the branches: each rank receives one R-th of every branch, adds them up the tree (all-to-all), and
sends its part of the sum to all others (all-gather). So a rank sends about 2 (R − 1) / R times the size of a gradient,
as in a ring all-reduce, but in the order of lanes: 1, 2 and 4 ranks end with equal bits in float32.

Without `lane_groups` and with one process, the groups are the threads (`cpu.row_threads`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from charloom.engines.torch.cpu.row_threads import LEAST_ROWS
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from charloom.distributed.ranks import Ranks

Parts = list["Tensor"]
"""The tensors of one summand, which are added one by one."""

Branch = tuple[int, int]
"""The groups a … b − 1 of a branch of the tree."""


class Share(NamedTuple):
    """What one process computes of a batch."""

    lanes: range  # rows of the global batch
    num_rows: int  # rows that the loss is the mean over: of all processes, or of the replica
    slices: list[slice]  # of each non-empty group of this process, counted from the first lane
    groups: list[int]  # their numbers
    filled: list[bool]  # for every group of the batch, whether it has rows


class LaneSum:
    """The division of a batch into lane groups, and the sum over them.

    Args:
        ranks: the processes that share the batch; None = this one alone.
        groups: G; None = as many as threads, each of `LEAST_ROWS` rows or more.
        replica: (k, K): the batch is the k-th of K equal parts of the lanes, as in `local_steps`.
    """

    def __init__(
        self, ranks: Ranks | None = None, groups: int | None = None, replica: tuple[int, int] = (0, 1)
    ) -> None:
        self.ranks, self.groups, self.replica = ranks, groups, replica
        self.rank, self.size = (0, 1) if ranks is None else (ranks.rank, ranks.size)
        if self.size > 1 and (groups is None or groups < self.size):
            raise ConfigError(
                f"there are {self.size} ranks and lane_groups is {groups}",
                why="each rank computes one group of the batch's lanes or more",
                fix=f"start at most {groups} ranks, or begin a run with --lane-groups {self.size}",
            )

    def share(self, num_rows: int, num_threads: int = 1) -> Share:
        """Divide a batch of `num_rows` rows; `num_threads` counts only where `groups` is None.

        Example:
            >>> LaneSum(groups=3).share(8).slices
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        k, K = self.replica
        first, stop = num_rows * k // K, num_rows * (k + 1) // K
        rows = stop - first
        groups = max(1, min(num_threads, rows // LEAST_ROWS)) if self.groups is None else self.groups
        cuts = [first + -(-rows * i // groups) for i in range(groups + 1)]
        own = range(*owned(groups, self.rank, self.size))
        begin = cuts[own.start]
        filled = [a < b for a, b in zip(cuts, cuts[1:], strict=False)]
        mine = [i for i in own if filled[i]]
        slices = [slice(cuts[i] - begin, cuts[i + 1] - begin) for i in mine]
        return Share(range(begin, cuts[own.stop]), rows, slices, mine, filled)

    def add(self, share: Share, summands: Sequence[Parts], like: Parts) -> Parts:
        """The sum of all groups' tensors, in the order of the tree: the same bits in every process.

        Args:
            share: the division of this batch.
            summands: the tensors of each group of this process, in order; they may be overwritten.
            like: tensors of the shapes of a summand, of one type and on one device.
        """
        at = {(i, i + 1): parts for i, parts in zip(share.groups, summands, strict=True)}
        if self.ranks is None:
            total = add_tree(at, 0, len(share.filled))
        else:
            total = self._exchange(self.ranks, share.filled, at, like)
        assert total is not None, "a batch has at least one row"
        return total

    def _exchange(self, ranks: Ranks, filled: list[bool], at: dict[Branch, Parts], like: Parts) -> Parts:
        """Add this process's branches, and those of all processes, a piece of the tensors in each process."""
        groups, size = len(filled), sum(x.numel() for x in like)
        piece = -(-size // self.size)
        branches = [list(own_branches(filled, owned(groups, r, self.size))) for r in range(self.size)]
        sent = [_flat(add_tree(at, a, b), piece * self.size) for a, b in branches[self.rank]]
        outgoing = like[0].new_zeros((self.size, len(sent), piece))
        for i, vector in enumerate(sent):
            outgoing[:, i] = vector.view(self.size, piece)
        sizes = [len(found) * piece for found in branches]
        incoming = like[0].new_zeros(sum(sizes))
        ranks.all_to_all(incoming, outgoing.flatten(), sizes, [len(sent) * piece] * self.size)
        received = iter(incoming.view(-1, piece))
        whole = like[0].new_zeros(piece * self.size)
        total = add_tree({branch: [next(received)] for found in branches for branch in found}, 0, groups)
        assert total is not None, "a batch has at least one row"
        ranks.all_gather(whole, total[0])
        parts = torch.split(whole[:size], [x.numel() for x in like])
        return [part.view_as(x) for part, x in zip(parts, like, strict=True)]


def owned(groups: int, rank: int, size: int) -> Branch:
    """The first group of a rank, and the one after its last."""
    return groups * rank // size, groups * (rank + 1) // size


def middle(a: int, b: int) -> int:
    """Where the tree divides the groups a … b − 1, at least two.

    Example:
        >>> middle(0, 8), middle(0, 6), middle(4, 7)
        (4, 4, 6)
    """
    return a + (1 << ((b - a - 1).bit_length() - 1))


def add_tree(at: dict[Branch, Parts], a: int, b: int) -> Parts | None:
    """The sum of the groups a … b − 1 from the sums of some branches; None if all of them are empty."""
    if (a, b) in at:
        return at[a, b]
    if b - a == 1:
        return None
    left, right = add_tree(at, a, middle(a, b)), add_tree(at, middle(a, b), b)
    if left is None or right is None:
        return right if left is None else left
    torch._foreach_add_(left, right)
    return left


def own_branches(filled: Sequence[bool], own: Branch, of: Branch | None = None) -> Iterator[Branch]:
    """The largest branches among a rank's groups, without empty ones.

    Example:
        >>> list(own_branches([True] * 6, (1, 4))), list(own_branches([True, True, False], (1, 3)))
        ([(1, 2), (2, 4)], [(1, 2)])
    """
    a, b = of or (0, len(filled))
    if max(a, own[0]) >= min(b, own[1]) or not any(filled[a:b]):
        return
    if own[0] <= a and b <= own[1]:
        yield a, b
        return
    yield from own_branches(filled, own, (a, middle(a, b)))
    yield from own_branches(filled, own, (middle(a, b), b))


def _flat(parts: Parts | None, size: int) -> Float[Tensor, " n"]:
    """The tensors of a summand as one vector, with zeros up to `size`."""
    assert parts is not None, "own_branches leaves out empty branches"
    flat = torch.cat([x.flatten() for x in parts])
    return torch.nn.functional.pad(flat, (0, size - flat.numel()))
