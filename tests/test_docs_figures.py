"""The figures of the page on backpropagation, `docs/gradient_window.py`, show exactly the given gradient norms."""

import numpy as np
import pytest

from charloom.plots import new_axes, save

from .test_docs import generator

pytest.importorskip("matplotlib")
figures = generator().gradient_window()
gradient_triangle, gradient_river = figures.gradient_triangle, figures.gradient_river

T = 5
NORMS = np.tril(10.0 ** -np.abs(np.subtract.outer(np.arange(T), np.arange(T))))  # falls to a tenth per step


def centres(squares):
    return [tuple((path.vertices[0] + path.vertices[2]) / 2) for path in squares.get_paths()]


def test_a_gradient_triangle_has_a_square_for_every_loss_and_state_it_reaches():
    squares = gradient_triangle(NORMS, "a tale", T).collections[0]
    assert sorted(centres(squares)) == [(k, t) for k in range(T) for t in range(k, T)]
    for (k, t), norm in zip(centres(squares), squares.get_array(), strict=True):
        assert norm == NORMS[int(t), int(k)]


def test_a_gradient_triangle_has_no_squares_across_a_truncation():
    ax = gradient_triangle(NORMS, "a tale", 2)
    assert sorted(centres(ax.collections[0])) == [(0, 0), (0, 1), (1, 1), (2, 2), (2, 3), (3, 3), (4, 4)]
    cuts = [tuple(line.get_xdata()) for line in ax.get_lines()]
    assert cuts == [(1.5, 1.5), (3.5, 3.5)]


def test_the_truncation_is_labelled_once_in_the_largest_hatched_area():
    (words,) = gradient_triangle(NORMS, "a tale", 1).texts
    assert words.get_text().startswith("cut")
    assert words.get_position() == (1.5, 4)  # t is 4 and k is 0 to 3
    assert not gradient_triangle(NORMS, "a tale", T).texts


def test_a_gradient_triangle_labels_characters_read_and_predicted():
    ax = gradient_triangle(NORMS, "a\ntale", T)
    assert [label.get_text() for label in ax.get_xticklabels()] == list("a⏎tal")
    assert [label.get_text() for label in ax.get_yticklabels()] == list("⏎tale")


def test_the_colour_scale_is_logarithmic_down_to_the_floor():
    scale = gradient_triangle(NORMS, "a tale", T, floor=1e-4).collections[0].norm
    assert [scale(x) for x in (1.0, 1e-2, 1e-4, 1e-9, 0.0)] == pytest.approx([1, 0.5, 0, 0, 0])


def test_a_river_is_as_wide_as_the_gradient_norm_and_ends_at_the_truncation():
    norms = np.array([0.0, 0.0, 0.2, 0.4, 0.8])
    ax = gradient_river(norms, 2)
    extents = [piece.get_paths()[0].get_extents() for piece in ax.collections]
    assert [(e.x0, e.x1) for e in extents] == [(2, 3), (3, 4)]
    widths = [e.height for e in extents]  # at the wide end
    assert widths == pytest.approx([0.6, 1.2])
    assert [line.get_xdata()[0] for line in ax.get_lines()[1:]] == [1.5, 3.5]


def test_a_river_of_zero_norms_draws_nothing():
    assert not gradient_river(np.zeros(3), 3).collections


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_both_figures_use_the_given_axes_and_can_be_saved(tmp_path, ending):
    ax = new_axes("a test")
    assert gradient_triangle(NORMS, "a tale", 2, ax=ax) is ax
    assert gradient_river(NORMS[-1], T, ax=ax) is ax
    save(ax, tmp_path / f"gradients.{ending}")
    assert (tmp_path / f"gradients.{ending}").stat().st_size > 1000
