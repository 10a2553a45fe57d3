"""What is freed is kept: the system is not asked for the same memory again and again."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

from charloom.engines.torch import memory

SCRIPT = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from charloom.engines.torch.memory import keep_freed

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
"""What four rounds write on."""

glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc"
)


def measured(word, **environment):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, word],
        # NumPy asks for huge pages, which would count as one
        env={k: v for k, v in os.environ.items() if k not in memory._WISHES}
        | {"NUMPY_MADVISE_HUGEPAGE": "0"}
        | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)


@glibc
def test_what_is_freed_is_kept_in_every_thread():
    _, returned = measured("leave")
    assert min(returned) > PAGES / 10
    kept, asked_again = measured("keep")
    assert kept
    assert max(asked_again) < PAGES / 100


@glibc
def test_the_users_wish_stands():
    kept, returned = measured("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert min(returned) > PAGES / 10


@pytest.mark.parametrize("other", ["system", "library"])
def test_elsewhere_nothing_is_asked_for(other, monkeypatch):
    for wish in memory._WISHES:
        monkeypatch.delenv(wish, raising=False)
    if other == "system":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.keep_freed.__wrapped__()
