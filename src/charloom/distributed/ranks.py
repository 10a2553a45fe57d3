"""The connection between the ranks of a training: messages, arrays, sums, and what is told when one fails.

Rank 0 leads: it tells the others what to do (`tell` → `hear`), and they answer (`answer` → `answers`). A message is JSON
with arrays of numbers; nothing is pickled. Messages travel through gloo on the CPU. Gradients take the same way, or
NCCL between GPUs.

Every operation ends after a stated time. One that fails raises a `RankError` that names rank, host and reason, from
`failures`; of the survivors only the lowest rank prints it (`RankError.is_told`).

Source: https://docs.pytorch.org/docs/stable/distributed.html.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from charloom.distributed.failures import Failures, first_sentence
from charloom.distributed.interfaces import choose_interface
from charloom.distributed.launch import Launch
from charloom.distributed.meeting import meet
from charloom.errors import CharloomError, RankError
from charloom.files import json_text
from charloom.schema import json_value

if TYPE_CHECKING:
    from numpy import ndarray as Array
    from torch import Tensor

MEETING_S = 300.0
"""How long a rank waits for the others to start; reading a large text is part of it."""

_MOST_JSON, _MOST_ARRAYS = 1 << 26, 1 << 40
_KINDS = ("float32", "float64", "int64", "int32", "uint8", "bool")

Message = dict[str, Any]
Arrays = dict[str, "Array"]


class Ranks:
    """This process among those of a launch; use it as a context, which closes the connections at the end.

    Args:
        launch: as torchrun describes it.
        timeout_s: seconds to wait for the others to meet here.

    Raises:
        RankError: the ranks do not meet in time.
    """

    def __init__(self, launch: Launch, *, timeout_s: float = MEETING_S) -> None:
        self.launch, self.rank, self.size = launch, launch.rank, launch.size
        self.host, self.timeout_s = socket.gethostname(), timeout_s
        self.interface = choose_interface(launch)
        wait = timedelta(seconds=timeout_s)
        try:
            store, _, _ = next(iter(rendezvous("env://", timeout=wait)))
            self.meeting = meet(PrefixStore("charloom", store), self.rank, self.size, timeout_s)
            self.store: Any = PrefixStore(f"charloom/{self.meeting.name}", store)
            dist.init_process_group(
                "gloo", store=self.store, rank=self.rank, world_size=self.size, timeout=wait
            )
        except (RuntimeError, ValueError) as error:
            raise RankError(
                f"rank {self.rank} on {self.host} did not meet the other {self.size - 1} at {launch.master}",
                why=f"{first_sentence(error)} (interface {self.interface or 'chosen by gloo'}, {timeout_s:g} s)",
                fix="run the same torchrun command with doctor --distributed in place of train; it checks the network",
            ) from error
        self.failures = Failures(self.store, self.rank, self.size)
        self.messages: Any = dist.group.WORLD
        self.gradients = self.messages
        self.bytes_sent = 0
        self.released = False  # whether rank 0 has ordered the others to end

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(RuntimeError, ValueError, AssertionError):
            dist.destroy_process_group()

    def set_timeout(self, timeout_s: float, device: str = "cpu") -> None:
        """Wait `timeout_s` in every later operation; on CUDA devices, gradients travel through NCCL."""
        wait, self.timeout_s = timedelta(seconds=timeout_s), timeout_s
        self.failures.learn_hosts()
        with self.guarded():
            self.messages = self.gradients = dist.new_group(backend="gloo", timeout=wait)
            if device.startswith("cuda"):
                self.gradients = dist.new_group(backend="nccl", timeout=wait)

    def tell(self, message: Message, arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message and arrays from rank 0 to all others."""
        head, body = _packed(message, arrays or {})
        sizes = torch.tensor([head.numel(), body.numel()])
        with self.guarded():
            for tensor in (sizes, head, body):
                if tensor.numel():
                    dist.broadcast(tensor, 0, group=self.messages)
        self.bytes_sent += (self.size - 1) * (16 + head.numel() + body.numel())

    def hear(self) -> tuple[Message, Arrays]:
        """The next message of rank 0."""
        return self._received(partial(dist.broadcast, src=0, group=self.messages))

    def answer(self, message: Message, arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message and arrays to rank 0."""
        head, body = _packed(message, arrays or {})
        with self.guarded():
            for tensor in (torch.tensor([head.numel(), body.numel()]), head, body):
                if tensor.numel():
                    dist.send(tensor, 0, group=self.messages)
        self.bytes_sent += 16 + head.numel() + body.numel()

    def answers(self) -> list[tuple[Message, Arrays]]:
        """The answers of ranks 1, 2, …, in that order."""
        return [
            self._received(partial(dist.recv, src=rank, group=self.messages)) for rank in range(1, self.size)
        ]

    def all_to_all(self, into: Tensor, source: Tensor, sizes: Sequence[int], sent: Sequence[int]) -> None:
        """Exchange pieces of a vector: `sent[r]` elements go to rank r, `sizes[r]` come from it."""
        with self.guarded():
            dist.all_to_all_single(into, source, list(sizes), list(sent), group=self.gradients)
        self.bytes_sent += (source.numel() - sent[self.rank]) * source.element_size()

    def all_gather(self, into: Tensor, piece: Tensor) -> None:
        """Put the equal pieces of all ranks one after the other."""
        with self.guarded():
            dist.all_gather(list(into.view(self.size, -1)), piece.contiguous(), group=self.gradients)
        self.bytes_sent += (self.size - 1) * piece.numel() * piece.element_size()

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Tell the other ranks why this one fails, if the block fails with an error of its own before they end.

        Raises:
            CharloomError: the error, with the rank and its host; `RankError.is_told` if another rank failed before.
        """
        try:
            yield
        except RankError:
            raise
        except Exception as error:
            if self.released:
                raise
            own = error if isinstance(error, CharloomError) else _unexpected(error)
            first = self.failures.post(own)
            self._linger()
            told = (
                own.what
                if own.what.startswith("rank ")
                else f"rank {self.rank} on {self.host} failed: {own.what}"
            )
            if first:
                raise type(own)(told, why=own.why, fix=own.fix) from error
            raise RankError(told, why=own.why, fix=own.fix, is_told=True) from error

    def _linger(self) -> None:
        """Close the connections, and keep the store for the other ranks until they have read the failure.

        Under torchrun the store is its own; without it, it ends with rank 0.
        """
        self.messages = self.gradients = None
        with contextlib.suppress(RuntimeError, ValueError, AssertionError):
            dist.destroy_process_group()
        self.failures.linger()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn the failure of an operation with other ranks into a `RankError` that says whose it is."""
        began = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            raise self.failures.explained(error, time.monotonic() - began, self.timeout_s) from error

    def _received(self, receive: Callable[[Tensor], object]) -> tuple[Message, Arrays]:
        sizes = torch.zeros(2, dtype=torch.int64)
        with self.guarded():
            receive(sizes)
            head_size, body_size = sizes.tolist()
            assert 0 <= head_size <= _MOST_JSON, head_size
            assert 0 <= body_size <= _MOST_ARRAYS, body_size
            head, body = (torch.empty(size, dtype=torch.uint8) for size in (head_size, body_size))
            for tensor in (head, body):
                if tensor.numel():
                    receive(tensor)
        return _unpacked(head, body)


def _unexpected(error: Exception) -> CharloomError:
    what, why = f"{type(error).__name__}: {error}", "charloom did not expect this failure"
    return CharloomError(
        what, why=why, fix="please report it with the output of the same command and --debug"
    )


def _packed(message: Message, arrays: Mapping[str, Array]) -> tuple[Tensor, Tensor]:
    """A message as bytes: its JSON with the name, type and shape of each array, and the arrays' contents."""
    layout = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    head = json_text({"message": message, "arrays": layout}).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return _bytes(head), _bytes(body)


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _unpacked(head: Tensor, body: Tensor) -> tuple[Message, Arrays]:
    """What `_packed` has packed, checked: the layout must fill the contents exactly."""
    found = json_value(head.numpy().tobytes())
    data, at = body.numpy(), 0
    arrays: Arrays = {}
    for name, kind, shape in found["arrays"]:
        assert kind in _KINDS, kind
        size = math.prod(shape) * np.dtype(kind).itemsize
        assert 0 <= size <= len(data) - at, (name, shape)
        arrays[name] = data[at : at + size].view(kind).reshape(shape)
        at += size
    assert at == len(data), "the arrays and their layout differ"
    return found["message"], arrays
