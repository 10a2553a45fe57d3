"""Every setting at its extremes: refused in plain words, or a training that works; in a process with bounded memory."""

import json
import subprocess
import sys

import pytest

from tests import extremes
from tests.conftest import ROOT


def test_every_numeric_setting_is_tried():
    names = {f"{cls.__name__}.{name}" for cls, name, _ in extremes.numeric_fields()}
    assert {"TrainConfig.learning_rate", "ModelConfig.hidden_size", "SampleConfig.top_p"} <= names
    assert len(names) > 55


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("clip_value", 1e308, extremes.WORKS),
        ("minutes", float("nan"), extremes.REFUSED),
        ("minutes", 10**400, extremes.REFUSED),
    ],
)
def test_extremes_that_once_failed(name, value, found, tmp_path, monkeypatch):
    for module, attribute in ((extremes.baselines, "_measure"), (extremes.loop, "SAMPLE_CHARS")):
        monkeypatch.setattr(module, attribute, getattr(module, attribute))  # restored after the test
    extremes.without_baselines()
    assert extremes.tried(extremes.TrainConfig, name, value, tmp_path / "run")[0] == found


@pytest.mark.reliability
@pytest.mark.skipif(sys.platform == "win32", reason="memory and time are bounded by the means of Unix")
def test_extremes_of_every_setting_are_refused_or_work(tmp_path, attacks):
    command = [sys.executable, "-m", "tests.extremes", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == sum(len(values) for *_, values in extremes.numeric_fields())
    faults = [case for case in cases if case["found"] not in (extremes.WORKS, extremes.REFUSED)]
    assert not faults, faults[:3]
    assert {case["found"] for case in cases} == {extremes.WORKS, extremes.REFUSED}
    attacks.count("extreme settings", len(cases), losses=len(faults))
