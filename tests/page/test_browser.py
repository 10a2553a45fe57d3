"""Pages in a real browser, opened from disk without a network: they write the text that Python writes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from charloom.config import ModelConfig, SampleConfig, TextConfig
from charloom.engines import load_engine
from charloom.generation import sample
from charloom.kernels.library import FOLDER, library
from charloom.text.vocabulary import Vocabulary

from ..browser import needs_chromium
from ..engines.cases import SHORT_CASES
from .pages import as_stored, model_of, page

api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(
        library() is None or not (FOLDER / "charloom.wasm").is_file(),
        reason="the kernels are not built: python tools/build_kernels.py, and --target wasm",
    ),
]

SEED = 2**40 + 11
ARABIC = "كان يا ما كان في قديم الزمان"
CHINESE = "天地玄黄宇宙洪荒日月盈昃辰宿列张"


class Opened:
    """A page that was opened from disk, what it logged, and what it asked the network for."""

    def __init__(self, browser, path, *, fragment="", **options):
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.messages, self.requests = [], []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + fragment)
        api.expect(self.page.locator("#write")).to_be_enabled(timeout=30_000)

    def status(self, pattern):
        api.expect(self.page.locator("#status")).to_have_text(re.compile(pattern), timeout=30_000)

    def write(self, **fields):
        self.page.locator("details").evaluate("element => { element.open = true; }")
        for name, value in fields.items():
            field = self.page.locator(f"#{name.replace('_', '-')}")
            if name == "temperature":
                field.evaluate(
                    "(e, v) => { e.step = 'any'; e.value = v; e.dispatchEvent(new Event('input')); }", value
                )
            else:
                field.fill(str(value))
        self.page.click("#write")
        self.status(r"characters")
        return self.text()

    def text(self):
        """The text that was written, without its beginning."""
        return self.page.locator("#text").evaluate("element => element.lastChild.data")

    def choose(self, number):
        """Open the choices at the place of the keyboard, and take one by its number; returns their names."""
        self.page.keyboard.press("Enter")
        options = self.page.locator("#choices [role=option]")
        api.expect(options.first).to_be_visible()
        names = options.locator("bdi").all_text_contents()
        options.nth(number).click()
        return names


@pytest.fixture
def opened(browser, tmp_path):
    pages = []

    def open_page(html, **options):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        pages.append(Opened(browser, path, **options))
        return pages[-1]

    yield open_page
    for one in pages:
        assert one.messages == []
        assert [url for url in one.requests if not url.startswith(("file:", "blob:"))] == []
        one.context.close()


def written(model, prompt, precision="float32", **settings):
    """What Python writes from the same weights, in the portable order."""
    bound = load_engine("fused").model(
        model.parameters, model.model_config, precision=precision, portable=True
    )
    config = SampleConfig(**settings)
    (found,) = sample(bound, model.vocab, [model.vocab.encode(prompt)], config, seed=SEED)
    return found.text


@pytest.mark.parametrize("name", SHORT_CASES)
def test_a_page_writes_pythons_text(name, rng, opened):
    model = model_of(SHORT_CASES[name], rng)
    text = opened(page(model)).write(prompt="abc", temperature=1.1, length=300, seed=SEED)
    assert text == written(as_stored(model, "float16"), "abc", temperature=1.1, length=300)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_precision_and_filter_writes_pythons_text(precision, rng, opened):
    config = ModelConfig(cell="lstm", hidden_size=48, num_layers=2, embedding_size=12)
    model = model_of(config, rng)
    settings = {"temperature": 0.9, "top_k": 5, "top_p": 0.93, "min_p": 0.02, "length": 700}
    text = opened(page(model, precision)).write(prompt="", seed=SEED, **settings)
    kind = "int8" if precision == "int8" else "float32"
    assert text == written(model, "a", kind, **settings)  # an empty prompt is the first character


def test_greedy_text_and_a_page_of_bytes(rng, opened):
    vocab = Vocabulary("byte", tuple(range(256)))
    model = model_of(ModelConfig(cell="gru", hidden_size=24), rng, vocab=vocab)
    shown = opened(page(model, "float32"))
    assert shown.write(prompt="é", temperature=0, length=50, seed=1) == written(
        model, "é", temperature=0, length=50
    )
    assert shown.write(prompt="é", temperature=1, length=400, seed=SEED) == written(
        model, "é", temperature=1, length=400
    )
    shown.page.click("#continue")
    shown.status("^800 characters")
    assert shown.text() == written(model, "é", temperature=1, length=800)


LINES = Vocabulary("char", Vocabulary.from_text("abcdef").symbols, ("<unk>", "<boundary>"))


def test_a_document_ends_the_text_and_unknown_is_never_written(rng, opened):
    model = model_of(ModelConfig(hidden_size=9), rng, vocab=LINES)
    shown = opened(page(model, "float32"))
    text = shown.write(prompt="ab", temperature=1, length=500, seed=SEED)
    shown.status("The model ended the text")
    config = SampleConfig(length=500)
    bound = load_engine("fused").model(model.parameters, model.model_config, portable=True)
    (expected,) = sample(bound, LINES, [LINES.encode("ab")], config, seed=SEED)
    assert (text, expected.finish_reason) == (expected.text, "boundary")
    api.expect(shown.page.locator("#continue")).to_be_disabled()


def test_continue_and_a_stop_text(rng, opened):
    model = model_of(ModelConfig(cell="gru", hidden_size=16), rng)
    shown = opened(page(model, "float32"))
    shown.write(prompt="abc", temperature=1, length=100, seed=SEED)
    shown.page.click("#continue")
    shown.status("^200 characters")
    whole = written(model, "abc", temperature=1, length=200)
    assert shown.text() == whole
    stop = whole[60:63]
    shown.write(prompt="abc", temperature=1, length=200, seed=SEED, stop_text=stop)
    shown.status("stop text")
    assert shown.text() == whole[: whole.index(stop)]


def test_another_character_can_be_chosen_and_the_text_goes_on_from_there(rng, opened):
    model = model_of(ModelConfig(cell="lstm", hidden_size=16), rng)
    shown = opened(page(model, "float32"))
    before = shown.write(prompt="abc", temperature=1, length=1500, seed=SEED)
    shown.page.locator("#text").focus()
    for _ in range(8):
        shown.page.keyboard.press("ArrowRight")
    at = 7
    bound = load_engine("fused").model(model.parameters, model.model_config, portable=True)
    ids = model.vocab.encode("abc" + before[:at])[None].astype(np.int64)
    logits = bound.forward(ids, bound.initial_state(1))[0][0, -1]
    likeliest = np.argsort(-logits, kind="stable")
    names = shown.choose(1)
    assert names == [chr(model.vocab.symbols[i]) for i in likeliest[:8]]
    shown.status("^1,508 characters")
    after = shown.text()
    assert after[: at + 1] == before[:at] + names[1]
    # the draws are those of the places: what follows is written as if the prompt had been this text
    decoded = replay(model, "abc" + after[: at + 1], at + 1, len(after) - at - 1)
    assert after[at + 1 :] == decoded


def test_choices_are_of_the_character_that_is_marked(rng, opened):
    shown = opened(page(model_of(ModelConfig(cell="gru", hidden_size=8), rng)))
    shown.write(prompt="a", temperature=1, length=50, seed=SEED)
    text, choices = shown.page.locator("#text"), shown.page.locator("#choices")
    text.focus()
    shown.page.keyboard.press("ArrowRight")
    api.expect(choices).to_be_visible()
    # those of the first are gone before those of the second have come
    moved = """element => {
        element.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        return document.getElementById("choices").hidden;
    }"""
    assert text.evaluate(moved)
    api.expect(choices).to_be_visible()
    first = choices.evaluate_handle("element => element.firstElementChild")
    shown.page.keyboard.press(
        "Enter"
    )  # they are not asked for again, so the focus stays where the reader moves it
    assert shown.page.evaluate("document.activeElement.role") == "option"
    shown.page.wait_for_timeout(200)
    assert first.evaluate("element => element.isConnected")


def replay(model, text, position, length):
    """The text after `text`, whose next draw is the one of `position`."""
    from charloom.engines import SamplingParams
    from charloom.generation.prefill import prefill_batch

    bound = load_engine("fused").model(model.parameters, model.model_config, portable=True)
    begun = prefill_batch(bound, [model.vocab.encode(text).astype(np.int64)], [0], 0)
    begun = replace(begun, positions=np.array([position], np.int64))
    output = bound.decode(begun, SamplingParams(seed=SEED, temperature=1.0), length)
    return model.vocab.decode(output.ids[0])


def test_what_cannot_be_used_is_said_at_its_field(rng, opened):
    shown = opened(page(model_of(ModelConfig(hidden_size=5), rng)))
    shown.page.fill("#prompt", "abc?ü")
    shown.page.click("#write")
    shown.status(r"does not know: \? ü")
    assert shown.page.evaluate("document.activeElement.id") == "prompt"
    shown.page.fill("#prompt", "abc")
    shown.page.locator("summary").click()
    shown.page.fill("#seed", "18446744073709551616")
    shown.page.click("#write")
    shown.status("below 2⁶⁴")
    shown.page.fill("#seed", "1")
    shown.page.fill("#top-p", "2")
    shown.page.click("#write")
    shown.status("^Top-p")


def test_a_link_holds_the_settings_and_writes_at_once(rng, opened):
    model = model_of(ModelConfig(cell="gru", hidden_size=16), rng)
    fragment = f"#prompt=abc&temperature=0.9&seed={SEED}&length=120&top_k=3"
    shown = opened(page(model, "float32"), fragment=fragment)
    shown.status("^120 characters")
    assert shown.text() == written(model, "abc", temperature=0.9, length=120, top_k=3)
    hostile = opened(
        page(model), fragment="#prompt=%3Cimg%20src=x%20onerror=alert(1)%3E&seed=-1&length=x&temperature=z"
    )
    hostile.status("does not know|seed|Characters")
    assert hostile.page.locator("#text img").count() == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}],
    ids=["light", "dark", "phone"],
)
@pytest.mark.parametrize(
    "text", ["the cat sat on the mat", ARABIC, CHINESE], ids=["english", "arabic", "chinese"]
)
def test_a_page_is_accessible_and_fits_its_window(text, options, rng, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    vocab = Vocabulary.from_text(text)
    model = model_of(ModelConfig(hidden_size=12), rng, vocab=vocab)
    html = page(model, title=text, prompt=text[:3], facts=(("held-out text", "2.1 bits/char"),))
    shown = opened(html, bypass_csp=True, **options)
    shown.write(temperature=1, length=200)
    shown.page.check("#tint")
    shown.page.locator("#text").focus()
    shown.page.keyboard.press("ArrowRight")
    api.expect(shown.page.locator("#choices")).to_be_visible()
    found = axe.Axe().run(shown.page)
    assert found.violations_count == 0, found.generate_report()
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    direction = shown.page.locator("#text").evaluate("element => getComputedStyle(element).direction")
    assert direction == ("rtl" if text == ARABIC else "ltr")


def test_a_damaged_page_says_so(rng, browser, tmp_path):
    html = page(model_of(ModelConfig(hidden_size=4), rng))
    damaged = re.sub(r'(id="weights">).{40}', r"\1" + "A" * 40, html)
    path = tmp_path / "page.html"
    path.write_text(damaged, encoding="utf-8")
    context = browser.new_context(offline=True)
    shown = context.new_page()
    shown.goto(path.as_uri())
    api.expect(shown.locator("#status")).to_have_text(re.compile("cannot write here"), timeout=30_000)
    context.close()


def test_the_prompt_is_cleaned_as_the_training_text_was(rng, opened):
    vocab = Vocabulary.from_text("é\n'abc")
    config = TextConfig(replace_chars="U+2019='")
    model = model_of(ModelConfig(hidden_size=8), rng, vocab=vocab, text_config=config)
    shown = opened(page(model, "float32"))
    text = shown.write(prompt="e\u0301’a", temperature=1, length=60, seed=SEED)
    assert text == written(model, "é'a", temperature=1, length=60)


HOSTILE = [
    "</script><script>window.injected = 1</script>",
    "<img src=x onerror=window.injected=1>",
    "'\"`${window.injected=1}",
    "\u202e\u2066\u2069\u200f",
    "\0\x01\x1b[31m\x7f\u2028\u2029\u0085",
    "\ufeff\ufffe\U0001f469\u200d\U0001f4bb\U000e0041e\u0301",
]
STRICT = "sandbox allow-scripts allow-forms; frame-ancestors 'none'"


def test_a_hostile_vocabulary_is_only_text_under_the_strictest_policy(rng, browser):
    """The page's own policy, and what only a server can add to it: a sandbox without an origin; no string becomes code."""
    vocab, everything = Vocabulary.from_text("".join(HOSTILE) + "ab"), "".join(HOSTILE)
    model = model_of(
        ModelConfig(hidden_size=12), rng, vocab=vocab, text_config=TextConfig(normalization="none")
    )
    html = page(model, title=everything, prompt="ab", facts=((everything, everything),))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html).group(1)
    context = browser.new_context()
    tab, messages, asked = context.new_page(), [], []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("dialog", lambda dialog: messages.append(dialog.message))
    tab.on("request", lambda request: asked.append(request.url))
    headers = {"Content-Security-Policy": f"{policy}; {STRICT}", "Content-Type": "text/html; charset=utf-8"}
    tab.route("http://page.test/", lambda route: route.fulfill(body=html, headers=headers))
    tab.goto("http://page.test/")
    api.expect(tab.locator("#write")).to_be_enabled(timeout=30_000)
    tab.locator("details").evaluate("element => { element.open = true; }")
    tab.locator("#length").fill("400")
    tab.locator("#seed").fill(str(SEED))
    tab.click("#write")
    api.expect(tab.locator("#status")).to_have_text(re.compile("characters"), timeout=30_000)
    shown = tab.locator("#text").evaluate("element => element.lastChild.data")
    assert len(shown) >= 300
    assert len(set(shown)) > len(vocab) // 2
    assert tab.evaluate("window.injected") is None
    assert tab.locator("#text img, #text script, #text b").count() == 0
    assert messages == []
    assert [url for url in asked if not url.startswith(("http://page.test/", "blob:"))] == []
    context.close()
