"""The measurements of a repetition, checked on training records made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from charloom.config import TrainConfig
from charloom.reproduce import measure, repeat, repetition_json, systems
from charloom.reproduce.measure import Figure, Repetition, smoothed, value_at
from charloom.reproduce.systems import Target
from charloom.reproduce.train import MISTAKES, TrainedSystem, train_system
from charloom.text import corpus_from_text
from charloom.text.inputs import builtin_text

CORPUS = corpus_from_text("abcd" * 50)


def made(name, losses, **more):
    done = TrainedSystem(systems()[name], CORPUS, None, more.pop("config", TrainConfig()), {})
    done.losses = np.asarray(losses, float)
    for key, value in more.items():
        setattr(done, key, value)
    return done


def test_epoch_means_skip_an_incomplete_last_epoch():
    done = made("moliere-elman", [1, 3, 5, 7, 9], steps_per_epoch=2)
    assert done.epoch_means() == [(1.0, 2.0), (2.0, 6.0)]
    assert value_at(done, Target("", 0.0, None, 2)) == 6.0


def test_system_b_is_judged_by_the_mean_of_the_last_hundred_batches():
    losses = np.zeros(2000)
    losses[1801:1901] = np.arange(100)
    done = made("arabic-lstm", losses)
    assert value_at(done, done.system.target) == pytest.approx(np.arange(100).mean())
    assert value_at(done, Target("", 0.0, None, 100)) == 0.0


def test_system_c_is_judged_with_dropout_on():
    done = made("anna-lstm", [1.0], seen={130: {"dropout on": 2.5, "dropout off": 2.0}})
    assert value_at(done, done.system.target) == 2.5


def test_the_smoothed_loss_starts_at_chance_and_changes_slowly():
    done = made("shakespeare-scratch", [2.0, 1.0], config=TrainConfig(bptt_length=25))
    start = 25 * math.log(4)
    first = 0.999 * start + 0.001 * 50
    assert smoothed(done).tolist() == pytest.approx([first, 0.999 * first + 0.001 * 25])


@pytest.mark.parametrize(("measured", "within"), [(1.0, True), (1.1, True), (1.11, False), (0.89, False)])
def test_a_figure_is_within_its_tolerance_or_not(measured, within):
    assert Figure(Target("x", 1.0, 0.1 + 1e-12), measured).within is within


def test_a_figure_without_a_tolerance_is_not_judged():
    shown = Figure(Target("x", 1.0), 5.0)
    assert shown.within is None
    assert Repetition(systems()["anna-lstm"], (shown,), {}, ()).within_tolerance is None
    judged = Figure(Target("x", 1.0, 0.1), 5.0)
    assert Repetition(systems()["anna-lstm"], (shown, judged), {}, ()).within_tolerance is False


def test_mistakes_in_training_are_made_as_published_and_corrected_otherwise(short_text):
    system = systems()["shakespeare-scratch"]
    mended, lost = (train_system(system, as_published=on, num_steps=30) for on in (False, True))
    biases = [done.model.parameters()["out.bias"] for done in (mended, lost)]
    assert np.abs(biases[0]).max() > 0
    assert np.abs(biases[1]).max() == 0
    assert (mended.corpus.validation is None, lost.corpus.validation is None) == (False, True)
    assert set(MISTAKES) == {"lose_output_bias", "never_begins", "train_on_everything", "wrap_targets"}


def test_a_full_repetition_of_system_e_on_a_short_text(short_text):
    done = repeat(systems()["moliere-elman"], seeds=2)
    report = repetition_json(done)
    figure = report["figures"][0]
    assert set(report) >= {"name", "figures", "honest", "within_tolerance", "train_time_s"}
    assert set(figure) >= {"what", "published", "measured", "tolerance", "within"}
    assert figure["within"] is False  # a different text gives a different loss
    assert len(figure["by_seed"]) == 2
    assert figure["by_seed"][0] == figure["measured"] != figure["by_seed"][1]
    assert [x for x, _ in report["curve"]] == [float(epoch) for epoch in range(1, 11)]
    assert report["figures"][1]["published"] == 1.77312
    assert {"what", "measured"} == set(report["honest"][0])


@pytest.mark.parametrize(
    ("name", "asked", "quick", "trained"),
    [
        ("moliere-elman", None, False, 5),
        ("shakespeare-scratch", None, False, 5),
        ("anna-lstm", None, False, 1),
        ("arabic-rnn", None, False, 1),
        ("moliere-elman", None, True, 1),
        ("anna-lstm", 3, False, 3),
        ("shakespeare-scratch", 2, False, 2),
        ("moliere-elman", 3, True, 3),
    ],
)
def test_the_number_of_seeds_is_respected_and_slow_systems_default_to_one(name, asked, quick, trained):
    assert measure._seeds(systems()[name], asked, quick=quick) == trained


def test_every_seed_of_system_c_is_validated(short_text, monkeypatch):
    short_text.write_text(builtin_text()[:600], encoding="utf-8")  # two layers of 512 units are slow
    monkeypatch.setattr(measure, "C_LANES", 2)
    monkeypatch.setattr(measure, "C_LENGTH", 20)
    (figure,) = repeat(systems()["anna-lstm"], seeds=2).figures
    first, second = figure.by_seed
    assert math.isfinite(first)
    assert math.isfinite(second)
    assert first != second


def test_seeds_measured_earlier_follow_those_of_this_run(short_text):
    system = replace(systems()["moliere-elman"], other_seeds=(8.0, 9.0))
    both = repetition_json(repeat(system, seeds=2))["figures"][0]
    assert both["seeds_of_this_run"] == 2
    assert both["by_seed"][2:] == [9.0]
    assert repeat(system, seeds=1).figures[0].earlier == (8.0, 9.0)


def test_seeds_measured_earlier_belong_to_the_complete_corrected_training(short_text):
    system = replace(systems()["moliere-elman"], other_seeds=(8.0, 9.0))
    assert repeat(system, seeds=1, as_published=True).figures[0].earlier == ()
    further = replace(
        system, target=replace(system.target, at=11)
    )  # like a quick run, it ends before its figure
    assert repeat(further, seeds=1).figures[0].earlier == ()


def test_a_probe_is_called_at_its_steps(short_text):
    seen = []
    train_system(
        systems()["moliere-elman"],
        num_steps=25,
        look_every=10,
        look=lambda done, learner: seen.append((len(done.losses), learner.model() is not None)),
    )
    assert seen == [(10, True), (20, True), (25, True)]


def test_a_probe_does_not_change_the_training(short_text):
    system = systems()["moliere-elman"]
    plain = train_system(system, num_steps=25)
    looked = train_system(system, num_steps=25, look_every=7, look=lambda _, learner: learner.model())
    np.testing.assert_array_equal(plain.losses, looked.losses)
