import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.generation import Sample, visible
from charloom.report.samples import Marks, marked_parts, samples_page

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "</div></article></main><style>*{display:none}</style>",
    "&lt;b&gt; &amp; \"quotes' <!-- --> ]]>",
    "\u202egnirts\x00\x1b[31m\r\ud800",
    "{title} {style} {0}",
]
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "h1",
    "dl",
    "div",
    "dt",
    "dd",
    "p",
    "span",
    "article",
    "h2",
}
any_text = st.text(st.characters(exclude_categories=()), max_size=40)


class Page(HTMLParser):
    """A page as parsed by a browser: tags, attributes, and the text inside each class or tag."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts, self.stack = set(), [], {}, []
        self.feed(page)
        self.close()
        assert self.stack == [], "an element was left open"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag != "meta":
            self.stack.append((tag, dict(attrs).get("class") or tag))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        for _, place in self.stack:
            self.texts[place] = self.texts.get(place, "") + data


def page_of(prompt, text, title="t", settings=None):
    sample = Sample(0, prompt, text, "length", 7)
    return samples_page([sample], title=title, settings=settings or {})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text):
    page = Page(page_of(text, text, title=text, settings={text: text}))
    assert page.tags == ALLOWED
    assert not any(
        name.startswith("on") or name in ("src", "href", "style") for _, name, _ in page.attributes
    )
    assert page.texts["text"] == visible(text) * 2  # the prompt, then the generated text
    assert page.texts["h1"] == page.texts["title"] == page.texts["dt"] == page.texts["dd"] == visible(text)


@given(any_text, any_text)
def test_any_text_is_shown_completely(prompt, text):
    page = page_of(prompt or "p", text)
    assert Page(page).texts["text"] == visible(prompt or "p") + visible(text)
    page.encode("utf-8")


def test_prompt_and_text_are_distinguished():
    page = Page(page_of("Once ", "upon"))
    assert page.texts["prompt"] == "Underlined text" + "Once "
    assert "is the prompt" in page.texts["legend"]
    assert "legend" not in Page(page_of("", "upon")).texts


def test_the_page_fetches_nothing_and_supports_both_directions():
    page = page_of("كان ", "يا ما كان")
    csp = """content="default-src 'none'; style-src 'unsafe-inline'">"""
    assert page.index(csp) < page.index("<style>")
    assert page.index('<meta charset="utf-8">') < 100
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert '<div class="text" lang="" dir="auto"><span class="prompt">كان </span>يا ما كان</div>' in page
    for rule in (
        "unicode-bidi: plaintext",
        "prefers-color-scheme: dark",
        "@media print",
        "white-space: pre-wrap",
    ):
        assert rule in page


def test_samples_are_in_order_with_their_endings():
    samples = [
        Sample(3, "", "a", "stop", 7),
        Sample(4, "", "b", "boundary", 7),
        Sample(5, "", "c", "interrupted", 7),
    ]
    page = Page(samples_page(samples, title="t", settings={"temperature": 0.5, "top_k": None}))
    assert page.texts["text"] == "abc"
    assert page.texts["h2"] == (
        "sample 3 · seed 7 · ended at a stop string"
        "sample 4 · seed 7 · ended by the model"
        "sample 5 · seed 7 · interrupted"
    )
    assert page.texts["dd"] == "0.5None"


spans = st.lists(st.integers(0, 40), max_size=8, unique=True).map(
    lambda ends: list(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)


def marked_page(text, *marks):
    return samples_page([Sample(0, "", text, "length", 7)] * len(marks), title="t", settings={}, marks=marks)


@given(any_text, spans)
def test_marks_do_not_change_the_text(text, spans):
    page = Page(marked_page(text, Marks([(i, min(j, len(text))) for i, j in spans if i < len(text)])))
    assert page.texts.get("text", "") == visible(text)
    inside = "".join(text[i:j] for i, j in spans)
    assert page.texts.get("mark", "").removeprefix("Double-underlined text") == visible(inside)


@given(any_text, spans)
def test_marked_parts_join_to_the_text(text, spans):
    spans = [(i, min(j, len(text))) for i, j in spans if i < len(text)]
    parts = list(marked_parts(text, spans))
    assert "".join(part for part, _ in parts) == text
    assert [part for part, marked in parts if marked] == [text[i:j] for i, j in spans]
    assert all(part for part, _ in parts)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text_inside_marks_and_remarks(text):
    page = Page(marked_page(text, Marks([(1, len(text))], text)))
    assert page.tags == ALLOWED - {"dt", "dd", "span"} - {"div"} | {"div", "mark"}
    assert page.texts["text"] == page.texts["remark"] == visible(text)


def test_marks_do_not_depend_on_colour():
    page = marked_page("copied", Marks([(0, 6)]))
    for rule in (
        "text-decoration: underline double",
        'mark::before { content: " [copy begins] "; }',
        'mark::after { content: " [copy ends] "; }',
        "prefers-color-scheme: dark) { :root { --copied:",
    ):
        assert rule in page
    assert "occurs verbatim in the training text" in page
    for without in (marked_page("new", Marks()), page_of("", "new")):
        assert "occurs verbatim in the training text" not in without
        assert "<mark>" not in without


def test_the_lengths_of_matches_are_drawn_and_spelled_out():
    page = marked_page("copied text", Marks((), "", [(0, 0, 1), (1, 1, 0), (2, 2, 3)]))
    bars = re.findall(r'<rect x="(\d+)" y="([\d.]+)" width="34" height="([\d.]+)"/>', page)
    assert [(int(x), float(y), float(tall)) for x, y, tall in bars] == [
        (0, 59, 15),
        (42, 74, 0),
        (84, 29, 45),
    ]
    assert "in characters: 0: 25.0%, 1: 0.0%, 2: 75.0%" in page
    assert "<svg" not in marked_page("new", Marks((), "", [(0, 0, 0)]))
