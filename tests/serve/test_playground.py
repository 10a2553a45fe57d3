"""The playground in a real browser, fed by a server in a process of its own."""

import re

import pytest

from ..browser import needs_chromium
from .conftest import TALES, running

api = pytest.importorskip("playwright.sync_api")
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server(model_files):
    with running(model_files["tales"], model_files["bytes"]) as found:
        yield found


@pytest.fixture
def shown_from(browser):
    """The page of a server at an address, ready to write; nothing may be logged while it is open."""
    opened = []

    def show(url):
        page, messages = browser.new_context().new_page(), []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(url)
        says(page, "^Ready")
        opened.append((page, messages))
        return page

    yield show
    for page, messages in opened:
        page.context.close()
        assert messages == []


@pytest.fixture
def shown(shown_from, server):
    return shown_from(server.url)


def says(page, pattern):
    api.expect(page.locator("#status")).to_have_text(re.compile(pattern), timeout=30_000)


def written(page):
    return page.locator("#text").evaluate("element => element.lastChild.data")


def fill(page, **fields):
    page.locator("details").evaluate("element => { element.open = true; }")
    for name, value in fields.items():
        page.fill(f"#{name.replace('_', '-')}", str(value))


def test_it_writes_what_the_interface_writes(shown, server):
    import httpx

    fill(shown, prompt="the ", length=300, seed=7, top_k=9)
    shown.click("#write")
    says(shown, "^300 characters")
    body = {"prompt": "the ", "max_tokens": 300, "seed": 7, "top_k": 9, "temperature": 0.8}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=30).json()
    assert written(shown) == answer["choices"][0]["text"]
    shown.click("#continue")
    says(shown, "^600 characters")


def test_another_character_can_be_chosen(shown):
    fill(shown, prompt="the ", length=60, seed=7)
    shown.click("#write")
    says(shown, "^60 characters")
    before = written(shown)
    shown.locator("#text").focus()
    for _ in range(6):
        shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    options = shown.locator("#choices [role=option]")
    api.expect(options.first).to_be_visible()
    others = [text for text in options.locator("bdi").all_text_contents() if text != before[5]]
    chosen = next(text for text in others if text in map(chr, TALES.symbols))
    options.filter(has=shown.get_by_text(chosen, exact=True)).first.click()
    says(shown, "^66 characters")
    assert written(shown)[:6] == before[:5] + chosen


def test_a_text_can_be_stopped(shown_from, model_files):
    with running(model_files["tales"], slow=True) as slow_server:
        page = shown_from(slow_server.url)
        fill(page, prompt="the ", length=5000, seed=7)
        page.click("#write")
        api.expect(page.locator("#stop")).to_be_enabled()
        page.click("#stop")
        says(page, "Stopped")
        assert len(written(page)) < 5000


def test_an_unknown_character_is_said(shown):
    fill(shown, prompt="the 7")
    shown.click("#write")
    says(shown, "does not know: 7")
