"""The arithmetic of the training benchmark."""

import json

import pytest

from benchmarks import training
from charloom.config import ModelConfig
from tests.conftest import ROOT

V = training.V


@pytest.mark.parametrize(
    ("config", "products"),
    [
        (ModelConfig(cell="lstm", hidden_size=512, num_layers=2), 3 * 2048 * 512 + V * 512),
        (ModelConfig(cell="gru", hidden_size=8, embedding_size=4), 24 * 4 + 24 * 8 + V * 8),
        (ModelConfig(cell="mingru", hidden_size=8), V * 8),
        (
            ModelConfig(cell="mingru", block="residual", hidden_size=8),
            24 * 8 + 8 * 12 + 3 * 16 * 8 + V * 8,
        ),
    ],
    ids=lambda x: x.cell if isinstance(x, ModelConfig) else "",
)
def test_only_matrix_products_count(config, products):
    assert training.products_a_char(config) == products


def test_every_case_is_valid_and_those_with_a_plain_program_are_plain():
    for network, batch, window, has_plain in training.CASES.values():
        config = ModelConfig(**network)
        assert batch * window >= 2048
        assert not has_plain or (config.block == "plain" and config.cell in ("lstm", "gru"))


@pytest.mark.parametrize("machine", ["training", "training-amx"])
def test_the_page_shows_the_figures_of_the_file(machine):
    page = (ROOT / "docs" / "explanation" / "training.md").read_text("utf-8")
    results = json.loads((training.RESULTS / f"{machine}.json").read_text("utf-8"))
    for table in training.shown(results):
        assert table in page
