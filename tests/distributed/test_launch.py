"""The place of a process among those that torchrun started."""

import pytest

from charloom.distributed import Launch, read_launch
from charloom.errors import ConfigError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "10.0.0.1", "TORCHELASTIC_RESTART_COUNT": "2"}


def test_the_variables_of_torchrun_are_read():
    expected = Launch(rank=3, size=4, local_rank=1, local_size=2, restarts=2, master="10.0.0.1")
    assert read_launch(TORCHRUN) == expected
    assert not expected.leads
    assert not expected.on_one_host


def test_a_process_by_itself_has_no_launch():
    assert read_launch({}) is None
    assert read_launch({"RANK": "0"}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "4"),
        ("RANK", "-1"),
        ("RANK", "²"),
        ("WORLD_SIZE", "0"),
        ("LOCAL_RANK", "2"),
        ("LOCAL_WORLD_SIZE", "5"),
        ("TORCHELASTIC_RESTART_COUNT", "one"),
    ],
)
def test_a_damaged_variable_is_named(name, value):
    with pytest.raises(ConfigError, match=f"the environment variable {name} is '{value}'"):
        read_launch(TORCHRUN | {name: value})
