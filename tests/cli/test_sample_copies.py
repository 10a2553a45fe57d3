"""``charloom sample`` with ``--novelty-from``: which passages are copies of the training text."""

import json
import re
from html import unescape

import pytest

from charloom.api import Model
from charloom.cli import output
from charloom.evaluation import COPY_FROM_CHARS
from charloom.generation import visible

NOVELTY = "sample runs/tales --prompt The --length 60 --count 2 --seed 5 --temperature 0.5 --novelty-from 3"


def training_text(run):
    import charloom as package

    corpus = package.load(run).corpus()
    return corpus.vocab.decode(corpus.train)


def copied(sample):
    """The characters of a sample that its JSON reports as copied."""
    inside = {i for s in sample["novelty"]["stretches"] for i in range(s["start"], s["start"] + s["length"])}
    return [char for i, char in enumerate(sample["text"]) if i in inside]


def test_novelty_lists_each_copy_with_its_offsets(charloom, shared_folder):
    result = charloom(NOVELTY + " --json").json
    text = training_text("runs/tales")
    assert any(sample["novelty"]["stretches"] for sample in result["samples"])
    for sample in result["samples"]:
        novelty, written = sample["novelty"], sample["text"]
        assert set(novelty) == {
            "longest_copy_chars",
            "copied_share",
            "from_chars",
            "stretches",
            "match_length_quantiles_chars",
            "match_length_histogram",
        }
        for stretch in novelty["stretches"]:
            own = written[stretch["start"] : stretch["start"] + stretch["length"]]
            assert len(own) == stretch["length"] >= 3
            assert text[stretch["text_offset"] :].startswith(own)
        longest = novelty["longest_copy_chars"]
        assert any(written[i : i + longest] in text for i in range(60 - longest + 1))
        assert not any(written[i : i + longest + 1] in text for i in range(60 - longest))
        assert novelty["copied_share"] == pytest.approx(len(copied(sample)) / 60)
        assert set(novelty["match_length_quantiles_chars"]) == {"0.1", "0.5", "0.9", "0.99"}
        assert sum(one["num_chars"] for one in novelty["match_length_histogram"]) == 60
        last = novelty["match_length_histogram"][-1]
        assert last["from_chars"] <= longest <= last["to_chars"]
    each = [sample["novelty"] for sample in result["samples"]]
    assert sum(one["num_chars"] for one in result["novelty"]["match_length_histogram"]) == 120
    assert result["novelty"]["longest_copy_chars"] == max(one["longest_copy_chars"] for one in each)
    assert result["novelty"]["copied_share"] == pytest.approx(sum(one["copied_share"] for one in each) / 2)
    assert result["novelty"]["from_chars"] == 3
    assert "novelty" not in charloom("sample runs/tales --length 5 --json").json["samples"][0]


def test_without_a_terminal_the_text_is_plain_and_the_copies_are_listed(charloom, shared_folder):
    done, plain = charloom(NOVELTY), charloom(NOVELTY.replace("--novelty-from 3", ""))
    assert done.out == plain.out
    stretches = [
        (sample, s)
        for sample in charloom(NOVELTY + " --json").json["samples"]
        for s in sample["novelty"]["stretches"]
    ]
    *lines, summary, distribution = done.err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[2] for line in lines] == [
        repr(sample["text"][s["start"] : s["start"] + s["length"]]) for sample, s in stretches
    ]
    assert summary.startswith("novelty: of 120 characters generated, ")
    assert " in copies of at least 3 " in summary
    bins = charloom(NOVELTY + " --json").json["novelty"]["match_length_histogram"]
    assert distribution.startswith("longest match ending at each character, by length: 0: ")
    shares = [float(share) for share in re.findall(r": ([\d.]+)%", distribution)]
    assert shares == pytest.approx([100 * one["num_chars"] / 120 for one in bins], abs=0.05)
    assert f", {bins[3]['from_chars']}–{bins[3]['to_chars']}: " in distribution
    assert charloom(NOVELTY + " --quiet").err == ""


