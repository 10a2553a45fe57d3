"""The GPU benchmark: the page shows the figures of the file."""

import json

from benchmarks import gpu
from tests.conftest import ROOT


def test_the_page_shows_the_figures_of_the_file():
    page = (ROOT / "docs" / "explanation" / "training.md").read_text("utf-8")
    results = json.loads((gpu.RESULTS / "gpu.json").read_text("utf-8"))
    for table in gpu.shown(results):
        assert table in page


def test_only_the_last_row_reaches_the_target():
    rows = json.loads((gpu.RESULTS / "gpu.json").read_text("utf-8"))["target"]["rows"]
    means = [row["windows_256"]["mean"] for row in rows]
    assert [mean <= gpu.TARGET for mean in means] == [False] * (len(means) - 1) + [True]
