"""Names that a newer version of charloom has written: kept when a file is written again, and said once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import charloom
from charloom.branching import branch_job
from charloom.checkpoints import read_checkpoint
from charloom.cli import main
from charloom.modelfile import newer_names_of_card, read_model, write_model
from charloom.runs import Run, newer_names
from charloom.schema import Schema, unknown_note
from charloom.schema.documents import Card, LoopRecord, RunConfig
from charloom.training import Started
from tests.golden import __file__ as golden

GOLDEN = Path(golden).parent
TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 100
TINY = {"cell": "gru", "hidden_size": 8, "batch_size": 4, "bptt_length": 16, "steps": 12, "quiet": True}


def unknown(document, value):
    return Schema(document, lambda what, why: ValueError(what, why)).unknown(value)


@pytest.fixture
def run(tmp_path):
    """A run stopped at step 30, whose files have names of a newer version."""
    found = Run(shutil.copytree(GOLDEN / "run-torch", tmp_path / "run"))
    config = found.config()
    config["corpus"]["colour"] = "blue"
    found.write_config(config | {"mood": ["a", 1], "versions": {"charloom": "9.1", "python": "3.11.7"}})
    checkpoint, _ = found.newest_checkpoint()
    shutil.rmtree(found.checkpoint_folder)
    found.checkpoint_folder.mkdir()
    found.write_checkpoint(replace(checkpoint, scalars={**checkpoint.scalars, "weather": {"rain": 2}}))
    return found


def test_names_of_a_newer_version_are_kept_and_said_on_resuming(run):
    notes = []
    charloom.resume(
        run.path,
        text=[GOLDEN / "text.txt"],
        quiet=True,
        on_event=lambda event: notes.extend(event.notes) if isinstance(event, Started) else None,
    )
    config = run.config()
    assert (config["mood"], config["corpus"]["colour"]) == (["a", 1], "blue")
    assert "results" in config  # it was written again
    scalars = read_checkpoint(run.checkpoint_paths()[0]).scalars
    assert scalars["step"] == 60
    assert scalars["weather"] == {"rain": 2}
    (said,) = (note for note in notes if "weather" in note)
    assert (
        said
        == "the checkpoint of step 30 has a name that this version of charloom does not know, and keeps: weather"
    )


def test_a_resume_says_what_the_configuration_has(run, capsys):
    assert main(["train", "--resume", str(run.path), "--text", str(GOLDEN / "text.txt")]) == 0
    err = capsys.readouterr().err
    assert err.count("does not know, and keeps: ") == 2
    assert "does not know, and keeps: corpus.colour, mood (written by charloom 9.1)" in err


def test_info_says_what_a_card_has(tmp_path, capsys):
    file, path = read_model(GOLDEN / "lstm-plain.safetensors"), tmp_path / "model.safetensors"
    results = file.card["results"] | {"taste": 3}
    write_model(path, replace(file, card=file.card | {"results": results, "\x1b[31mred": 1}))
    assert main(["info", str(path)]) == 0
    _, err = capsys.readouterr()
    assert err.count("does not know, and keeps") == 1
    assert "results.taste" in err
    assert "\x1b" not in err
    assert read_model(path).card["results"]["taste"] == 3


def test_what_this_version_writes_has_no_unknown_names(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    charloom.train(tmp_path / "text.txt", out=tmp_path / "run", **TINY)
    run = Run(tmp_path / "run")
    list(branch_job(run.path, out=tmp_path / "branch", more_steps=4, learning_rate=1e-3).events())
    charloom.train(tmp_path / "text.txt", out=tmp_path / "tuned", init_from=run.path, steps=4, quiet=True)
    for name in ("run", "branch", "tuned"):
        one = Run(tmp_path / name)
        assert newer_names(one) == ()
        assert newer_names_of_card(read_model(one.model_path).card, name) == ()
        assert unknown(LoopRecord, read_checkpoint(one.checkpoint_paths()[0]).scalars) == ()


@pytest.mark.parametrize(
    ("document", "value", "expected"),
    [
        (RunConfig, {"a": 1, "model": {"x": 1}, "results": {"facts": {"b": 1}, "c": 2}}, ("a", "results.facts.b", "results.c")),
        (Card, {"results": {"verdicts": [{}, {"d": 1}]}, "sample": {"temperature": 1}}, ("results.verdicts[1].d",)),
        (Card, {"init_from": {"path": "x", "e": 1}}, ("init_from.e",)),
        (Card, {"init_from": None}, ()),
    ],
)  # fmt: skip
def test_unknown_names_are_found_at_any_depth(document, value, expected):
    assert unknown(document, value) == expected


def test_a_note_names_a_few_of_many_names_and_cuts_long_ones():
    (note,) = unknown_note("x", (*map(str, range(20)), "y" * 500), "9" * 500)
    assert "x has 21 names" in note
    assert "keeps: 0, 1, 2, 3, 4, 5, 6, 7, …" in note
    assert len(unknown_note("x", ("y" * 500,), "")[0]) < 200
    assert json.dumps(note)
