"""Attacks on charloom: the seed they are drawn from, and one count of them for the whole run of tests.

A test marked `reliability` draws its cases from `Attacks.rng` and tells their number to `Attacks.count`. The processes of
pytest-xdist append to one file, and the end of the run prints the totals. ``CHARLOOM_ATTACK_SEED=N`` draws other cases.
"""

import atexit
import json
import os
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED, COUNTS = "CHARLOOM_ATTACK_SEED", "CHARLOOM_ATTACK_COUNTS"


@dataclass(frozen=True)
class Attacks:
    """What one test attacks with."""

    name: str
    seed: int

    @property
    def rng(self):
        """A generator seeded by the test's name and the seed: the same in every order."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), self.seed])

    def count(self, kind, cases, *, losses=0):
        """Record so many cases of a kind, such as "kills"; a case that lost something is a loss, and fails the test."""
        with Path(os.environ[COUNTS]).open("a") as file:
            file.write(json.dumps({"kind": kind, "cases": cases, "losses": losses}) + "\n")
        assert not losses, f"{losses} of {cases} {kind} lost something"


def attacks(name):
    """The attacks of the test of that name."""
    return Attacks(name, int(os.environ.get(SEED, "0")))


def begin():
    """Give the processes of this run a file for their counts, unless the caller named one."""
    if COUNTS not in os.environ:
        handle, os.environ[COUNTS] = tempfile.mkstemp(prefix="charloom-attacks-", suffix=".jsonl")
        os.close(handle)
        atexit.register(Path(os.environ[COUNTS]).unlink, missing_ok=True)


def totals():
    """Cases and losses by kind, as the processes of this run have recorded them."""
    cases, losses = Counter(), Counter()
    for line in Path(os.environ[COUNTS]).read_text().splitlines():
        entry = json.loads(line)
        cases[entry["kind"]] += entry["cases"]
        losses[entry["kind"]] += entry["losses"]
    return {kind: {"cases": cases[kind], "losses": losses[kind]} for kind in sorted(cases)}
