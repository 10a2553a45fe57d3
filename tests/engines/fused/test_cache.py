"""A second process finds every compiled loop on disk."""

import subprocess
import sys

from ..caches import assert_found_by_a_second_process

SCRIPT = """
import numpy as np
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.engines.fused.online import update_loops
from charloom.parameters import initial_parameters
from charloom.text.batching import Plan

config = ModelConfig(cell="elman", hidden_size=5)
params, ids = initial_parameters(config, 7, 0), np.arange(100) % 7
for settings in ({"optimizer": "sgd", "bptt_length": 1}, {"optimizer": "adagrad", "bptt_length": 5}):
    train_config = TrainConfig(batch_size=1, steps=4, clip_norm=None, **settings)
    learner = load_engine("fused").learner(params, config, train_config, device="cpu")
    learner.advance(Plan(ids, train_config), 0, 4, learner.initial_state(range(1)))
loops = (update_loops.update_characters, update_loops.update_windows)
"""


def test_a_second_process_does_not_compile_again(tmp_path):
    """There is one compiled form for all settings of a precision."""
    assert_found_by_a_second_process(SCRIPT, 2, tmp_path)


WITHOUT_RIGHTS = """
import numpy as np
from numba.core import caching
caching.CacheImpl._locator_classes = []  # no writable folder
from charloom.kernels import jit, linear_scan, masks
from charloom.engines.fused import losses
assert jit.HAS_NUMBA
print(losses.largest(np.array([1.0, 3.0, 2.0])), masks.random_halves(0, 1, 2, range(1), 2).shape)
"""


def test_loops_compile_in_memory_without_a_writable_folder():
    done = subprocess.run([sys.executable, "-c", WITHOUT_RIGHTS], check=True, capture_output=True, text=True)
    assert done.stdout == "3.0 (1, 2)\n"
    assert done.stderr == ""
