"""Freed memory is kept: the system does not have to provide the same memory again and again."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

from charloom.engines.torch.cpu import malloc

SCRIPT = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from charloom.engines.torch.cpu.malloc import keep_freed

kept = keep_freed() if sys.argv[1] == "keep" else None

def used():
    return [np.ones(12 << 20, np.uint8) for _ in range(6)] and None

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

found = []
with ThreadPoolExecutor(1) as pool:
    for run in (lambda: used(), lambda: pool.submit(used).result()):
        run()
        before = faults()
        for _ in range(4):
            run()
        found.append(faults() - before)
print(json.dumps([kept, found]))
"""
PAGES = 4 * 6 * (12 << 20) // 4096
"""The pages that four rounds write to."""

glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc"
)


def measured(word, **environment):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, word],
        # NumPy requests huge pages, each of which would count as one
        env={k: v for k, v in os.environ.items() if k not in malloc._USER_SETTINGS}
        | {"NUMPY_MADVISE_HUGEPAGE": "0"}
        | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)


@glibc
def test_freed_memory_is_kept_in_every_thread():
    _, returned = measured("leave")
    assert min(returned) > PAGES / 10
    kept, requested = measured("keep")
    assert kept
    assert max(requested) < PAGES / 100


@glibc
def test_a_user_setting_takes_precedence():
    kept, returned = measured("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert min(returned) > PAGES / 10


@pytest.mark.parametrize("other", ["system", "library"])
def test_other_systems_and_libraries_are_left_alone(other, monkeypatch):
    for name in malloc._USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    if other == "system":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not malloc.keep_freed.__wrapped__()
