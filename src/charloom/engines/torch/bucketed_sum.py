"""The sum of `lane_sum` over ranks, sent in buckets while the rest of the gradients is being computed.

The gradients of the last layer are there first. So the parameters are divided, from the last to the first, into buckets
of a mebibyte or more. As soon as all lane groups of this process have the gradients of a bucket, a thread exchanges it,
one bucket after the other in the same order in every process. Each element is added in the order of the groups as in
one exchange of everything, so the bits are the same.

Source: Li et al. (2020), "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", section 3.2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from charloom.engines.torch.cpu.row_threads import RowThreads
from charloom.engines.torch.lane_sum import LaneSum, Parts, Share

if TYPE_CHECKING:
    from torch import Tensor

    from charloom.engines import State

Part = tuple["Tensor", list["Tensor"], "State"]
"""What a `TrainStep` returns."""

BUCKET_BYTES = 1 << 20
"""Least size of a bucket but the last: each takes two messages to every other rank."""


class BucketedSum:
    """One sum, of which the summands arrive tensor by tensor within a `with` block.

    Args:
        lane_sum: the division of the lanes among the ranks.
        share: of this batch.
        like: tensors of the shapes of a summand, of one type; the last ones arrive first, the first one last.
    """

    def __init__(self, lane_sum: LaneSum, share: Share, like: Parts) -> None:
        self._lane_sum, self._share, self._like = lane_sum, share, like
        self._buckets = list(buckets(like))
        self._bucket_of = {i: number for number, bucket in enumerate(self._buckets) for i in bucket}
        self._summands: list[dict[int, Tensor]] = [{} for _ in share.groups]
        self._missing = [len(bucket) * len(share.groups) for bucket in self._buckets]
        self._changed = threading.Condition()
        self._total: dict[int, Tensor] = {}
        self._error: BaseException | None = None
        self._is_abandoned = False
        # a daemon: a failure elsewhere may leave it in an operation that waits for its time-out
        self._thread = threading.Thread(target=self._run, name="bucketed sum", daemon=True)
        self._thread.start()

    def put(self, group: int, i: int, tensor: Tensor) -> None:
        """Tensor `i` of this process's `group`-th summand; any thread may call this, once for each."""
        with self._changed:
            assert i not in self._summands[group], f"tensor {i} has arrived twice"
            self._summands[group][i] = tensor
            self._missing[self._bucket_of[i]] -= 1
            self._changed.notify()

    def result(self) -> Parts:
        """The sum, when all of it has been exchanged.

        Raises:
            RankError: a rank failed.
        """
        assert not any(self._missing), "a summand is not complete"
        self._thread.join()
        if self._error is not None:
            raise self._error
        return [self._total[i] for i in range(len(self._like))]

    def __enter__(self) -> BucketedSum:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After a failure, exchange no further bucket: a summand will not be complete."""
        if kind is not None:
            with self._changed:
                self._is_abandoned = True
                self._changed.notify()

    def _run(self) -> None:
        torch.set_num_threads(1)  # of this thread: the others are at work
        try:
            for number, bucket in enumerate(self._buckets):
                with self._changed:
                    self._changed.wait_for(lambda: self._is_abandoned or not self._missing[number])  # noqa: B023 - it waits here
                    if self._is_abandoned:
                        return
                summands = [[parts[i] for i in bucket] for parts in self._summands]
                like = [self._like[i] for i in bucket]
                for i, part in zip(bucket, self._lane_sum.add(self._share, summands, like), strict=True):
                    self._total[i] = part
        except BaseException as error:
            self._error = error


def compute_and_add(
    compute: Callable[..., Part], row_threads: RowThreads, lane_sum: LaneSum, share: Share, like: Parts
) -> tuple[Parts, list[Part]]:
    """Compute the summed loss and the gradients of each lane group of this process, and add them over the ranks meanwhile.

    Args:
        compute: a `TrainStep` without its rows and `on_gradient`.
        row_threads: divide the groups among them.
        lane_sum: the division of the lanes among the ranks.
        share: of this batch.
        like: a tensor of one element for the loss, and the parameters.

    Returns:
        The sum of the losses and gradients of all ranks, and what `compute` has returned for each group.

    Raises:
        RankError: a rank failed.
    """
    with BucketedSum(lane_sum, share, like) as arriving:

        def one(group: int) -> Part:
            found = compute(
                share.slices[group], on_gradient=lambda i, gradient: arriving.put(group, 1 + i, gradient)
            )
            arriving.put(group, 0, found[0].view(1))
            return found

        parts = row_threads.run(one, range(len(share.slices)))
        return arriving.result(), parts


def buckets(like: Sequence[Tensor]) -> Iterator[list[int]]:
    """The numbers of the tensors of each bucket, from the last tensor to the first.

    Example:
        >>> import torch
        >>> list(buckets([torch.zeros(1), torch.zeros(1 << 18), torch.zeros(9), torch.zeros(1 << 18)]))
        [[3], [2, 1], [0]]
    """
    bucket: list[int] = []
    for i in reversed(range(len(like))):
        bucket.append(i)
        if sum(like[j].numel() * like[j].element_size() for j in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
