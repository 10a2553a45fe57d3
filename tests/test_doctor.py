"""The doctor's checks, also on simulated machines."""

import collections
import os
import sys

import pytest

from charloom import doctor
from charloom.errors import ConfigError


def test_there_are_ten_checks_and_each_problem_has_a_fix():
    found = doctor.run_checks()
    assert len({check.name for check in found}) == 10
    assert all(check.says for check in found)
    assert all(check.fix for check in found if check.status != "ok")


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1, "final", 0))
    check = doctor.check_python()
    assert (check.status, check.says) == ("fail", "3.9.1")


def test_no_torch(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    assert doctor.check_torch().fix == "pip install 'charloom[train]'"
    assert "a GPU needs torch" in doctor.check_device().says
    assert doctor.check_extras().fix == "pip install 'charloom[train,plot]'"


def test_the_kernels(monkeypatch):
    check = doctor.check_kernels()
    assert check.status == "ok"
    assert "base" in check.says
    monkeypatch.setattr("charloom.kernels.library.library", lambda: None)
    assert doctor.check_kernels().status == "warn"

    def refused():
        raise ConfigError("built from another header", why="it differs", fix="build it again")

    monkeypatch.setattr("charloom.kernels.library.library", refused)
    assert (doctor.check_kernels().status, doctor.check_kernels().fix) == ("fail", "build it again")


def test_an_old_torch(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda _: "2.9.1+cpu")
    assert doctor.check_torch().status == "warn"


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    check = doctor.check_threads()
    assert check.status == "warn"
    assert "4096" in check.says


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="this system has no load average")
def test_a_busy_machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e6, 0.0, 0.0))
    assert "quieter" in doctor.check_threads().fix


def test_a_full_disk(monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    assert doctor.check_disk().status == "warn"


def test_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(doctor, "_writable", lambda _: False)
    assert "--out" in doctor.check_disk().fix


def test_little_memory(monkeypatch):
    monkeypatch.setattr(doctor, "free_bytes", lambda: 1 << 20)
    assert doctor.check_memory().status == "warn"
    monkeypatch.setattr(doctor, "free_bytes", lambda: None)
    assert doctor.check_memory().status == "ok"


def test_process_wide_settings_are_reported(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(doctor, "free_bytes", lambda: 8 << 30)
    assert "GOMP_SPINCOUNT" in doctor.check_threads().says
    assert ("MALLOC_TRIM_THRESHOLD_" in doctor.check_memory().says) == (sys.platform == "linux")


@pytest.mark.parametrize(
    ("locale", "status"), [("C", "warn"), ("en_US.ISO-8859-1", "warn"), ("fr_FR.UTF-8", "ok")]
)
def test_the_locale(monkeypatch, locale, status):
    monkeypatch.setattr(doctor.locale, "getpreferredencoding", lambda **_: "UTF-8")
    monkeypatch.setenv("LC_ALL", locale)
    assert doctor.check_encoding().status == status


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
    check = doctor.check_right_to_left()
    assert check.status == status
    assert status == "ok" or "--html" in check.fix
