"""The pages as a browser shows them: no complaint, nothing fetched, nothing run, and a choice that shows its panel."""

import re
import shutil
import subprocess

import pytest

from ..generation.test_html import HOSTILE
from .test_inspection import look, page_of
from .test_tour import page_of as tour_of

pytest.importorskip("matplotlib")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: .ci/run installs Debian's")

TEXTS = {
    "arabic": "كان يا ما كان، في قديم الزمان: «ولد» رقم ٣.\n",
    "french": "Où êtes-vous ? demanda-t-il ; « ici », dit-elle.\n",
    "hostile": "".join(HOSTILE).encode("utf-8", "replace").decode("utf-8") + "\n",
}


def browse(path, *flags):
    """Chromium, headless and without a network; (standard output, what it complained of)."""
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
def test_an_inspection_opens_without_a_complaint(text, rng, shown):
    html, _ = page_of(look(text * 30, rng))
    dom, complaints = shown(html, "--dump-dom")
    assert complaints == []
    for tag in ("script", "img", "iframe", "link", "object"):
        assert not re.search(rf"<{tag}[\s>]", dom)
    assert dom.count("<svg") == html.count("<svg")
    assert dom.count("<input") == html.count("<input")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_tour_opens_without_a_complaint(text, shown):
    dom, complaints = shown(tour_of(text * 30), "--dump-dom")
    assert complaints == []
    assert "<script" not in dom
    assert "<img" not in dom


def test_a_page_that_complains_is_noticed(shown):
    """The tests above can fail: a script is refused, and said to be."""
    _, complaints = shown(
        '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
        "<script>1</script>",
        "--dump-dom",
    )
    assert any("Content Security Policy" in line for line in complaints)


def test_the_checked_choice_shows_its_panel_and_no_other(rng, shown, tmp_path):
    html, _ = page_of(look(TEXTS["french"] * 30, rng))
    html = html[: html.index("<h1")] + html[html.index('<fieldset class="choice">') :]  # the choice alone

    def picture(page, name):
        shown(page, "--hide-scrollbars", "--window-size=700,400", f"--screenshot={tmp_path / name}")
        return (tmp_path / name).read_bytes()

    first = html.replace(" checked>", ">").replace('id="lean-0"', 'id="lean-0" checked')
    second = html.replace(" checked>", ">").replace('id="lean-3"', 'id="lean-3" checked')
    assert picture(first, "first.png") == picture(first, "again.png")
    assert picture(first, "first.png") != picture(second, "second.png")
