"""``charloom sample``: what is printed where, and that text stays text."""

import json

import pytest

from charloom.cli.sample import documents_of
from charloom.generation import visible
from charloom.generation.writer import Writing


def test_json(charloom, room):
    done = charloom("sample runs/tales --prompt The --length 30 --count 2 --seed 5 --json")
    result = done.json
    assert done.code == 0
    assert result["schema"] == 1
    assert result["engine"] == "fused"
    assert result["chars_per_s"] > 0
    first, second = result["samples"]
    assert set(first) == {"prompt", "text", "finish_reason", "seed"}
    assert (first["prompt"], len(first["text"]), first["finish_reason"], first["seed"]) == (
        "The",
        30,
        "length",
        5,
    )
    assert first["text"] != second["text"]


def test_every_engine_writes_the_same_greedy_text(charloom, room):
    said = "sample runs/tales --prompt The --length 60 --temperature 0 --json --engine "
    done = [charloom(said + engine).json for engine in ("fused", "scratch", "torch")]
    assert [one["engine"] for one in done] == ["fused", "scratch", "torch"]
    assert len({one["samples"][0]["text"] for one in done}) == 1


def test_log_probabilities_come_with_json(charloom, room):
    said = "sample runs/tales --length 20 --seed 5 --temperature 0.3 --logprobs"
    fused, scratch = (
        charloom(f"{said} --json --engine {e}").json["samples"][0] for e in ("fused", "scratch")
    )
    assert len(fused["logprobs_nats"]) == 20
    assert fused["text"] == scratch["text"]
    assert fused["logprobs_nats"] == pytest.approx(scratch["logprobs_nats"], abs=1e-4)  # float32
    assert charloom(said).code == 2


def test_bytes_and_threads_are_the_fused_engines(charloom, room):
    for setting in ("--precision int8", "--threads 2"):
        assert (
            len(charloom(f"sample runs/tales --length 20 {setting} --json").json["samples"][0]["text"]) == 20
        )
        refused = charloom(f"sample runs/tales {setting} --engine scratch")
        assert refused.code == 1
        assert "--engine fused" in refused.err


def test_text_is_prompt_and_continuation(charloom, room):
    text = charloom("sample runs/tales --prompt The --length 30 --seed 5 --json").json["samples"][0]["text"]
    done = charloom("sample runs/tales --prompt The --length 30 --seed 5")
    assert done.out == f"The{text}\n"
    assert done.err == ""


def test_a_seed_that_was_not_given_is_printed_and_repeats_the_text(charloom, room):
    done = charloom("sample runs/tales --length 30")
    seed = done.err.strip().removeprefix("seed: ")
    assert charloom(f"sample runs/tales --length 30 --seed {seed}").out == done.out


def test_streaming_prints_the_same_text(charloom, room):
    whole = charloom("sample runs/tales --prompt The --length 40 --seed 3").out
    assert charloom("sample runs/tales --prompt The --length 40 --seed 3 --stream").out == whole


def test_several_samples_are_told_apart(charloom, room):
    out = charloom("sample runs/tales --length 20 --count 2 --seed 3").out
    assert "=== sample 1 of 2 ===" in out
    assert "\n\n=== sample 2 of 2 ===" in out


def test_documents_are_one_a_line_and_the_unseen_share_is_told(charloom, room):
    done = charloom("sample runs/names --count 5 --seed 3")
    assert len(done.out.splitlines()) == 5
    assert "===" not in done.out
    assert "do not stand among the training documents" in done.err
    share = charloom("sample runs/names --count 5 --seed 3 --json").json["unseen_share"]
    assert 0 <= share <= 1


def test_the_training_documents_are_those_of_the_text(room):
    import charloom as package

    corpus = package.load("runs/names").corpus()
    names = (room / "names.txt").read_text("utf-8").split("\n")
    documents = documents_of(corpus)
    assert documents == names[: len(documents)] or documents[:-1] == names[: len(documents) - 1]
    assert len(documents) >= 0.85 * len(names)


