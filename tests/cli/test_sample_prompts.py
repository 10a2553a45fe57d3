"""The prompts and stop texts of ``charloom sample``."""


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
