"""What a run records of its updates beside losses: parameter by parameter, and by a look now and then."""

import numpy as np
import pytest

from charloom.training.signals import SIGNALS

from .small import assert_same_weights, kinds, quick_closing, run_all, settings, small_corpus  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_closing")


def test_the_last_update_of_a_stretch_is_told_parameter_by_parameter(tmp_path):
    run, events = run_all(
        small_corpus(), settings(steps=60, clip_norm=0.5, freeze="out.bias"), tmp_path / "run"
    )
    told, stretches = kinds(events, "Signals"), {e.step: e for e in kinds(events, "Progress")}
    assert len(told) == len(stretches) > 3
    for one in told:
        stretch = stretches[one.step]
        norms = {name: p.grad_norm for name, p in one.parameters.items()}
        assert np.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(
            stretch.grad_norm[-1], rel=1e-5
        )
        assert norms["out.bias"] == 0.0
        assert one.parameters["out.bias"].update_ratio in (0.0, None)  # None: it begins at zero
        assert one.clip_rate == np.mean(np.array(stretch.grad_norm) > 0.5)
        for name, p in one.parameters.items():
            if p.weight_norm > 0 and name != "out.bias":
                assert 0 < p.update_ratio < 1
    written = [e for e in run.events() if e["event"] == "signals"]
    assert [e["step"] for e in written] == [e.step for e in told]
    assert written[0]["parameters"]["layers.0.cell.w_hh"]["weight_norm"] > 0


def test_no_more_is_told_than_is_worth_it(tmp_path):
    _, events = run_all(small_corpus(), settings(steps=3 * SIGNALS), tmp_path / "run")
    assert 0 < len(kinds(events, "Signals")) <= SIGNALS


def test_without_a_ceiling_there_is_no_clip_rate(tmp_path):
    _, events = run_all(small_corpus(), settings(clip_norm=None), tmp_path / "run")
    assert {e.clip_rate for e in kinds(events, "Signals")} == {None}


def test_a_look_falls_on_its_steps_sees_the_weights_and_changes_none(tmp_path):
    seen = []

    def look(params):
        seen.append({name: p.copy() for name, p in params.items()})
        return {"horizon": len(seen)}

    run, events = run_all(small_corpus(), settings(watch=10, average_decay=0.5), tmp_path / "run", look=look)
    assert [(e.step, dict(e.numbers)) for e in kinds(events, "Watched")] == [
        (10, {"horizon": 1}),
        (20, {"horizon": 2}),
        (24, {"horizon": 3}),
    ]
    assert "layers.0.cell.w_hh" in seen[0]
    assert next(e["numbers"] for e in run.events() if e["event"] == "watched") == {"horizon": 1}
    unwatched, _ = run_all(small_corpus(), settings(average_decay=0.5), tmp_path / "unwatched")
    assert_same_weights(run, unwatched)
