"""Exit code 1: every failure has a what, a why and a fix, in text and as JSON, without a traceback."""

import errno
import lzma
from importlib.util import find_spec

import pytest

from charloom.cli.verbs import VERBS

ARABIC = "كان يا ما كان في قديم الزمان ملك عادل يحب الناس ويحبونه. " * 40


def failure(done):
    assert done.code == 1
    assert "Traceback" not in done.err + done.out
    error = done.json["error"]
    assert set(error) == {"kind", "what", "why", "fix"}
    assert all(error.values())
    return error


def train(charloom, path, *more):
    return charloom(["train", str(path), "--steps", "2", "--out", "run", "--json", *more])


def test_unknown_character_in_the_prompt(charloom, shared_folder):
    error = failure(charloom(["sample", "runs/tales", "--prompt", "aξ", "--json"]))
    assert error["kind"] == "UnknownCharacterError"
    assert "'ξ' (U+03BE)" in error["what"]
    assert "--unknown skip" in error["fix"]


def test_an_unknown_character_with_a_similar_one_has_two_fixes(charloom, workspace):
    (workspace / "plain.txt").write_text("it's a plain text. " * 200, encoding="utf-8")
    assert train(charloom, "plain.txt", "--hidden-size", "4").code == 0
    error = failure(charloom(["sample", "run", "--prompt", "it’s", "--json"]))
    assert "'’' (U+2019)" in error["what"]
    assert error["fix"].endswith("pass --unknown skip or --unknown similar")


def test_wrong_encoding_names_the_byte_and_its_offset(charloom, workspace):
    (workspace / "bad.txt").write_bytes(b"a plain text " * 20 + b"\xff and more")
    error = failure(train(charloom, "bad.txt", "--encoding", "utf-8"))
    assert error["kind"] == "DecodeError"
    assert "260" in error["what"] + error["why"]
    assert "ff" in (error["what"] + error["why"]).lower()


def test_empty_file(charloom, workspace):
    (workspace / "empty.txt").write_bytes(b"")
    error = failure(train(charloom, "empty.txt"))
    assert error["kind"] == "DataError"
    assert "empty.txt is empty" in error["what"]


@pytest.mark.parametrize("text", ["the cat sat on the mat", "the cat sat on the mat\n" * 200])
@pytest.mark.parametrize(
    "words",
    [
        *(["train", "TEXT"], ["train", "tales.txt", "--val", "TEXT"], ["prepare", "TEXT", "--out", "x"]),
        *(["score", "runs/tales", "TEXT"], ["eval", "runs/tales", "TEXT"], ["inspect", "runs/tales", "TEXT"]),
        *(["explain", "TEXT"], ["explain", "runs/tales", "--text", "TEXT"]),
    ],
)
def test_a_sentence_in_place_of_a_file(charloom, shared_folder, words, text):
    done = charloom([*(text if word == "TEXT" else word for word in words), "--json"])
    error = failure(done)
    assert error["kind"] == "DataError"
    assert "looks like the text itself" in error["why"]
    assert "printf %s 'the cat sat on the mat" in error["fix"]
    assert len(error["what"]) < 100


def test_a_sentence_in_place_of_a_prompt_file_or_of_a_model(charloom, shared_folder):
    prompt = failure(charloom(["sample", "runs/tales", "--prompt-file", "the cat", "--json"]))
    assert "--prompt" in prompt["fix"]
    for name in ("the cat " * 40, "the cat"):
        assert failure(charloom(["sample", name, "--json"]))["kind"] in ("DataError", "ModelFileError")


def test_missing_file(charloom, workspace):
    error = failure(train(charloom, "tale.txt"))
    assert "tale.txt" in error["what"]
    assert "tales.txt" in error["fix"] + error["why"]


def test_text_shorter_than_a_window_shrinks_the_batch_with_a_note(charloom, workspace):
    (workspace / "short.txt").write_text(
        "a short text of sixty characters, or a few more than sixty", encoding="utf-8"
    )
    done = train(charloom, "short.txt", "--hidden-size", "4")
    assert done.code == 0
    assert "note: " in done.err
    assert "batch" in done.err


def test_text_too_short_for_anything(charloom, workspace):
    (workspace / "tiny.txt").write_text("a", encoding="utf-8")
    error = failure(train(charloom, "tiny.txt"))
    assert error["kind"] == "DataError"
    assert "1" in error["what"]


