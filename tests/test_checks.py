"""The doctor's checks: what they find on machines unlike this one."""

import collections
import os

import pytest

from charloom import checks


def test_there_are_ten_and_each_can_say_how_to_mend_what_it_finds():
    found = checks.run_checks()
    assert len({check.name for check in found}) == 10
    assert all(check.says for check in found)
    assert all(check.fix for check in found if check.status != "ok")


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(checks.sys, "version_info", (3, 9, 1, "final", 0))
    check = checks.check_python()
    assert (check.status, check.says) == ("fail", "3.9.1")


def test_no_torch(monkeypatch):
    monkeypatch.setattr(checks, "_version", lambda _: None)
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    assert checks.check_torch().fix == "pip install 'charloom[train]'"
    assert "a GPU needs torch" in checks.check_device().says
    assert checks.check_numba_cache().status == "warn"
    assert checks.check_extras().fix == "pip install 'charloom[train,plot]'"


def test_an_old_torch(monkeypatch):
    monkeypatch.setattr(checks, "_version", lambda _: "2.9.1+cpu")
    assert checks.check_torch().status == "warn"


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    check = checks.check_threads()
    assert check.status == "warn"
    assert "4096" in check.says


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="this system has no load average")
def test_a_busy_machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e6, 0.0, 0.0))
    assert "quieter" in checks.check_threads().fix


def test_a_full_disk(monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    assert checks.check_disk().status == "warn"


def test_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(checks, "_writable", lambda _: False)
    assert "--out" in checks.check_disk().fix
    assert "NUMBA_CACHE_DIR" in checks.check_numba_cache().fix


def test_little_memory(monkeypatch):
    monkeypatch.setattr(checks, "_free_memory", lambda: 1 << 20)
    assert checks.check_memory().status == "warn"
    monkeypatch.setattr(checks, "_free_memory", lambda: None)
    assert checks.check_memory().status == "ok"


@pytest.mark.parametrize(
    ("locale", "status"), [("C", "warn"), ("en_US.ISO-8859-1", "warn"), ("fr_FR.UTF-8", "ok")]
)
def test_the_locale(monkeypatch, locale, status):
    monkeypatch.setattr(checks.locale, "getpreferredencoding", lambda **_: "UTF-8")
    monkeypatch.setenv("LC_ALL", locale)
    assert checks.check_encoding().status == status


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("WT_SESSION", "1", "warn"),
        ("VTE_VERSION", "7200", "ok"),
        ("VTE_VERSION", "5000", "warn"),
        ("TERM", "mlterm", "ok"),
    ],
)
def test_terminals(monkeypatch, variable, value, status):
    for name in (
        "WT_SESSION",
        "ALACRITTY_WINDOW_ID",
        "KITTY_WINDOW_ID",
        "VTE_VERSION",
        "TERM_PROGRAM",
        "TERM",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    check = checks.check_right_to_left()
    assert check.status == status
    assert status == "ok" or "--html" in check.fix
