"""``charloom demo``: the results, and the choice of the sample to show."""

import json

from charloom.cli.demo import COPY_CHARS, KNOWN_WORDS, Candidate, best_candidate
from charloom.text import inputs


def test_demo(charloom, workspace, monkeypatch):
    text = inputs.builtin_text()[:8000]
    monkeypatch.setattr("charloom.text.load.builtin_text", lambda: text)
    result = charloom("demo --minutes 0.02 --out run --json").json
    sample = result["sample"]
    assert 0 <= sample["known_word_share"] <= 1
    assert sample["longest_copy_chars"] >= 0
    assert len(sample["text"]) == 400
    assert {"run", "val_bits_per_char", "ngram_bits_per_char"} <= set(result)


def test_the_demo_prints_its_verdict(charloom, workspace, monkeypatch):
    text = inputs.builtin_text()[:8000]
    monkeypatch.setattr("charloom.text.load.builtin_text", lambda: text)
    said = charloom("demo --minutes 0.02 --out run").out
    verdicts = json.loads((workspace / "run" / "config.json").read_text("utf-8"))["results"]["verdicts"]
    assert verdicts
    for one in verdicts:
        assert f"{one['kind']}: {one['says']}\n  advice: {one['advice']}\n" in said


def test_the_demo_shows_the_first_good_sample_or_the_one_with_most_known_words():
    long_copy = Candidate("long copy", 0, 1, KNOWN_WORDS, COPY_CHARS + 1)
    good = Candidate("good", 0, 2, KNOWN_WORDS, COPY_CHARS)
    better = Candidate("better", 0, 3, 0.99, 3)
    poor = Candidate("poor", 0, 4, 0.1, 0)
    assert best_candidate([long_copy, good, better]) is good
    assert best_candidate([poor, long_copy]) is long_copy
