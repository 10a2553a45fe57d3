"""A published system small enough for a test: E's recipe on a thousand characters of a known source."""

import dataclasses

import pytest

from charloom.reproduce import systems as all_systems
from charloom.text.readings import builtin_text


@pytest.fixture
def short_text(tmp_path, monkeypatch):
    """Every system reads this file instead of its corpus."""
    path = tmp_path / "short.txt"
    path.write_text(builtin_text()[:3000], encoding="utf-8")
    for room in ("rehearse", "best"):
        monkeypatch.setattr(f"charloom.reproduce.{room}.corpus_path", lambda _: path)
    return path


@pytest.fixture
def elman():
    return dataclasses.replace(all_systems()["moliere-elman"], train_time_s=1.0)
