"""Besides losses, a run records statistics per parameter and, now and then, the monitor's measurements."""

import numpy as np
import pytest

from charloom.training.parameter_stats import OBSERVATIONS

from .small import assert_same_weights, kinds, quick_report, run_all, settings, small_corpus  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_report")


def test_the_last_update_of_a_range_is_reported_per_parameter(tmp_path):
    run, events = run_all(
        small_corpus(), settings(steps=60, clip_norm=0.5, freeze="out.bias"), tmp_path / "run"
    )
    observed, ranges = kinds(events, "UpdateStats"), {e.step: e for e in kinds(events, "Progress")}
    assert len(observed) == len(ranges) > 3
    for one in observed:
        steps = ranges[one.step]
        norms = {name: p.grad_norm for name, p in one.parameters.items()}
        assert np.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(
            steps.grad_norm[-1], rel=1e-5
        )
        assert norms["out.bias"] == 0.0
        assert one.parameters["out.bias"].update_ratio in (0.0, None)  # None: it starts at zero
        assert one.clip_rate == np.mean(np.array(steps.grad_norm) > 0.5)
        for name, p in one.parameters.items():
            if p.weight_norm > 0 and name != "out.bias":
                assert 0 < p.update_ratio < 1
    logged = [e for e in run.events() if e["event"] == "signals"]
    assert [e["step"] for e in logged] == [e.step for e in observed]
    assert logged[0]["parameters"]["layers.0.cell.w_hh"]["weight_norm"] > 0


def test_the_number_of_observed_updates_is_limited(tmp_path):
    _, events = run_all(small_corpus(), settings(steps=3 * OBSERVATIONS), tmp_path / "run")
    assert 0 < len(kinds(events, "UpdateStats")) <= OBSERVATIONS


def test_without_clipping_there_is_no_clip_rate(tmp_path):
    _, events = run_all(small_corpus(), settings(clip_norm=None), tmp_path / "run")
    assert {e.clip_rate for e in kinds(events, "UpdateStats")} == {None}


def test_the_monitor_runs_at_its_steps_sees_the_weights_and_changes_none(tmp_path):
    seen = []

    def monitor(params):
        seen.append({name: p.copy() for name, p in params.items()})
        return {"horizon": len(seen)}

    run, events = run_all(
        small_corpus(), settings(watch=10, average_decay=0.5), tmp_path / "run", monitor=monitor
    )
    assert [(e.step, dict(e.numbers)) for e in kinds(events, "Watched")] == [
        (10, {"horizon": 1}),
        (20, {"horizon": 2}),
        (24, {"horizon": 3}),
    ]
    assert "layers.0.cell.w_hh" in seen[0]
    assert next(e["numbers"] for e in run.events() if e["event"] == "watched") == {"horizon": 1}
    unmonitored, _ = run_all(small_corpus(), settings(average_decay=0.5), tmp_path / "unmonitored")
    assert_same_weights(run, unmonitored)
