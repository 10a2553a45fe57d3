"""``charloom sample``: output, prompts, novelty, and safe printing of any text."""

import itertools
import json
import re
from html import unescape
from pathlib import Path

import pytest

from charloom.api import Model
from charloom.cli import output
from charloom.evaluation import COPY_FROM_CHARS, documents_of
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


def test_prompt_from_standard_input_loses_one_newline(charloom, shared_folder):
    sample = charloom("sample runs/tales --prompt - --length 5 --json", b"The two\n\n").json["samples"][0]
    assert sample["prompt"] == "The two\n"


def test_prompt_from_a_file(charloom, workspace):
    (workspace / "prompt.txt").write_bytes(b"The\n")
    sample = charloom("sample runs/tales --prompt-file prompt.txt --length 5 --json").json["samples"][0]
    assert sample["prompt"] == "The"
    assert charloom("sample runs/tales --prompt-file none.txt --json").json["error"]["kind"] == "DataError"


def test_a_prompt_may_begin_with_a_hyphen(charloom, shared_folder):
    sample = charloom(["sample", "runs/tales", "--prompt", "-x", "--length", "5", "--json"]).json["samples"][
        0
    ]
    assert sample["prompt"] == "-x"


def test_stop_texts_may_be_repeated(charloom, shared_folder):
    done = charloom(
        ["sample", "runs/tales", "--length", "400", "--seed", "1", "--stop", "e", "--stop", "t", "--json"]
    )
    sample = done.json["samples"][0]
    assert sample["finish_reason"] == "stop"
    assert not set(sample["text"]) & {"e", "t"}


def test_a_stop_text_means_what_a_user_types_in_a_shell(charloom, workspace):
    (workspace / "cafe.txt").write_text("un café\nà la carte\\d\n" * 60, encoding="utf-8")
    assert charloom("train cafe.txt --steps 3 --hidden-size 4 --out run --quiet").code == 0

    def ends(stop):
        said = ["sample", "run", "--length", "2000", "--seed", "1", "--temperature", "2", "--json"]
        sample = charloom([*said, "--stop", stop]).json["samples"][0]
        return sample["finish_reason"], sample["text"]

    newline = ends("\n")
    assert newline[0] == "stop"
    for same in (r"\n", r"\r\n", "\r\n"):
        assert ends(same) == newline
    assert ends("e\u0301") == ends("é")
    assert ends("é")[0] == "stop"
    assert ends(r"\\")[0] == "stop"
    refused = charloom(["sample", "run", "--stop", "ξ", "--json"])
    assert (refused.code, refused.json["error"]["kind"]) == (1, "UnknownCharacterError")
    assert "can never end a sample" in refused.json["error"]["why"]


def test_a_stop_at_the_end_of_a_line_is_what_a_model_of_lines_does(charloom, shared_folder):
    said = ["sample", "runs/names", "--count", "3", "--seed", "3", "--json"]
    plain, stopped = charloom(said), charloom([*said, "--stop", r"\n"])
    assert [one["text"] for one in stopped.json["samples"]] == [one["text"] for one in plain.json["samples"]]
    assert "every sample ends with its document" in stopped.err


def test_a_newline_typed_into_a_prompt_is_explained(charloom, shared_folder):
    refused = charloom(["sample", "runs/names", "--prompt", r"an\na", "--json"]).json["error"]
    assert "--prompt-file" in refused["fix"]


def test_unknown_characters_can_be_skipped(charloom, shared_folder):
    done = charloom(
        ["sample", "runs/tales", "--prompt", "aξ", "--unknown", "skip", "--length", "5", "--json"]
    )
    assert done.json["samples"][0]["prompt"] == "a"
    assert "left out 'ξ' (U+03BE)" in done.err


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
