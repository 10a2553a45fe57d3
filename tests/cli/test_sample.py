"""``charloom sample``: output, seeds, several samples, and safe printing of any text."""

import itertools
import json
from pathlib import Path

import pytest

from charloom.evaluation import documents_of
from charloom.generation import visible
from charloom.generation.generate import Generation


def test_json(charloom, shared_folder):
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


def test_every_engine_generates_the_same_greedy_text(charloom, shared_folder):
    said = "sample runs/tales --prompt The --length 60 --temperature 0 --json --engine "
    done = [charloom(said + engine).json for engine in ("fused", "scratch", "torch")]
    assert [one["engine"] for one in done] == ["fused", "scratch", "torch"]
    assert len({one["samples"][0]["text"] for one in done}) == 1


@pytest.mark.parametrize(
    "how",
    [
        *("--engine fused", "--engine scratch", "--engine torch", "--precision int8", "--precision float64"),
        *("--count 3", "--logprobs", "--top-k 3 --top-p 0.9", "--min-p 0.1", "--repetition-penalty 1.2"),
    ],
)
def test_a_temperature_near_zero_is_greedy_however_it_is_computed(charloom, shared_folder, how):
    said = f"sample runs/tales --prompt The --length 40 --json {how} --temperature "
    greedy, tiny = (charloom(said + value).json["samples"] for value in ("0 --seed 1", "1e-40 --seed 2"))
    assert [one["text"] for one in tiny] == [one["text"] for one in greedy]
    assert len({one["text"] for one in tiny}) == 1


def test_log_probabilities_need_json(charloom, shared_folder):
    said = "sample runs/tales --length 20 --seed 5 --temperature 0.3 --logprobs"
    fused, scratch = (
        charloom(f"{said} --json --engine {e}").json["samples"][0] for e in ("fused", "scratch")
    )
    assert len(fused["logprobs_nats"]) == 20
    assert fused["text"] == scratch["text"]
    assert fused["logprobs_nats"] == pytest.approx(scratch["logprobs_nats"], abs=1e-4)  # float32
    assert charloom(said).code == 2


def test_int8_and_threads_need_the_fused_engine(charloom, shared_folder):
    for setting in ("--precision int8", "--threads 2"):
        assert (
            len(charloom(f"sample runs/tales --length 20 {setting} --json").json["samples"][0]["text"]) == 20
        )
        refused = charloom(f"sample runs/tales {setting} --engine scratch")
        assert refused.code == 1
        assert "--engine fused" in refused.err


def test_text_is_prompt_and_continuation(charloom, shared_folder):
    text = charloom("sample runs/tales --prompt The --length 30 --seed 5 --json").json["samples"][0]["text"]
    done = charloom("sample runs/tales --prompt The --length 30 --seed 5")
    assert done.out == f"The{text}\n"
    assert done.err == ""


def test_a_seed_that_was_not_given_is_printed_and_repeats_the_text(charloom, shared_folder):
    done = charloom("sample runs/tales --length 30")
    seed = done.err.strip().removeprefix("seed: ")
    assert charloom(f"sample runs/tales --length 30 --seed {seed}").out == done.out


def test_streaming_prints_the_same_text(charloom, shared_folder):
    whole = charloom("sample runs/tales --prompt The --length 40 --seed 3").out
    assert charloom("sample runs/tales --prompt The --length 40 --seed 3 --stream").out == whole


def test_several_samples_have_headings(charloom, shared_folder):
    out = charloom("sample runs/tales --length 20 --count 2 --seed 3").out
    assert "=== sample 1 of 2 ===" in out
    assert "\n\n=== sample 2 of 2 ===" in out


def test_a_separator_stands_between_samples_instead_of_headings(charloom, shared_folder):
    said = ["sample", "runs/tales", "--length", "60", "--count", "3", "--seed", "3"]
    texts = [one["prompt"] + one["text"] for one in charloom([*said, "--json"]).json["samples"]]
    assert any("\n" in text for text in texts)
    for typed, meant in ((r"\n%%\n", "\n%%\n"), (r"\0", "\0"), (r"\\n", r"\n")):
        done = charloom([*said, "--separator", typed])
        assert done.out == meant.join(texts) + "\n"
    number = sum("e" in text for text in texts)
    assert number > 1
    assert f"{number} of the samples contain the separator" in charloom([*said, "--separator", "e"]).err
    names = charloom("sample runs/names --count 3 --seed 3 --separator ,").out
    assert names.count(",") == 2
    for other in (["--json"], ["--html", "p.html"], ["--out-dir", "d"]):
        assert charloom([*said, "--separator", "x", *other]).code == 2


def test_each_sample_is_written_to_a_file_of_its_own(charloom, workspace):
    said = ["sample", "runs/tales", "--length", "60", "--count", "11", "--seed", "3"]
    texts = [one["prompt"] + one["text"] for one in charloom([*said, "--json"]).json["samples"]]
    done = charloom([*said, "--out-dir", "some/where"])
    assert (done.code, done.out) == (0, "wrote 11 files to some/where\n")
    files = sorted((workspace / "some/where").iterdir())
    assert [file.name for file in files][::10] == ["sample-01.txt", "sample-11.txt"]
    assert [file.read_text("utf-8") for file in files] == texts
    again = charloom([*said, "--out-dir", "some/where", "--json"])
    assert (again.code, again.json["error"]["what"]) == (1, "some/where contains samples")
    result = charloom([*said, "--out-dir", "other", "--json"]).json
    assert result["samples"][4]["file"] == str(Path("other/sample-05.txt"))
    assert charloom([*said[:4], "--stream", "--out-dir", "third"]).code == 2


