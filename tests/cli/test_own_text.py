"""Texts as users have them, from the command line to the run folder."""

import codecs
import os
import sys

import pytest

from charloom.runs import Run

from .conftest import TINY

TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 60
SHORT = [*TINY, "--cell", "gru", "--num-layers", "1", "--steps", "2", "--engine", "scratch"]
NAME = os.fsdecode(b"caf\xe9.txt")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(TEXT, "utf-8")
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no file names that are not UTF-8")
def test_a_file_name_that_is_not_utf_8_goes_all_the_way(charloom, here):
    (here / NAME).write_text(TEXT, "utf-8")
    out = os.fsdecode(b"r\xe9")
    assert charloom(["train", NAME, *SHORT, "--out", out, "--val", NAME]).code == 0
    assert Run.open(here / out).config()["corpus"]["sources"] == [str(here / NAME)]
    for words in (["eval", out], ["info", out, "--json"], ["train", "--resume", out, "--steps", "+1"]):
        assert charloom(words).code == 0
    assert charloom(["train", "t.txt", *SHORT, "--recipe", out, "--out", "again"]).code == 0


@pytest.mark.parametrize(
    "failing", ["charloom.training.loop.initial_parameters", "charloom.training.loop.RunRecorder"]
)
def test_a_start_that_fails_leaves_no_folder(charloom, here, monkeypatch, failing):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(failing, fail)
    assert charloom(["train", "t.txt", *SHORT]).code == 1
    assert [path.name for path in here.iterdir()] == ["t.txt"]


def test_training_on_a_folder_twice_reads_the_same_text(charloom, here):
    assert charloom(["train", ".", *SHORT, "--out", "runs/a"]).code == 0
    result = charloom(["train", ".", *SHORT, "--out", "runs/b"])
    assert "left out run folders (runs/a)" in result.err
    first, second = (Run.open(here / "runs" / name).config()["corpus"]["sha256"] for name in "ab")
    assert first == second
    assert charloom("train --resume runs/a --steps +1").code == 0


def test_a_recipe_from_notepad_is_read(charloom, here):
    (here / "mine.toml").write_bytes(codecs.BOM_UTF8 + b'cell = "gru"\r\nsteps = 1\r\n')
    assert charloom(["train", "t.txt", *TINY, "--recipe", "mine.toml", "--out", "r"]).code == 0


def test_a_column_of_a_table_is_trained_on(charloom, here):
    rows = "".join(f'{number},"the cat, ""{number}"""\r\n' for number in range(40))
    (here / "a.csv").write_text("id,text\r\n" + rows + "41,\r\n", "utf-8", newline="")
    result = charloom(["train", "a.csv", "--column", "text", *SHORT, "--out", "r"])
    assert result.code == 0
    assert "a.csv (column text): 1 empty row left out" in result.err
    assert Run.open(here / "r").config()["text"]["documents"] == "file"
    assert charloom("eval r a.csv").code == 0
    assert charloom(["prepare", "a.csv", "--column", "text", "--out", "a.ids"]).code == 0
    assert charloom(["train", "a.ids", *SHORT, "--out", "s"]).code == 0


def test_a_replaced_character_is_replaced_in_prompts_too(charloom, here):
    (here / "f.txt").write_text(TEXT + "Zo\ufffdë\ufffd\ufffd\ufffd\ufffd\n", "utf-8")
    refused = charloom(["train", "f.txt", *SHORT, "--out", "r"])
    assert refused.code == 1
    assert "U+FFFD 5 times, first in line 61 of f.txt" in refused.err
    assert "--replace-chars U+FFFD=" in refused.err
    assert charloom(["train", "f.txt", *SHORT, "--out", "r", "--replace-chars", "U+FFFD="]).code == 0
    assert charloom(["sample", "r", "--prompt", "Z\ufffdë", "--length", "3"]).code == 0


def test_the_separator_is_kept_where_it_is_asked_for(charloom, here):
    (here / "g.txt").write_text('[Event "a"]\ne4\n\n[Event "b"]\nd4\n' * 20, "utf-8")
    words = ["--documents", r"\n\n[Event ", "--keep-separator", "begin"]
    assert charloom(["train", "g.txt", *words, *SHORT, "--out", "r"]).code == 0
    result = charloom(
        ["train", "g.txt", "--documents", r"\newpage", "--val-fraction", "0", *SHORT, "--out", "s"]
    )
    assert r"'\newpage' does not occur in the text: \n is a newline" in result.err


def test_a_model_of_raw_bytes_knows_its_training_text(charloom, here):
    (here / "b.bin").write_bytes((TEXT.encode() + b"caf\xe9\r\n") * 2)
    assert charloom(["train", "b.bin", "--unit", "byte", *SHORT, "--out", "r"]).code == 0
    for model in ("r", "r/model.safetensors"):
        assert "this is training text of the model" in charloom(["score", model, "b.bin"]).out
    assert charloom("train --resume r --steps +1").code == 0
    assert charloom("eval r b.bin").code == 0
    assert charloom(["explain", "b.bin", "--unit", "byte", *SHORT]).code == 0


def test_a_table_is_read_from_a_pipe(charloom, here):
    rows = "".join(f'{{"text": "the cat {number}"}}\n' for number in range(40))
    words = ["train", "-", "--column", "text", *SHORT, "--out", "r"]
    assert charloom(words, stdin=rows.encode()).code == 0
    assert Run.open(here / "r").config()["text"]["column"] == "text"
