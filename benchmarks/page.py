"""An exported page in Chromium, on one core: the speed that the page shows, and its size.

The browser runs on one core (Linux), opens each page from disk without a network and writes a text; the page's own line
tells the speed. The native library writes in turns with it, on one thread, and the ratio is the median over the rounds.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.generation import LARGE, SMALL
from benchmarks.harness import median_ratio, rounded, write_results
from benchmarks.wasm import native_speed
from charloom.config import ModelConfig, TextConfig
from charloom.engines.fused.model import FusedModel
from charloom.modelfile import ModelFile
from charloom.page import PageText, page_of
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary
from tests.browser import CHROMIUM

ROUNDS = 5
CASES: tuple[tuple[str, ModelConfig, int, int], ...] = (
    ("LSTM 1×128", SMALL, 100_000, 30_000),
    ("LSTM 2×512", LARGE, 5_000, 2_000),
)
"""Name, network, characters that a page writes, and the speed that it must reach."""

PRECISIONS = ("float16", "int8", "float32")
SPEED = re.compile(r"([\d,]+) characters per second")
LETTERS = string.ascii_letters + string.digits + " \n" + string.punctuation[:19]


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser whose processes share one core, where the system can say so."""
    from playwright.sync_api import sync_playwright

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with sync_playwright() as playwright:
        if before is not None:
            os.sched_setaffinity(0, {max(before)})
        try:
            quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)
        yield browser
        browser.close()


def page_speed(browser: Any, path: Path, length: int) -> float:
    """Open a page, write a text and return the characters per second that the page shows."""
    from playwright.sync_api import expect

    page = browser.new_context(offline=True).new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("#write:not([disabled])", timeout=60_000)
    page.locator("details").evaluate("element => { element.open = true; }")
    page.fill("#length", str(length))
    page.click("#write")
    expect(page.locator("#status")).to_contain_text("characters per second", timeout=300_000)
    found = SPEED.search(page.inner_text("#status"))
    page.context.close()
    assert found is not None
    return float(found[1].replace(",", ""))


def measure(
    browser: Any, title: str, config: ModelConfig, length: int, must: int, folder: Path
) -> list[dict[str, Any]]:
    """The rows of one network, a page for each precision, in turns with the native library."""
    vocab = Vocabulary.from_text(LETTERS)
    params = initial_parameters(config, len(vocab), 0)
    model = ModelFile(params, config, TextConfig(), vocab)
    native = FusedModel(params, config, threads=1)
    paths = {precision: folder / f"{len(params)}-{precision}.html" for precision in PRECISIONS}
    for precision, path in paths.items():
        path.write_text(page_of(model, PageText(title=title), precision=precision), encoding="utf-8")
    speeds: dict[str, list[float]] = {"native": [], **{precision: [] for precision in PRECISIONS}}
    for _ in range(ROUNDS):
        speeds["native"].append(native_speed(native, "float32"))
        for precision, path in paths.items():
            speeds[precision].append(page_speed(browser, path, length))
    rows = []
    for precision, path in paths.items():
        median = statistics.median(speeds[precision])
        row = {
            "model": title,
            "precision": precision,
            "page_mb": rounded(path.stat().st_size / 1e6),
            "chars_per_s": round(median),
            "to_native_float32": rounded(median_ratio(speeds[precision], speeds["native"])),
            "reached": median >= must,
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Measure, print and write ``results/page.json``."""
    if CHROMIUM is None:
        raise SystemExit("chromium is not installed, and it opens the pages")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        version = browser.version
        for title, config, length, must in CASES:
            rows += measure(browser, title, config, length, must, Path(name))
    print(write_results("page", {"rounds": ROUNDS, "chromium": version, "rows": rows}))


if __name__ == "__main__":
    main()
