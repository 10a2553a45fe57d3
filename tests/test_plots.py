"""Figures show exactly what the runs recorded."""

import math

import pytest

from charloom.errors import MissingExtraError, RunError
from charloom.plots import fonts, loss_curves, new_axes, save
from charloom.runs import Run

pytest.importorskip("matplotlib")
LOSSES = [(10, 2.0, 2.2), (20, 1.5, 1.4)]


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "tales", {})
    for step, loss, train_loss in LOSSES:
        run.append({"event": "note", "step": step})
        run.append(
            {"event": "validation", "step": step, "loss": loss, "train_loss": train_loss, "best": True}
        )
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


def ticks_named(names):
    ax = new_axes("a test")
    ax.barh(range(len(names)), range(len(names)))
    ax.set_yticks(range(len(names)), labels=names)
    ax.text(0, 0, "".join(names))
    return ax


def test_code_points_stand_for_characters_that_no_font_has(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("charloom.plots.fonts._installed", tuple)
    fonts._fonts_for.cache_clear()
    ax = ticks_named(["a", "中", "文"])
    (note,) = save(ax, tmp_path / "a.png")
    assert "2 characters" in note
    assert "U+4E2D" in note
    assert "fonts-noto-cjk" in note
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "U+4E2D", "U+6587"]
    assert ax.texts[0].get_text() == "aU+4E2DU+6587"


def test_a_font_of_placeholders_is_no_font():
    """matplotlib comes with one that has a box for every character."""
    names = [family for family, _ in fonts._installed()]
    assert names
    assert not [name for name in names if "last" in name.lower() and "resort" in name.lower()]


def test_an_installed_font_draws_what_the_own_one_lacks(tmp_path, recwarn):
    """STIX, which comes with matplotlib, has letters that DejaVu Sans lacks."""
    fonts._fonts_for.cache_clear()
    own = fonts._own_font()
    family, char = next(
        (family, chr(code))
        for family, font in fonts._installed()
        for code in font.get_charmap()
        if 0xE000 > code > 0x1000 and not own.get_char_index(code)
    )
    ax = ticks_named(["a", char])
    assert save(ax, tmp_path / "a.png") == ()
    assert ax.texts[0].get_fontfamily() == ["DejaVu Sans", family]
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
