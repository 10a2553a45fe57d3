"""A training that is ready to start."""

import pytest

from charloom import jobs

from ..training.small import bigram_source, bigram_text


@pytest.fixture
def job(tmp_path):
    settings = {"hidden_size": 8, "batch_size": 4, "bptt_length": 8, "steps": 4, "threads": 1}
    return jobs.new_job(text=bigram_text(bigram_source(), 2000), out=tmp_path / "run", **settings)
