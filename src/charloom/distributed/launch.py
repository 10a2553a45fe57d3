"""The place of this process among those that torchrun started, from the environment that it sets.

Source: https://docs.pytorch.org/docs/stable/elastic/run.html, "Environment Variables".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from charloom.errors import ConfigError

MOST_RANKS = 65_536


@dataclass(frozen=True, slots=True)
class Launch:
    """One process of a launch.

    Attributes:
        rank: its number, 0 … size − 1; rank 0 leads.
        size: the number of processes.
        local_rank: its number on its host.
        local_size: the number of processes on its host.
        restarts: how often torchrun has restarted the processes.
        master: the address at which the ranks meet.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0
    master: str = "localhost"

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder and gives the others their orders."""
        return self.rank == 0

    @property
    def on_one_host(self) -> bool:
        """Whether all processes run on this host."""
        return self.local_size == self.size


def read_launch(environment: Mapping[str, str] | None = None) -> Launch | None:
    """Read the launch from the environment (None = this process's); None if torchrun did not start the process.

    Raises:
        ConfigError: a variable is not a number, or out of range.

    Example:
        >>> read_launch({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}).leads
        False
        >>> read_launch({}) is None
        True
    """
    found = os.environ if environment is None else environment
    if "RANK" not in found or "WORLD_SIZE" not in found:
        return None
    size = _number(found, "WORLD_SIZE", least=1, most=MOST_RANKS)
    local_size = _number(found, "LOCAL_WORLD_SIZE", least=1, most=size, default=1)
    return Launch(
        rank=_number(found, "RANK", least=0, most=size - 1),
        size=size,
        local_rank=_number(found, "LOCAL_RANK", least=0, most=local_size - 1, default=0),
        local_size=local_size,
        restarts=_number(found, "TORCHELASTIC_RESTART_COUNT", least=0, most=10**9, default=0),
        master=found.get("MASTER_ADDR", "localhost"),
    )


def _number(
    environment: Mapping[str, str], name: str, *, least: int, most: int, default: int | None = None
) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(
            f"the environment variable {name} is {text!r}",
            why=f"it must be a whole number from {least} to {most}; torchrun sets it",
            fix="start with torchrun --nproc-per-node N -m charloom train …, or unset RANK and WORLD_SIZE",
        )
    return int(text)
