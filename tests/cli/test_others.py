"""``charloom doctor``, ``demo``, ``prepare`` and ``corpus``."""

import pytest

from charloom import checks
from charloom.checks import Check
from charloom.cli.demo import COPY_CHARS, KNOWN_WORDS, Judged, choose
from charloom.text import catalogue, readings


def test_doctor(charloom):
    done = charloom("doctor --json")
    names = [check["name"] for check in done.json["checks"]]
    assert len(names) == len(set(names)) == 10
    assert done.json["healthy"] == (done.code == 0)
    listed = charloom("doctor").out
    assert all(name in listed for name in names)


def test_doctor_fails_only_where_a_check_fails(charloom, monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", (lambda: Check("disk", "warn", "little room", "make room"),))
    assert charloom("doctor").code == 0
    monkeypatch.setattr(checks, "CHECKS", (lambda: Check("python", "fail", "2.7", "install another"),))
    done = charloom("doctor")
    assert done.code == 1
    assert "fix: install another" in done.out


def test_demo(charloom, place, monkeypatch):
    text = readings.builtin_text()[:8000]
    monkeypatch.setattr("charloom.text.corpus.builtin_text", lambda: text)
    result = charloom("demo --minutes 0.02 --out run --json").json
    sample = result["sample"]
    assert 0 <= sample["known_word_share"] <= 1
    assert sample["longest_copy_chars"] >= 0
    assert len(sample["text"]) == 400
    assert {"run", "val_bits_per_char", "ngram_bits_per_char"} <= set(result)


def test_the_demo_shows_the_first_good_sample_or_else_the_one_with_most_words():
    short = Judged("short", 0, 1, KNOWN_WORDS, COPY_CHARS + 1)
    good = Judged("good", 0, 2, KNOWN_WORDS, COPY_CHARS)
    better = Judged("better", 0, 3, 0.99, 3)
    poor = Judged("poor", 0, 4, 0.1, 0)
    assert choose([short, good, better]) is good
    assert choose([poor, short]) is short


def test_prepare(charloom, place):
    result = charloom("prepare tales.txt --out tales.ids --json").json
    assert {"chars", "bytes", "vocab_size", "bytes_per_s", "peak_rss_bytes", "path"} <= set(result)
    assert result["chars"] == 12_000
    assert charloom("train tales.ids --steps 2 --hidden-size 4 --out run --quiet").code == 0


def test_prepare_from_standard_input(charloom, place):
    piped = charloom("prepare - --out piped.ids --json", (place / "tales.txt").read_bytes()).json
    assert piped["chars"] == 12_000


def test_corpus_list(charloom, tmp_path):
    rows = charloom(["corpus", "list", "--folder", str(tmp_path), "--json"]).json["corpora"]
    assert {row["name"] for row in rows} == set(catalogue.KNOWN)
    assert all(row["path"] is None for row in rows)
    assert "charloom corpus get names" in charloom(["corpus", "list", "--folder", str(tmp_path)]).out


def test_corpus_get_says_plainly_when_there_is_no_network(charloom, tmp_path):
    words = [
        "corpus",
        "get",
        "names",
        "--folder",
        str(tmp_path),
        "--url",
        "http://127.0.0.1:9/names.txt",
        "--json",
    ]
    done = charloom(words)
    assert done.code == 1
    assert done.json["error"]["kind"] == "DownloadError"
    assert "no connection" in done.json["error"]["why"]


def test_corpus_get_names_the_nearest(charloom, tmp_path):
    done = charloom(["corpus", "get", "name", "--folder", str(tmp_path), "--json"])
    assert done.code == 1
    assert "names" in done.json["error"]["fix"]


@pytest.mark.parametrize("verb", ["doctor", "corpus list", "recipes"])
def test_listings_are_plain_where_no_person_reads(charloom, verb):
    assert "\x1b" not in charloom(verb).out