def test_copies_in_streamed_text_are_listed_after_it(charloom, shared_folder):
    done = charloom("sample runs/tales --length 60 --seed 5 --temperature 0.5 --novelty-from 3 --stream")
    assert done.err.count("copied: ") == done.err.count(" of sample 1, offset ") > 0


def test_on_a_terminal_copies_are_bold_and_underlined(charloom, shared_folder, monkeypatch):
    plain = charloom(NOVELTY).out
    samples = charloom(NOVELTY + " --json").json["samples"]
    monkeypatch.setattr(output, "is_live", lambda _: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    done = charloom(NOVELTY)
    assert re.sub(r"\x1b\[[0-9;]*m", "", done.out) == plain
    marked = "".join(re.findall(r"\x1b\[1;4m(.*?)\x1b\[0m", done.out, re.DOTALL))
    assert marked == visible("".join(char for sample in samples for char in copied(sample)))
    assert "copied: " not in done.err
    assert "novelty: " in done.err


def test_a_page_marks_copies(charloom, shared_folder, tmp_path):
    page = tmp_path / "page.html"
    done = charloom(f"{NOVELTY} --html {page}")
    marked = re.findall(r"<mark>(.*?)</mark>", page.read_text("utf-8").split("<article>", 1)[1], re.DOTALL)
    samples = charloom(NOVELTY + " --json").json["samples"]
    assert unescape("".join(marked)) == visible("".join(char for s in samples for char in copied(s)))
    assert "in copies of at least 3 characters from the training text" in page.read_text("utf-8")
    assert page.read_text("utf-8").count('<svg role="img" aria-label="Share of the characters by') == 2
    assert "copied: " not in done.err


@pytest.mark.parametrize("missing", ["run", "corpus"])
def test_without_the_corpus_text_is_generated_all_the_same(charloom, workspace, missing):
    plain = charloom(NOVELTY.replace("--novelty-from 3", "")).out
    words = NOVELTY
    if missing == "run":
        (workspace / "runs/tales/model.safetensors").rename(workspace / "alone.safetensors")
        words = words.replace("runs/tales", "alone.safetensors")
    else:
        path = workspace / "runs/tales/config.json"
        config = json.loads(path.read_text("utf-8"))
        config["corpus"]["sources"] = [str(workspace / "moved.txt")]
        path.write_text(json.dumps(config), encoding="utf-8")
    done = charloom(words)
    assert (done.code, done.out) == (0, plain)
    assert done.err.startswith("note: cannot find what was copied: ")
    result = charloom(words + " --json").json
    assert result["novelty"] is None
    assert [sample["novelty"] for sample in result["samples"]] == [None, None]


def test_copies_of_names_stay_within_a_document_and_the_corpus_is_read_once(
    charloom, shared_folder, monkeypatch
):
    readings, corpus = [], Model.corpus
    monkeypatch.setattr(Model, "corpus", lambda self: readings.append(self) or corpus(self))
    result = charloom("sample runs/names --count 9 --seed 3 --novelty-from 2 --json").json
    assert len(readings) == 1
    assert "unseen_share" in result
    text = training_text("runs/names")
    for sample in result["samples"]:
        for stretch in sample["novelty"]["stretches"]:
            start, offset, length = stretch["start"], stretch["text_offset"], stretch["length"]
            assert text[offset : offset + length] == sample["text"][start : start + length]
            assert "\n" not in text[offset : offset + length]


def test_the_shortest_copy_can_be_set(charloom, shared_folder):
    assert charloom("sample runs/tales --novelty-from 0").code == 2
    assert f"[default: {COPY_FROM_CHARS}]" in " ".join(charloom("sample --help").out.split())
    said = charloom("sample runs/tales --length 40 --seed 1 --novelty --json").json
    assert said["novelty"]["from_chars"] == COPY_FROM_CHARS
