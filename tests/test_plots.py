"""Figures show exactly what the runs recorded."""

import math

import pytest

from charloom.errors import MissingExtraError, RunError
from charloom.plots import loss_curves, new_axes, save
from charloom.runs import Run

pytest.importorskip("matplotlib")
LOSSES = [(10, 2.0, 2.2), (20, 1.5, 1.4)]


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "tales", {})
    for step, loss, train_loss in LOSSES:
        run.append({"event": "progress", "step": step})
        run.append({"event": "validation", "step": step, "loss": loss, "train_loss": train_loss})
    return run


def test_loss_curves_show_the_recorded_losses_in_bits(run):
    ax = loss_curves([run])
    held_out, training, in_legend = ax.get_lines()
    assert list(held_out.get_xdata()) == [10, 20]
    assert held_out.get_ydata() == pytest.approx([2.0 / math.log(2), 1.5 / math.log(2)])
    assert training.get_ydata() == pytest.approx([2.2 / math.log(2), 1.4 / math.log(2)])
    assert held_out.get_color() == training.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["tales", "training"]
    assert training.get_linestyle() == in_legend.get_linestyle() == ":"
    assert "bits per character" in ax.get_ylabel()


def test_loss_curves_use_the_given_axes(run):
    ax = new_axes("a test")
    assert loss_curves([run, run], ax=ax) is ax
    assert len(ax.get_lines()) == 5


def test_a_run_without_validations_is_skipped(tmp_path):
    ax = loss_curves([Run.create(tmp_path / "empty", {})])
    assert ax.get_legend() is None


def test_a_dollar_sign_in_a_name_is_not_parsed_as_math(tmp_path, run):
    named = Run.create(tmp_path / "a $\\frac$ b", {})
    for event in run.events():
        named.append(event)
    loss_curves([named]).figure.draw_without_rendering()


def test_without_matplotlib_the_error_names_the_extra(run, monkeypatch):
    monkeypatch.setattr("charloom.plots.figures.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="charloom\\[plot\\]"):
        loss_curves([run])


def test_saving_to_a_missing_folder_is_an_error(run, tmp_path):
    with pytest.raises(RunError):
        save(loss_curves([run]), tmp_path / "nowhere" / "curves.svg")
