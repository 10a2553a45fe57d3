"""The cache of compiled loops on disk."""

import os
import subprocess
import sys

PRINT_COUNTS = """
print(*(sum(loop.stats.cache_misses.values()) for loop in loops), *(sum(loop.stats.cache_hits.values()) for loop in loops))
"""


def assert_found_by_a_second_process(script, number, folder):
    """Check that a first process compiles each of the `number` loops in the script's ``loops`` once, and a second none."""
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", script + PRINT_COUNTS]
    counts = [
        subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    ]
    assert counts == [["1"] * number + ["0"] * number, ["0"] * number + ["1"] * number]
