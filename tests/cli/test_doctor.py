"""``charloom doctor``: what it prints, and its exit code."""

from charloom import doctor
from charloom.doctor import Check


def test_doctor(charloom):
    done = charloom("doctor --json")
    names = [check["name"] for check in done.json["checks"]]
    assert len(names) == len(set(names)) == 10
    assert done.json["healthy"] == (done.code == 0)
    listed = charloom("doctor").out
    assert all(name in listed for name in names)


def test_doctor_fails_only_if_a_check_fails(charloom, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: Check("disk", "warn", "1 MiB free", "delete files"),))
    assert charloom("doctor").code == 0
    monkeypatch.setattr(doctor, "CHECKS", (lambda: Check("python", "fail", "2.7", "install another"),))
    done = charloom("doctor")
    assert done.code == 1
    assert "fix: install another" in done.out
