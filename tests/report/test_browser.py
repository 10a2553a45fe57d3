"""Pages in a real browser: no console messages, nothing fetched or run, and a choice shows its panel."""

import re
import subprocess

import pytest

from ..browser import CHROMIUM, needs_chromium
from .test_inspection import inspect_text, page_of
from .test_samples import HOSTILE
from .test_tour import page_of as tour_of

pytest.importorskip("matplotlib")
pytestmark = needs_chromium

TEXTS = {
    "arabic": "كان يا ما كان، في قديم الزمان: «ولد» رقم ٣.\n",
    "french": "Où êtes-vous ? demanda-t-il ; « ici », dit-elle.\n",
    "hostile": "".join(HOSTILE).encode("utf-8", "replace").decode("utf-8") + "\n",
}


def browse(path, *flags):
    """Run Chromium headless and offline; return (standard output, console messages)."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={path.parent / 'profile'}", "--enable-logging=stderr", "--log-level=0"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", *flags, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def shown(tmp_path):
    def show(html, *flags):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        return browse(path, *flags)

    return show


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_inspection_opens_without_console_messages(text, rng, shown):
    html, _ = page_of(inspect_text(text * 30, rng))
    dom, messages = shown(html, "--dump-dom")
    assert messages == []
    for tag in ("script", "img", "iframe", "link", "object"):
        assert not re.search(rf"<{tag}[\s>]", dom)
    assert dom.count("<svg") == html.count("<svg")
    assert dom.count("<input") == html.count("<input")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_tour_opens_without_console_messages(text, shown):
    dom, messages = shown(tour_of(text * 30), "--dump-dom")
    assert messages == []
    assert "<script" not in dom
    assert "<img" not in dom


def test_a_blocked_script_gives_a_console_message(shown):
    """Check that the tests above can fail."""
    _, messages = shown(
        '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
        "<script>1</script>",
        "--dump-dom",
    )
    assert any("Content Security Policy" in line for line in messages)


def test_the_checked_choice_shows_only_its_own_panel(rng, shown, tmp_path):
    html, _ = page_of(inspect_text(TEXTS["french"] * 30, rng))
    html = html[: html.index("<h1")] + html[html.index('<fieldset class="choice">') :]  # only the choice

    def picture(page, name):
        shown(page, "--hide-scrollbars", "--window-size=700,400", f"--screenshot={tmp_path / name}")
        return (tmp_path / name).read_bytes()

    first = html.replace(" checked>", ">").replace('id="lean-0"', 'id="lean-0" checked')
    second = html.replace(" checked>", ">").replace('id="lean-3"', 'id="lean-3" checked')
    assert picture(first, "first.png") == picture(first, "again.png")
    assert picture(first, "first.png") != picture(second, "second.png")
