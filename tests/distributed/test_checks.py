"""`charloom doctor --distributed`: what the ranks report is compared, and each difference has a fix."""

import json
import socket

import pytest

from charloom.cli import main
from charloom.distributed import Launch, checks
from charloom.distributed.checks import check_clock, check_interface, check_name, compared

from ..training import launches

FACTS = {
    "rank": 0,
    "host": "a",
    "interface": "eth0",
    "corpus": "c" * 64,
    "charloom": "0.1.0",
    "python": "3.11",
    "torch": "2.13.0",
    "numpy": "2.0",
    "machine": "x86_64",
    "processor": "P",
    "source": "s1",
    "commit": "k",
}
OTHER = FACTS | {"rank": 1, "host": "b"}


def statuses(facts):
    return {finding.name: finding.status for finding in compared(facts)}


def test_equal_ranks_pass():
    assert statuses([FACTS, OTHER]) == {"versions": "ok", "ranks": "ok", "corpus": "ok"}


@pytest.mark.parametrize("name", ["charloom", "torch", "numpy", "machine", "source"])
def test_another_version_fails_and_names_the_host(name):
    findings = compared([FACTS, OTHER | {name: "9"}])
    assert findings[0].status == "fail"
    assert f"{name} 9 on rank 1 (b), {FACTS[name]} on rank 0" in findings[0].says


def test_another_processor_is_a_warning_and_another_text_a_failure():
    assert statuses([FACTS, OTHER | {"processor": "Q"}])["processors"] == "warn"
    assert statuses([FACTS, OTHER | {"corpus": "d" * 64}])["corpus"] == "fail"


def test_clocks_may_differ_by_a_second():
    assert [check_clock(s).status for s in (0.9, 1.1)] == ["ok", "warn"]


def test_a_name_that_is_the_host_itself_is_reported(monkeypatch):
    monkeypatch.setattr(socket, "gethostbyname", lambda _name: "127.0.1.1")
    assert "which other hosts cannot reach" in check_name().says

    def unknown(_name):
        raise OSError

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    assert check_name().status == "warn"


def test_an_address_of_rank_0_that_is_this_host_fails(monkeypatch):
    monkeypatch.setattr(checks, "choose_interface", lambda _launch: "lo")
    monkeypatch.setattr(checks, "address_towards", lambda _host: "127.0.0.1")
    found = check_interface(Launch(rank=1, size=2, master="localhost"))
    assert found.status == "fail"
    assert "would look for rank 0 on its own host" in found.says
    monkeypatch.setattr(checks, "address_towards", lambda _host: None)
    assert check_interface(Launch(rank=1, size=2, master="nowhere")).status == "fail"


def test_without_torchrun_there_is_nothing_to_compare(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert main(["doctor", "--distributed"]) == 0
    assert "torchrun did not start this process" in capsys.readouterr().out
    assert main(["doctor", "tales.txt"]) == 2


def test_two_ranks_compare_their_texts(tmp_path):
    for rank, text in enumerate(("one text", "another text")):
        (tmp_path / f"{rank}.txt").write_text(text, encoding="utf-8")
    words = ["-m", "charloom", "doctor", "--json", "--distributed"]
    done = launches.finish(launches.start(lambda rank: [*words, f"{rank}.txt"], 2, tmp_path))
    assert [code for code, _ in done] == [1, 0]
    found = {check["name"]: check["status"] for check in json.loads(done[0][1][0])["checks"]}
    assert found == {
        "host name": "ok",
        "interface": "ok",
        "connection": "ok",
        "clock": "ok",
        "versions": "ok",
        "ranks": "ok",
        "corpus": "fail",
    }
    assert done[1][1][0] == ""
