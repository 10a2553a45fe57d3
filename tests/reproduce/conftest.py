"""A published system small enough for a test: E's recipe on the first 3,000 characters of the built-in text."""

import dataclasses

import pytest

from charloom.reproduce import systems as all_systems
from charloom.text.inputs import builtin_text


@pytest.fixture
def short_text(tmp_path, monkeypatch):
    """Make every system read this file instead of its corpus."""
    path = tmp_path / "short.txt"
    path.write_text(builtin_text()[:3000], encoding="utf-8")
    for module in ("train", "best"):
        monkeypatch.setattr(f"charloom.reproduce.{module}.corpus_path", lambda _: path)
    return path


@pytest.fixture
def elman():
    return dataclasses.replace(all_systems()["moliere-elman"], train_time_s=1.0)
