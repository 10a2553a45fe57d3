"""A small model, trained once for all tests of the Python API."""

import pytest

import charloom
from tests.training.small import bigram_source, bigram_text

TEXT = bigram_text(bigram_source(), 3000)
SETTINGS = {
    "cell": "lstm",
    "hidden_size": 8,
    "num_layers": 2,
    "embedding_size": 4,
    "batch_size": 4,
    "bptt_length": 8,
    "steps": 30,
    "threads": 1,
    "device": "cpu",
}
FLOAT32 = 1e-5  # rounding: the same pass in other shapes


@pytest.fixture(scope="package")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tales.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def model(corpus_file, tmp_path_factory):
    return charloom.train(corpus_file, out=tmp_path_factory.mktemp("runs") / "run", **SETTINGS)
