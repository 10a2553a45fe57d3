"""The surprisal page: hostile texts are only text, Arabic letters stay joined, numbers are included."""

import base64
import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.evaluation import Surprisals
from charloom.generation import visible
from charloom.report import surprisal
from charloom.report.surprisal import level, surprisal_page
from charloom.text import Vocabulary

from .test_samples import HOSTILE, Page, any_text

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "p", "a", "section", "div", "span"),
    *("table", "caption", "tr", "th", "td", "bdi"),
}


def found_of(text, bits=None, unknown=()):
    n = len(text)
    bits = np.full(n, 3.0) if bits is None else np.array(bits, float)
    if n:
        bits[0] = np.nan
    marks = np.isin(np.arange(n), unknown)
    return Surprisals(
        tuple(text),
        bits,
        marks,
        np.zeros(n, np.int64),
        np.full(n, 0.5),
        max(0, n - 1),
        Vocabulary.from_text("a"),
    )


def page_of(found, numbers=None, title="t", top=10):
    return surprisal_page(found, found.oddities(top), title=title, summary=[title], numbers=numbers or {})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text):
    page = Page(page_of(found_of(text), {text: text}, title=text))
    assert page.tags == ALLOWED
    names = {name for _, name, _ in page.attributes}
    assert not any(name.startswith("on") or name in ("src", "style") for name in names)
    assert page.texts["text"] == visible(text)
    assert page.texts["h1"] == visible(text)


@given(any_text, st.lists(st.integers(0, 39), max_size=4))
def test_any_text_is_shown_completely(text, unknown):
    page = page_of(found_of(text, unknown=unknown))
    assert Page(page).texts.get("text", "") == visible(text)
    page.encode("utf-8")


def parts_of(page):
    """The markup of each part of the text."""
    text = page.split('<div class="text" lang="" dir="auto">')[1].split("</section>")[0]
    return re.findall(r'<div class="part">(.*?)</div>', text, re.DOTALL)


def test_a_span_changes_only_colour_and_underline():
    page = page_of(found_of("كان يا", [0, 0.5, 1.5, 9, 13, 2], unknown=[5]), top=1)
    (text,) = parts_of(page)
    assert text == (
        'كا<span class="s1">ن</span>'
        '<span class="s5" title="9.00 bits"> </span><span class="s6 odd" title="13.00 bits">ي</span>'
        '<span class="s2 unknown" title="unknown to the model: 2.00 bits">ا</span>'
    )
    rules = dict(re.findall(r"\.(s\d|odd|unknown) \{ ([^}]*) \}", page))
    assert set(rules) == {*(f"s{i}" for i in range(1, 7)), "odd", "unknown"}
    properties = {part.split(":")[0].strip() for rule in rules.values() for part in rule.split(";")} - {""}
    assert properties == {"background", "color", "text-decoration", "text-underline-offset"}


def test_neighbours_of_one_colour_share_a_span_unless_they_are_titled():
    (text,) = parts_of(page_of(found_of("abcdefg", [0, 1.2, 1.9, 2, 3.9, 7, 7.5]), top=0))
    assert text == (
        'a<span class="s1">bc</span><span class="s2">de</span>'
        '<span class="s4" title="7.00 bits">f</span><span class="s4" title="7.50 bits">g</span>'
    )


def test_the_text_is_divided_at_line_ends(monkeypatch):
    monkeypatch.setattr(surprisal, "_PART_LINES", 2)
    monkeypatch.setattr(surprisal, "_PART_CHARS", 4)
    text = "a\n\nb\nlong line\nc\n" + "d e" * 30
    found = found_of(text, np.zeros(len(text)))
    parts = [
        Page(f'<div class="text">{part}</div>').texts["text"] for part in parts_of(page_of(found, top=0))
    ]
    assert "".join(parts) == text
    assert parts[:3] == ["a\n\n", "b\nlong line\n", "c\n" + "d e" * 12 + "d "]
    assert ".part { content-visibility: auto;" in page_of(found)


def test_newlines_are_shown_by_a_pseudo_element():
    page = page_of(found_of("a\nb", [0, 9, 1]))
    assert '<span class="s5 odd newline" title="9.00 bits">\n</span>' in page
    assert '.newline::before { content: "↵";' in page


def test_the_page_contains_the_numbers():
    numbers = {"schema": 1, "chars": [{"char": "</script>", "surprisal_bits": None}]}
    page = page_of(found_of("ab"), numbers)
    link = r'download="surprisal.json.gz" href="data:application/gzip;base64,([^"]*)"'
    (data,) = re.findall(link, page)
    assert json.loads(gzip.decompress(base64.b64decode(data))) == numbers


def test_the_table_has_every_oddity_and_the_legend_its_units():
    page = Page(page_of(found_of("ab\nc", [0, 4.25, 1, 13])))
    cells = page.texts["td"] + page.texts["number"] + page.texts["bdi"]
    assert page.texts["number"] == "13.0021" + "4.2512" + "1.0013"  # bits, line, column
    assert "↵" in cells
    assert "Surprisal in bits: under 1 · 1 to 2 · 2 to 4" in page.texts["legend"]
    assert "12 or more" in page.texts["legend"]
    assert ("section", "aria-label", "The text, coloured by surprisal") in page.attributes


def test_the_page_fetches_nothing_and_has_light_and_dark_colours():
    page = page_of(found_of("ab"))
    assert page.index("default-src 'none'") < page.index("<style>")
    assert "<script" not in page
    assert "url(" not in page
    for rule in (
        "prefers-color-scheme: dark",
        "@media print {\n  :root { --s1",
        "print-color-adjust: exact",
        "unicode-bidi: plaintext",
    ):
        assert rule in page


def test_a_long_text_is_cut_with_a_note(monkeypatch):
    monkeypatch.setattr(surprisal, "SHOWN_CHARS", 3)
    page = Page(page_of(found_of("abcde")))
    assert page.texts["text"] == "abc"
    assert "the first 3 of 5 characters" in page.texts["legend"]


def test_levels_rise_with_surprisal():
    assert [level(bits) for bits in (0, 0.99, 1, 1.99, 2, 4, 6, 8, 12, 99)] == [0, 0, 1, 1, 2, 3, 4, 5, 6, 6]
