"""The inspection page: hostile texts are only text, figures are complete, every choice has its panel."""

import base64
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.generation import visible
from charloom.insight import inspect
from charloom.modelfile import ModelFile
from charloom.report import inspection_page, pictures
from charloom.report.elements import coloured
from charloom.text import Vocabulary
from tests.engines.cases import random_parameters

from ..insight.small import SMALL
from .test_samples import HOSTILE, Page

pytest.importorskip("matplotlib")

OF_PICTURES = {"svg", "g", "path", "text", "defs", "use", "clippath", "rect", "tspan"}
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "a", "section", "div"),
    *("table", "caption", "tr", "th", "td", "bdi", "figure", "figcaption", "details", "summary"),
    *("fieldset", "legend", "label", "span"),
}


class InspectionPage(Page):
    """A page as parsed by a browser, with the void elements of the page and its figures."""

    def handle_starttag(self, tag, attrs):
        if tag == "input":
            assert dict(attrs).keys() <= {"type", "name", "id", "aria-label", "checked"}
        else:
            super().handle_starttag(tag, attrs)


def inspect_text(text, rng, cell="gru", block="plain"):
    text_config = TextConfig()
    vocab = Vocabulary.from_text(text, text_config)
    config = ModelConfig(cell=cell, block=block, hidden_size=6, num_layers=2)
    model = ModelFile(random_parameters(config, rng, len(vocab)), config, text_config, vocab)
    return inspect(model, text[len(text) // 2 :], train=text[: len(text) // 2], sizes=SMALL)


def page_of(found, title="t"):
    numbers = found.to_json()
    return inspection_page(found, title=title, summary=[title], numbers=numbers), numbers


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text, rng):
    html, _ = page_of(inspect_text((text + "abc d\n") * 40, rng), text)
    page = InspectionPage(html)
    assert page.tags - OF_PICTURES <= ALLOWED
    assert {"svg", "figure", "fieldset"} <= page.tags
    assert not any(name.startswith("on") or name == "src" for _, name, _ in page.attributes)
    targets = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith(("#", "data:application/json;base64,")) for value in targets)
    assert page.texts["h1"] == visible(text)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_figures_are_complete_and_share_no_identifier(cell, rng):
    html, _ = page_of(
        inspect_text(
            "Line: « said » (he) no 17.\n" * 40, rng, cell, "residual" if cell == "mingru" else "plain"
        )
    )
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawn) >= 9
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "#000000" not in svg.replace("aria-label", "")  # black would be invisible in dark mode
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names))
    for svg in drawn:
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {
            pair for name in own for pair in ((name, ""), ("", name))
        }


def test_every_choice_has_its_panel_and_css_rule(rng):
    found = inspect_text("Line: « said » (he) no 17.\n" * 40, rng)
    html, _ = page_of(found)
    for name, count in (("lean", SMALL.lean_rows), ("unit", len(found.units.shown))):
        assert html.count(f'name="{name}"') == count
    assert html.count('<div class="panel">') == SMALL.lean_rows + len(found.units.shown)
    assert f"input:nth-of-type({max(SMALL.lean_rows, len(found.units.shown))}):checked" in html
    assert html.count(" checked>") == 1 + (len(found.units.shown) > 0)


def test_a_prediction_shades_the_characters_it_depends_on(rng):
    found = inspect_text("abcdefgh\n" * 60, rng)
    html, _ = page_of(found)
    panels = re.findall(r'<div class="panel"><div class="text"[^>]*>(.*?)</div>', html, re.DOTALL)
    at = found.connectivity.first
    assert re.sub(r"<[^>]*>", "", panels[0]) == "".join(found.passage[: at + 1])
    assert f'<span class="target">{found.passage[at]}</span>' in panels[0]
    strongest = at - 1 - int(found.connectivity.lean[0].argmax())
    before = "".join(found.passage[:strongest])
    darkest = panels[0].index('<span class="p4">')
    assert re.sub(r"<[^>]*>", "", panels[0][:darkest]) == before


def test_the_page_contains_the_numbers(rng):
    html, numbers = page_of(inspect_text("no one knows\n" * 60, rng))
    (data,) = re.findall(r"data:application/json;base64,([^\"]+)", html)
    assert json.loads(base64.b64decode(data)) == numbers


def test_shading_changes_only_colour():
    shaded = coloured("كان يا", np.array([0, 2, 2, -4, 0, 0]), target=5)
    assert shaded == (
        '<div class="text" lang="" dir="auto">ك<span class="p2">ان</span><span class="n4"> </span>ي'
        '<span class="target">ا</span></div>\n'
    )


def test_figures_for_a_paper(rng, tmp_path):
    names = [name for name, _ in pictures(inspect_text("Line: « said » (he) no 17.\n" * 40, rng))]
    assert len(names) == len(set(names))
    assert {"gradient-flow", "context-curve", "connectivity-map", "characters", "errors-class"} <= set(names)
