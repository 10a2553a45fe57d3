"""Training curves: stages, blow-ups and clipping, each on either side of its threshold."""

import numpy as np
import pytest

from charloom.insight.json_values import json_ready
from charloom.insight.training_curve import BINS, POINTS, training_curve

S = 1000


def events_of(loss, norm=None, validations=(), interval=50, signals=()):
    norm = np.ones(len(loss)) if norm is None else norm
    yield {"event": "started", "step": 0, "steps_per_epoch": 250}
    for a in range(0, len(loss), interval):
        b = min(len(loss), a + interval)
        yield {
            "event": "progress",
            "first_step": a,
            "step": b,
            "loss": [*loss[a:b]],
            "grad_norm": [*norm[a:b]],
        }
    for step, held_out in validations:
        yield {"event": "validation", "step": step, "loss": held_out}
    for step, norms in signals:
        parameters = {
            name: {"grad_norm": x, "weight_norm": 1.0, "update_ratio": 0.1} for name, x in norms.items()
        }
        yield {"event": "signals", "step": step, "parameters": parameters}


def stages_of(loss, **events):
    return [
        (one.kind, one.first_step, one.last_step)
        for one in training_curve(events_of(loss, **events), clip_norm=None).stages
    ]


def test_a_loss_that_falls_and_then_stays_constant():
    loss = np.concatenate([np.linspace(3.0, 1.5, 500), np.full(500, 1.5)])
    (learning, settled) = training_curve(events_of(loss), clip_norm=None).stages
    assert (learning.kind, learning.first_step) == ("learning", 1)
    assert 500 <= learning.last_step <= 550  # the rule compares with five parts of ten steps earlier
    assert (settled.kind, settled.last_step) == ("settled", S)
    assert settled.loss_from == settled.loss_to == 1.5


@pytest.mark.parametrize(("fall", "kind"), [(0.021, "learning"), (0.019, "settled")])
def test_two_per_cent_in_ten_parts_is_learning(fall, kind):
    loss = 2.0 * (1 - fall) ** (np.arange(S) // 10 / 10)
    middle = next(one for one in stages_of(loss) if one[1] <= S // 2 <= one[2])
    assert middle[0] == kind


@pytest.mark.parametrize(("held_out", "memorised"), [(1.41, True), (1.39, False)])
def test_memorising_depends_on_held_out_text(held_out, memorised):
    loss = np.full(S, 0.4)
    kinds = {one[0] for one in stages_of(loss, validations=[(1, held_out), (S, held_out)])}
    assert kinds == ({"memorising"} if memorised else {"settled"})


def test_without_held_out_text_nothing_is_called_memorised():
    assert {one[0] for one in stages_of(np.full(S, 0.01))} == {"settled"}


def test_a_blow_up_is_found_with_its_parameter():
    loss = np.full(S, 0.2)
    norm = np.full(S, 0.1)
    loss[703:731], norm[715] = 2.5, 40.0
    observed = [
        (100, {"w_hh": 0.1, "out": 0.5}),
        (600, {"w_hh": 0.1, "out": 0.5}),
        (720, {"w_hh": 30.0, "out": 20.0}),
    ]
    found = training_curve(events_of(loss, norm, signals=observed), clip_norm=5.0)
    (one,) = found.blow_ups
    assert (one.first_step, one.last_step) == (704, 731)
    assert (one.loss_before, one.peak_loss, one.peak_grad_norm) == (0.2, 2.5, 40.0)
    assert one.parameter == "w_hh"
    assert found.clip_rate == 1 / S
    assert [(s.kind, s.first_step, s.last_step) for s in found.stages] == [
        ("settled", 1, 700),
        ("blown up", 701, 740),
        ("settled", 741, S),
    ]


@pytest.mark.parametrize(("height", "number"), [(0.69, 0), (0.71, 1)])
def test_the_threshold_of_a_blow_up(height, number):
    loss = np.full(S, 0.2)  # three times 0.2 is less than 0.2 + 0.5
    loss[500] = height
    assert len(training_curve(events_of(loss), clip_norm=None).blow_ups) == number


def test_a_blow_up_that_lasts_to_the_end():
    loss = np.concatenate([np.full(900, 0.5), np.full(100, 3.0)])
    (one,) = training_curve(events_of(loss), clip_norm=None).blow_ups
    assert (one.first_step, one.last_step, one.parameter) == (901, S, None)


def test_steps_repeated_after_a_resume_count_once():
    loss = np.linspace(3.0, 1.0, S)
    again = [*events_of(loss), {"resumed_from": 600}, *list(events_of(loss + 1))[13:]]
    found = training_curve(again, clip_norm=None)
    assert found.num_steps == S
    assert found.loss.median[-1] == pytest.approx(2.0, abs=0.01)


def test_downsampled_curves_keep_their_peaks():
    loss = np.full(30_000, 1.0)
    loss[12_345] = 9.0
    found = training_curve(events_of(loss, interval=1000), clip_norm=None)
    assert len(found.loss.steps) == POINTS
    assert found.loss.top.max() == 9.0
    assert found.loss.median.max() == 1.0
    assert found.loss.steps[-1] == 30_000


def test_a_run_that_is_too_short_has_no_curve():
    assert training_curve(events_of(np.full(BINS - 1, 1.0)), clip_norm=None) is None
    assert training_curve([], clip_norm=None) is None


def test_a_training_curve_becomes_plain_json():
    observed = [(100, {"w_hh": 0.1})]
    document = json_ready(
        training_curve(events_of(np.full(S, 1.0), signals=observed, validations=[(10, 2.0)]), clip_norm=1.0)
    )
    assert document["parameters"] == {"w_hh": [[100, 0.1, 0.1]]}
    assert document["validations"] == [[10, 2.0]]


@pytest.mark.parametrize(("rise", "kind"), [(0.021, "overfitting"), (0.019, "learning")])
def test_a_held_out_loss_that_rises_is_overfitting_however_the_training_loss_falls(rise, kind):
    loss = np.linspace(2.0, 1.0, S)
    validations = [(1, 2.2), (S // 2, 1.9), (S // 2 + 10, 1.9 + rise), (S, 1.9 + rise)]
    stages = stages_of(loss, validations=validations)
    assert stages[0][0] == "learning"
    assert stages[-1][0] == kind
    assert len(stages) == (2 if kind == "overfitting" else 1)


def test_noise_of_the_held_out_loss_beside_an_equal_training_loss_is_not_overfitting():
    loss = np.linspace(2.0, 1.9, S)
    assert "overfitting" not in {one[0] for one in stages_of(loss, validations=[(1, 1.9), (S, 1.95)])}


@pytest.mark.parametrize(
    ("rise", "held_out", "kind"),
    [(0.051, 2.5, "unstable"), (0.049, 2.5, "overfitting"), (0.5, 2.01, "settled")],
)
def test_both_losses_rising_is_unstable_and_not_overfitting(rise, held_out, kind):
    loss = np.concatenate([np.linspace(3.0, 1.5, 400), np.full(200, 1.5), np.full(400, 1.5 + rise)])
    stages = stages_of(loss, validations=[(1, 3.0), (600, 2.0), (700, held_out), (S, held_out)])
    assert stages[0][0] == "learning"
    assert stages[-1][0] == kind