def test_prompt_from_standard_input_loses_one_newline(charloom, room):
    sample = charloom("sample runs/tales --prompt - --length 5 --json", b"The two\n\n").json["samples"][0]
    assert sample["prompt"] == "The two\n"


def test_prompt_from_a_file(charloom, place):
    (place / "prompt.txt").write_bytes(b"The\n")
    sample = charloom("sample runs/tales --prompt-file prompt.txt --length 5 --json").json["samples"][0]
    assert sample["prompt"] == "The"
    assert charloom("sample runs/tales --prompt-file none.txt --json").json["error"]["kind"] == "DataError"


def test_a_prompt_may_begin_with_a_hyphen(charloom, room):
    sample = charloom(["sample", "runs/tales", "--prompt", "-x", "--length", "5", "--json"]).json["samples"][
        0
    ]
    assert sample["prompt"] == "-x"


def test_stop_texts_may_be_repeated(charloom, room):
    done = charloom(
        ["sample", "runs/tales", "--length", "400", "--seed", "1", "--stop", "e", "--stop", "t", "--json"]
    )
    sample = done.json["samples"][0]
    assert sample["finish_reason"] == "stop"
    assert not set(sample["text"]) & {"e", "t"}


def test_unknown_characters_can_be_skipped(charloom, room):
    done = charloom(
        ["sample", "runs/tales", "--prompt", "aξ", "--unknown", "skip", "--length", "5", "--json"]
    )
    assert done.json["samples"][0]["prompt"] == "a"
    assert "left out 'ξ' (U+03BE)" in done.err


def test_html(charloom, room, tmp_path):
    page = tmp_path / "page.html"
    done = charloom(["sample", "runs/tales", "--length", "20", "--seed", "1", "--html", str(page)])
    assert done.out == f"wrote {page}\n"
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_control_characters_are_shown_and_not_obeyed(charloom, place):
    (place / "bells.txt").write_text(
        "\x1b[31ma red rose and a white one in the dark \x07" * 100, encoding="utf-8"
    )
    assert charloom("train bells.txt --steps 3 --hidden-size 4 --out run --quiet").code == 0
    done = charloom("sample run --length 60 --seed 1")
    assert not set(done.out) & {"\x1b", "\x07"}
    text = charloom("sample run --length 60 --seed 1 --json").json["samples"][0]["text"]
    assert set(text) & {"\x1b", "\x07"}  # JSON holds what was written


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_keeps_what_was_written(charloom, room, monkeypatch, as_json):
    advance, count = Writing.__next__, iter(range(20))

    def interrupted(self):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Writing, "__next__", interrupted)
    done = charloom("sample runs/tales --length 0 --seed 2" + " --json" * as_json)
    assert done.code == 130
    assert "Traceback" not in done.err
    if as_json:
        sample = json.loads(done.out)["samples"][0]
        assert sample["finish_reason"] == "interrupted"
        written = sample["text"]
    else:
        written = done.out.removesuffix("\n")
    assert len(written) >= 20  # one character a piece at least
    monkeypatch.setattr(Writing, "__next__", advance)
    whole = charloom(f"sample runs/tales --length {len(written)} --seed 2 --json").json["samples"][0]["text"]
    assert written == (whole if as_json else visible(whole))


def test_several_endless_samples_are_refused(charloom, room):
    assert charloom("sample runs/tales --length 0 --count 2").code == 2
    assert charloom("sample runs/tales --length 0 --count 2 --stop e --json").code == 0


def test_a_seed_of_none_is_drawn_and_printed(charloom, room):
    assert "seed: " in charloom("sample runs/tales --length 3 --seed none").err


def test_a_model_file_samples_without_its_run(charloom, place):
    (place / "runs/tales/model.safetensors").rename(place / "alone.safetensors")
    assert charloom("sample alone.safetensors --length 5 --json").code == 0