def test_vocabulary_too_large(charloom, workspace):
    (workspace / "all.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 20_500))), encoding="utf-8")
    error = failure(train(charloom, "all.txt"))
    assert "20,5" in error["what"]


def test_missing_extra(charloom, workspace, monkeypatch):
    monkeypatch.setattr(
        "charloom.engines.load.find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    error = failure(train(charloom, "tales.txt", "--engine", "torch"))
    assert error["kind"] == "MissingExtraError"
    assert error["fix"] == "pip install 'charloom[train]'"


def test_missing_plot_extra(charloom, shared_folder, monkeypatch, tmp_path):
    monkeypatch.setattr("charloom.plots.figures.find_spec", lambda _: None)
    error = failure(charloom(["compare", "runs/tales", "--plot", str(tmp_path / "a.svg"), "--json"]))
    assert error["fix"] == "pip install 'charloom[plot]'"


@pytest.mark.parametrize("damage", ["cut", "text", "gone", "other"])
def test_corrupt_model(charloom, workspace, damage):
    path = workspace / "runs" / "tales" / "model.safetensors"
    content = path.read_bytes()
    {
        "cut": lambda: path.write_bytes(content[:-100]),
        "text": lambda: path.write_text("no model"),
        "gone": path.unlink,
        "other": lambda: path.write_bytes(lzma.compress(content)),
    }[damage]()
    for verb in ("sample", "eval", "info"):
        error = failure(charloom([verb, "runs/tales", "--json"]))
        assert error["kind"] == "ModelFileError"
        assert "model.safetensors" in error["what"]


def test_missing_run(charloom, shared_folder):
    (shared_folder / "runs").mkdir(exist_ok=True)
    error = failure(charloom("sample runs --json"))
    assert error["kind"] == "RunError"
    error = failure(charloom("train --resume runs/tale --json"))
    assert "runs/tales" in error["fix"]


@pytest.mark.parametrize(("key", "near"), [("hiden_size = 3", "hidden_size"), ("[train]\nstep = 3", "steps")])
def test_wrong_recipe_key(charloom, workspace, key, near):
    (workspace / "mine.toml").write_text(key, encoding="utf-8")
    error = failure(train(charloom, "tales.txt", "--recipe", "mine.toml"))
    assert error["kind"] == "ConfigError"
    assert error["fix"] == f"did you mean {near}?"


def test_unknown_recipe(charloom, shared_folder):
    error = failure(charloom("train tales.txt --recipe nonsense --json"))
    assert "'nonsense'" in error["what"]


def test_unwritable_folder(charloom, workspace):
    (workspace / "blocked").write_text("a file where a folder should be", encoding="utf-8")
    done = charloom("train tales.txt --steps 2 --out blocked/run --json")
    error = failure(done)
    assert error["kind"] == "RunError"
    assert "cannot write blocked/run" in error["what"]
    assert "--out" in error["fix"]


def test_full_disk(charloom, workspace, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("charloom.files.atomic.os.fsync", full)
    error = failure(train(charloom, "tales.txt"))
    assert error["why"] == "No space left on device"


def test_a_run_is_not_overwritten(charloom, shared_folder):
    error = failure(charloom("train tales.txt --steps 2 --out runs/tales --json"))
    assert "--resume runs/tales" in error["fix"]


def test_settings_are_checked_before_any_text_is_read(charloom, workspace):
    error = failure(train(charloom, "no-such-file.txt", "--batch-size", "0"))
    assert error["kind"] == "ConfigError"
    assert error["what"] == "batch_size is 0"


def test_each_of_the_three_parts_has_its_own_line(charloom, shared_folder):
    done = charloom("sample nothing")
    assert done.code == 1
    assert done.out == ""
    first, why, fix = done.err.splitlines()
    assert first.startswith("error: ")
    assert why.startswith("  why: ")
    assert fix.startswith("  fix: ")


def test_debug_shows_the_traceback(charloom, shared_folder):
    done = charloom("sample nothing --debug")
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err


def test_an_unexpected_failure_is_reported_without_a_traceback(charloom, shared_folder, monkeypatch):
    def broken(*args, **settings):
        raise KeyError("surprise")

    monkeypatch.setattr("charloom.api.load", broken)
    error = failure(charloom("sample runs/tales --json"))
    assert error["kind"] == "InternalError"
    assert "KeyError" in error["what"]
    assert "--debug" in error["fix"]


def test_a_hostile_name_cannot_control_the_terminal(charloom, shared_folder):
    assert "\x1b" not in charloom(["info", "\x1b[31mred"]).err


def test_out_of_memory(charloom, shared_folder, monkeypatch):
    def greedy(*args, **settings):
        raise MemoryError

    monkeypatch.setattr("charloom.api.load", greedy)
    assert "--batch-size" in failure(charloom("sample runs/tales --json"))["fix"]


def test_every_verb_can_fail_as_json(charloom, shared_folder):
    for verb in VERBS:
        assert charloom([verb, "--nonsense", "--json"]).json["error"]["kind"] == "UsageError"
