"""A text and a teacher of it, for networks that are taught."""

import pytest

import charloom

TEXT = "the cat sat on the mat, a dog ran to the sea.\n" * 120
TINY = {"cell": "gru", "hidden_size": 8, "batch_size": 4, "bptt_length": 16, "warmup": 0, "engine": "torch"}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def teacher(text, tmp_path):
    charloom.train(text, out=tmp_path / "teacher", steps=30, learning_rate=0.02, quiet=True, **TINY)
    return tmp_path / "teacher"
