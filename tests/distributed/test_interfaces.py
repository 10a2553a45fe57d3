"""The interface through which the ranks connect."""

import os
import sys

import pytest

from charloom.distributed import Launch, interfaces
from charloom.distributed.interfaces import GLOO, NCCL, address_towards, addresses, choose_interface

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="interfaces are listed on Linux")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (GLOO, NCCL):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_loopback_is_listed_and_chosen_for_ranks_on_one_host():
    assert ("lo", "127.0.0.1") in addresses()
    assert choose_interface(Launch(size=2, local_size=2)) == "lo"
    assert os.environ[GLOO] == "lo"
    assert NCCL not in os.environ


def test_several_hosts_use_the_interface_that_reaches_rank_0(monkeypatch):
    monkeypatch.setattr(interfaces, "addresses", lambda: [("lo", "127.0.0.1"), ("eth7", "10.1.0.2")])
    monkeypatch.setattr(interfaces, "address_towards", {"10.1.0.1": "10.1.0.2"}.get)
    assert choose_interface(Launch(rank=1, size=2, master="10.1.0.1")) == "eth7"
    assert (os.environ[GLOO], os.environ[NCCL]) == ("eth7", "eth7")


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv(GLOO, "mine")
    assert choose_interface(Launch(size=2, local_size=2)) == "mine"
    assert os.environ[GLOO] == "mine"


def test_an_unknown_host_has_no_way():
    assert address_towards("localhost") == "127.0.0.1"
    assert address_towards("no.such.host.invalid") is None
