"""The tour page: hostile texts are only text, cells are isolated, numbers are included."""

import base64
import json
import re

import pytest

from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.generation import visible
from charloom.insight.tour.walkthrough import take_tour
from charloom.report.tour import SHOWN_STEPS, tour_page
from charloom.text import corpus_from_text

from .test_samples import HOSTILE, Page

NETWORK = ModelConfig(cell="gru", hidden_size=4)
TRAINING = TrainConfig(batch_size=3, bptt_length=30, stream_offset="fixed")
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "a", "section", "div"),
    *("table", "caption", "tr", "th", "td", "bdi", "meter", "dl", "dt", "dd"),
}


class TourPage(Page):
    """A page as parsed by a browser, with its only void element."""

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            super().handle_starttag(tag, attrs)


def page_of(text, title="t", numbers=None):
    corpus = corpus_from_text(text, TextConfig(val_fraction=0.3), name=title)
    tour = take_tour(corpus, corpus.vocab, NETWORK, TRAINING, settings_from=title)
    return tour_page(tour, title=title, numbers=numbers or {})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text):
    page = TourPage(page_of(text * 20, text, {text: text}))
    assert page.tags == ALLOWED
    names = {name for _, name, _ in page.attributes}
    assert not any(name.startswith("on") or name in ("src", "style") for name in names)
    assert page.texts["h1"] == visible(text)
    assert page.texts["text"].startswith(visible((text * 20)[:40].replace("\r", "\n")))


def test_every_cell_isolates_its_character():
    page = page_of("كان يا ما كان\n" * 30)
    assert '<td><bdi lang="">ك</bdi></td><td><bdi lang="">ا</bdi></td><td><bdi lang="">ن</bdi></td>' in page
    assert '<div><dt><bdi lang="">ك</bdi></dt><dd>' in page
    assert '<bdi lang="">␣</bdi>' in page
    assert '<bdi lang="">↵</bdi>' in page
    cells = re.findall(r"<td>(?!<bdi)([^<]*[\u0600-\u06ff][^<]*)</td>", page)
    assert cells == []


def test_the_grid_shows_the_first_steps_of_every_lane():
    page = page_of("abcdefghij" * 60)
    grids = re.findall(r"<table class=.grid.>.*?</table>", page, re.DOTALL)
    assert len(grids) == 2
    for grid in grids:
        rows = re.findall(r'<tr(?: class="y")?>(.*?)</tr>', grid, re.DOTALL)[1:]
        assert [row.count("<bdi") for row in rows] == [SHOWN_STEPS] * 6
        assert len(re.findall("lane \\d<br>from [\\d,]+", grid)) == 3
    assert "zero state" in grids[0]
    assert "zero state" not in grids[1]


def test_the_page_contains_the_numbers():
    numbers = {"schema": 1, "first_ids": [{"char": "</script>", "id": 0}]}
    (data,) = re.findall(
        r'download="tour.json" href="data:application/json;base64,([^"]*)"', page_of("ab" * 99, "t", numbers)
    )
    assert json.loads(base64.b64decode(data)) == numbers


def test_the_page_has_every_stage_and_says_that_the_model_is_untrained():
    page = TourPage(page_of("abc" * 99))
    assert page.texts["h2"] == (
        "The corpusFirst idsOne batch: lanes × time, x above yShapes and parametersOne prediction"
    )
    assert "the untrained model (as initialised)" in page.texts["p"]
    assert (
        page.texts["text"] == ("abc" * 99)[:40] + "… " + ("abc" * 99)[207:271][-30:]
    )  # the first 207 are for training
    assert page.texts["caption"].count("temperature") == 3
    assert ("th", "scope", "row") in page.attributes


def test_without_a_corpus_its_stages_are_omitted():
    corpus = corpus_from_text("abc" * 99)
    tour = take_tour(None, corpus.vocab, NETWORK, TRAINING)
    assert TourPage(tour_page(tour, title="t", numbers={})).texts["h2"] == (
        "First idsShapes and parametersOne prediction"
    )