def test_unique_and_new_samples_are_drawn_until_there_are_enough(charloom, shared_folder):
    names = set((shared_folder / "names.txt").read_text("utf-8").split())
    said = "sample runs/names --count 30 --seed 3 --temperature 0.3 --json"
    plain = [one["text"] for one in charloom(said).json["samples"]]
    unique = [one["text"] for one in charloom(f"{said} --unique").json["samples"]]
    assert len(set(plain)) < 30
    assert len(set(unique)) == len(unique) == 30
    assert unique[: len(set(plain))] == list(dict.fromkeys(plain))  # the first of each, in their order
    new = charloom("sample runs/names --count 30 --seed 3 --new --length 4 --json").json["samples"]
    assert len(new) == 30
    for one in new:
        begins = {name[: len(one["text"])] for name in names}
        assert one["text"] not in (names if one["finish_reason"] == "boundary" else begins)


def test_too_few_different_samples_are_reported(charloom, shared_folder):
    done = charloom("sample runs/names --count 3 --seed 3 --temperature 0 --unique --json")
    assert done.code == 0
    assert len(done.json["samples"]) == 1
    assert "1 of 3 samples: 100 were drawn, 99 were equal to another" in done.err
    assert charloom("sample runs/names --count 2 --unique --stream").code == 2
    assert charloom("sample runs/tales --length 0 --unique").code == 2


def test_without_its_corpus_no_sample_can_be_called_new(charloom, workspace):
    refused = charloom("sample runs/names/model.safetensors --new --json")
    assert (refused.code, refused.json["error"]["kind"]) == (1, "RunError")


def test_documents_are_one_per_line_and_the_unseen_share_is_reported(charloom, shared_folder):
    done = charloom("sample runs/names --count 5 --seed 3")
    assert len(done.out.splitlines()) == 5
    assert "===" not in done.out
    assert "are not among the training documents" in done.err
    share = charloom("sample runs/names --count 5 --seed 3 --json").json["unseen_share"]
    assert 0 <= share <= 1


def test_documents_of_returns_the_training_documents(shared_folder):
    import charloom as package

    corpus = package.load("runs/names").corpus()
    names = (shared_folder / "names.txt").read_text("utf-8").split("\n")
    documents = documents_of(corpus)
    assert documents == names[: len(documents)] or documents[:-1] == names[: len(documents) - 1]
    assert len(documents) >= 0.85 * len(names)


def test_html(charloom, shared_folder, tmp_path):
    page = tmp_path / "page.html"
    done = charloom(["sample", "runs/tales", "--length", "20", "--seed", "1", "--html", str(page)])
    assert done.out == f"wrote {page}\n"
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_control_characters_are_shown_as_signs(charloom, workspace):
    (workspace / "bells.txt").write_text(
        "\x1b[31ma red rose and a white one in the dark \x07" * 100, encoding="utf-8"
    )
    assert charloom("train bells.txt --steps 3 --hidden-size 4 --out run --quiet").code == 0
    done = charloom("sample run --length 60 --seed 1")
    assert not set(done.out) & {"\x1b", "\x07"}
    text = charloom("sample run --length 60 --seed 1 --json").json["samples"][0]["text"]
    assert set(text) & {"\x1b", "\x07"}  # JSON contains the text unchanged


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_keeps_the_generated_text(charloom, shared_folder, monkeypatch, as_json):
    events = Generation.__iter__

    def interrupted(self):
        yield from itertools.islice(events(self), 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "__iter__", interrupted)
    done = charloom("sample runs/tales --length 0 --seed 2" + " --json" * as_json)
    assert done.code == 130
    assert "Traceback" not in done.err
    if as_json:
        sample = json.loads(done.out)["samples"][0]
        assert sample["finish_reason"] == "interrupted"
        written = sample["text"]
    else:
        written = done.out.removesuffix("\n")
    assert len(written) >= 20  # at least one character per piece
    monkeypatch.setattr(Generation, "__iter__", events)
    whole = charloom(f"sample runs/tales --length {len(written)} --seed 2 --json").json["samples"][0]["text"]
    assert written == (whole if as_json else visible(whole))


def test_several_endless_samples_are_refused(charloom, shared_folder):
    assert charloom("sample runs/tales --length 0 --count 2").code == 2
    assert charloom("sample runs/tales --length 0 --count 2 --stop e --json").code == 0


def test_a_seed_of_none_is_drawn_and_printed(charloom, shared_folder):
    assert "seed: " in charloom("sample runs/tales --length 3 --seed none").err


def test_a_model_file_samples_without_its_run(charloom, workspace):
    (workspace / "runs/tales/model.safetensors").rename(workspace / "alone.safetensors")
    assert charloom("sample alone.safetensors --length 5 --json").code == 0
