"""The text of a run: what came through a pipe or from memory is kept with it, and never asked for again."""

import io
import os
import sys
import threading

import numpy as np
import pytest

import charloom
from charloom import run_corpus
from charloom.config import TextConfig
from charloom.errors import RunError
from charloom.runs import Run
from charloom.text import open_prepared, read_corpus, write_prepared

NAMES = "\n".join(f"{a}{b}{c}" for a in "abcd" for b in "efgh" for c in "ijkl") + "\n"
TINY = {"cell": "gru", "hidden_size": 8, "batch_size": 4, "bptt_length": 8, "steps": 3, "quiet": True}


class Stdin:
    """Standard input of a process: bytes that can be read once."""

    def __init__(self, text):
        self.buffer = io.BytesIO(text.encode())


class Refusing:
    """Standard input that must not be read."""

    @property
    def buffer(self):
        raise AssertionError("standard input was read")


@pytest.fixture
def piped(tmp_path, monkeypatch):
    """A run trained from standard input, which nobody may read afterwards."""

    def train(**settings):
        monkeypatch.setattr(sys, "stdin", Stdin(NAMES))
        charloom.train("-", documents="line", out=tmp_path / "run", **TINY | settings)
        monkeypatch.setattr(sys, "stdin", Refusing())
        return charloom.load(tmp_path / "run")

    return train


def test_a_run_from_a_pipe_never_reads_standard_input_again(piped):
    model = piped()
    assert model.evaluate().loss_nats == pytest.approx(model.card["results"]["val_loss_nats"], rel=1e-5)
    assert len(model.corpus().train) > len(model.corpus().validation) > 0
    charloom.resume(model.run.path, more_steps=2, quiet=True)


def test_sampling_on_the_command_line_leaves_standard_input_alone(piped, monkeypatch, capsys):
    from charloom.cli.run import main

    model = piped()
    assert main(["sample", str(model.run.path), "--count", "3", "--seed", "1"]) == 0
    assert main(["eval", str(model.run.path)]) == 0
    assert "not among the training documents" in capsys.readouterr().err


def test_without_the_text_a_run_from_a_pipe_says_so(piped):
    model = piped(keep_text=False)
    with pytest.raises(RunError, match="came through a pipe and is not kept") as refused:
        model.evaluate()
    assert "--text FILE" in refused.value.fix
    with pytest.raises(RunError, match="came through a pipe"):
        charloom.resume(model.run.path, more_steps=2, quiet=True)


def test_a_large_text_is_not_kept_unless_asked(piped, monkeypatch, capsys):
    monkeypatch.setattr(run_corpus, "KEPT_BYTES", 10)
    model = piped(quiet=False)
    assert not model.run.corpus_path.exists()
    assert "note: the text is not kept in the run" in capsys.readouterr().err


def test_a_text_in_memory_is_kept_and_a_file_only_if_asked(tmp_path):
    charloom.train(text=NAMES, out=tmp_path / "memory", **TINY)
    assert charloom.load(tmp_path / "memory").evaluate().chars > 0
    (tmp_path / "names.txt").write_text(NAMES, encoding="utf-8")
    charloom.train(tmp_path / "names.txt", out=tmp_path / "file", **TINY)
    assert not Run(tmp_path / "file").corpus_path.exists()
    charloom.train(tmp_path / "names.txt", out=tmp_path / "kept", keep_text=True, **TINY)
    (tmp_path / "names.txt").unlink()
    assert charloom.load(tmp_path / "kept").evaluate().chars > 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for_again(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(NAMES, encoding="utf-8"))
    writer.start()
    charloom.train(pipe, out=tmp_path / "run", keep_text=False, **TINY)
    writer.join(10)
    with pytest.raises(RunError, match="came through a pipe"):
        charloom.load(tmp_path / "run").evaluate()


@pytest.mark.parametrize(
    "config",
    [
        TextConfig(),
        TextConfig(documents="line", split="random", val_count=5),
        TextConfig(min_count=3, documents="line"),
        TextConfig(unit="byte", val_fraction=0.0),
    ],
    ids=["stream", "drawn", "rare", "bytes"],
)
def test_a_kept_corpus_is_the_corpus(config, tmp_path):
    (tmp_path / "names.txt").write_text(NAMES + "é", encoding="utf-8")
    corpus = read_corpus([tmp_path / "names.txt"], config)
    write_prepared(corpus, tmp_path / "kept.chars")
    again = open_prepared(tmp_path / "kept.chars")
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, part), getattr(corpus, part))
    for fact in ("name", "vocab", "config", "sha256", "num_chars"):
        assert getattr(again, fact) == getattr(corpus, fact)
