"""Pictures: what is drawn is what the runs recorded."""

import math

import numpy as np
import pytest

from charloom.errors import MissingExtraError, RunError
from charloom.plots import gradient_river, gradient_triangle, loss_curves, new_axes, save
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


def test_loss_curves_hold_the_recorded_losses_in_bits(run):
    ax = loss_curves([run])
    held_out, training = ax.get_lines()
    assert list(held_out.get_xdata()) == [10, 20]
    assert held_out.get_ydata() == pytest.approx([2.0 / math.log(2), 1.5 / math.log(2)])
    assert training.get_ydata() == pytest.approx([2.2 / math.log(2), 1.4 / math.log(2)])
    assert held_out.get_color() == training.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["tales"]
    assert "bits per character" in ax.get_ylabel()


def test_loss_curves_draw_on_the_axes_given(run):
    ax = new_axes("a test")
    assert loss_curves([run, run], ax=ax) is ax
    assert len(ax.get_lines()) == 4


def test_a_run_without_validations_is_left_out(tmp_path):
    ax = loss_curves([Run.create(tmp_path / "empty", {})])
    assert ax.get_legend() is None


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path, run):
    named = Run.create(tmp_path / "a $\\frac$ b", {})
    for event in run.events():
        named.append(event)
    loss_curves([named]).figure.draw_without_rendering()


def test_without_matplotlib_the_extra_is_named(run, monkeypatch):
    monkeypatch.setattr("charloom.plots.figures.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="charloom\\[plot\\]"):
        loss_curves([run])


def test_save_to_an_impossible_place(run, tmp_path):
    with pytest.raises(RunError):
        save(loss_curves([run]), tmp_path / "nowhere" / "curves.svg")


T = 5
NORMS = np.tril(10.0 ** -np.abs(np.subtract.outer(np.arange(T), np.arange(T))))  # a tenth is left a step


def centres(squares):
    return [tuple((path.vertices[0] + path.vertices[2]) / 2) for path in squares.get_paths()]


def test_a_gradient_triangle_has_a_square_for_every_loss_and_state_that_it_reaches():
    squares = gradient_triangle(NORMS, "a tale", T).collections[0]
    assert sorted(centres(squares)) == [(k, t) for k in range(T) for t in range(k, T)]
    for (k, t), norm in zip(centres(squares), squares.get_array(), strict=True):
        assert norm == NORMS[int(t), int(k)]


def test_a_gradient_triangle_is_empty_where_the_gradient_is_cut():
    ax = gradient_triangle(NORMS, "a tale", 2)
    assert sorted(centres(ax.collections[0])) == [(0, 0), (0, 1), (1, 1), (2, 2), (2, 3), (3, 3), (4, 4)]
    cuts = [tuple(line.get_xdata()) for line in ax.get_lines()]
    assert cuts == [(1.5, 1.5), (3.5, 3.5)]


def test_the_cut_is_named_once_where_most_is_cut():
    (words,) = gradient_triangle(NORMS, "a tale", 1).texts
    assert words.get_text().startswith("cut")
    assert words.get_position() == (1.5, 4)  # t is 4 and k is 0 to 3
    assert not gradient_triangle(NORMS, "a tale", T).texts


def test_a_gradient_triangle_names_what_is_read_and_what_is_predicted():
    ax = gradient_triangle(NORMS, "a\ntale", T)
    assert [label.get_text() for label in ax.get_xticklabels()] == list("a⏎tal")
    assert [label.get_text() for label in ax.get_yticklabels()] == list("⏎tale")


def test_colours_are_logarithmic_down_to_the_floor():
    scale = gradient_triangle(NORMS, "a tale", T, floor=1e-4).collections[0].norm
    assert [scale(x) for x in (1.0, 1e-2, 1e-4, 1e-9, 0.0)] == pytest.approx([1, 0.5, 0, 0, 0])


def test_a_river_is_as_wide_as_the_gradient_and_ends_at_the_cut():
    norms = np.array([0.0, 0.0, 0.2, 0.4, 0.8])
    ax = gradient_river(norms, 2)
    extents = [piece.get_paths()[0].get_extents() for piece in ax.collections]
    assert [(e.x0, e.x1) for e in extents] == [(2, 3), (3, 4)]
    widths = [e.height for e in extents]  # of the wide end
    assert widths == pytest.approx([0.6, 1.2])
    assert [line.get_xdata()[0] for line in ax.get_lines()[1:]] == [1.5, 3.5]


def test_a_river_without_water_draws_nothing():
    assert not gradient_river(np.zeros(3), 3).collections


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_gradients_draw_on_the_axes_given_and_are_saved(tmp_path, ending):
    ax = new_axes("a test")
    assert gradient_triangle(NORMS, "a tale", 2, ax=ax) is ax
    assert gradient_river(NORMS[-1], T, ax=ax) is ax
    save(ax, tmp_path / f"walk.{ending}")
    assert (tmp_path / f"walk.{ending}").stat().st_size > 1000
