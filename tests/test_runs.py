"""The run folder: its configuration, valid events and intact checkpoints."""

import codecs
import contextlib
import json
import os
import re
import struct
import threading

import numpy as np
import pytest

from charloom.checkpoints import KEEP_CHECKPOINTS, Checkpoint, read_checkpoint
from charloom.errors import ModelFileError, RunError
from charloom.runs import Run, list_runs, new_run_path


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {"name": "قصص", "schema": 1})


def checkpoint(step, value=None):
    x = np.full((2, 3), step if value is None else value, np.float32)
    return Checkpoint(step, {"param.w": x, "state.0.h": x[:, :0]}, {"step": step, "loss": [1.5, None]})


def test_a_new_run_contains_its_configuration(run):
    assert run.config() == {"name": "قصص", "schema": 1}
    assert Run.open(run.path).config() == run.config()
    assert "قصص" in run.config_path.read_text("utf-8")


def test_a_run_is_never_created_over_another(run):
    with pytest.raises(RunError, match=r"already contains a run.*--resume"):
        Run.create(run.path, {})
    assert run.config()["schema"] == 1


def test_a_folder_that_cannot_be_created_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*--out"):
        Run.create(tmp_path / "file" / "run", {})


def test_opening_a_folder_without_a_run_names_its_neighbours(run, tmp_path):
    with pytest.raises(RunError, match=re.escape(f"name one of {run.path}")):
        Run.open(tmp_path / "other")
    with pytest.raises(RunError, match="train one first"):
        Run.open(tmp_path / "no" / "folder")


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_configuration_is_explained(content, run):
    run.config_path.write_text(content)
    with pytest.raises(RunError, match=r"config\.json"):
        run.config()


# ----------------------------------------------------------------------------------------------------- events


def test_events_are_read_back_in_order(run):
    assert run.events() == []
    events = [{"event": "a", "step": 1}, {"event": "b", "text": "line\nbreak ق\u2028"}]
    for event in events:
        run.append(event)
    assert run.events() == events
    assert run.events_path.read_bytes().count(b"\n") == 2


def test_every_incomplete_last_line_is_skipped_and_later_events_are_kept(run):
    run.append({"step": 1})
    whole = run.events_path.read_bytes()
    line = json.dumps({"step": 2, "text": "ق"}, ensure_ascii=False).encode() + b"\n"
    for length in range(len(line) - 1):  # also in the middle of a character
        run.events_path.write_bytes(whole + line[:length])
        assert run.events() == [{"step": 1}]
        run.append({"step": 3})
        assert run.events() == [{"step": 1}, {"step": 3}]


def test_a_resume_drops_the_events_it_supersedes(run):
    for step in (1, 2, 3, 4):
        run.append({"event": "note", "step": step})
    run.append({"resumed_from": 2})
    run.append({"event": "note", "step": 3})
    assert run.events() == [
        {"event": "note", "step": 1},
        {"event": "note", "step": 2},
        {"resumed_from": 2},
        {"event": "note", "step": 3},
    ]
    run.append({"resumed_from": 0})
    assert [e.get("step") for e in run.events() if "resumed_from" not in e] == []


def test_events_that_cannot_be_written_stop_the_run(run):
    run.events_path.mkdir()
    with pytest.raises(RunError, match="cannot write"):
        run.append({"step": 1})


# ------------------------------------------------------------------------------------------------ checkpoints


def test_a_checkpoint_is_read_back(run):
    given = checkpoint(7)
    run.write_checkpoint(given)
    back, notes = run.newest_checkpoint()
    assert notes == ()
    assert (back.step, back.scalars) == (7, given.scalars)
    assert back.tensors.keys() == given.tensors.keys()
    for name, x in given.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], x)
        assert back.tensors[name].dtype == x.dtype


def test_only_the_newest_two_are_kept(run):
    for step in (3, 900, 40, 1000):
        run.write_checkpoint(checkpoint(step))
    assert [read_checkpoint(p).step for p in run.checkpoint_paths()] == [1000, 900]
    assert KEEP_CHECKPOINTS == 2


def test_temporary_and_foreign_files_are_not_checkpoints(run):
    run.write_checkpoint(checkpoint(3))
    (run.checkpoint_folder / ".step-000000009.safetensors.x.part").write_bytes(b"half")
    (run.checkpoint_folder / "notes.txt").write_bytes(b"")
    assert run.newest_checkpoint()[0].step == 3


def test_a_new_run_has_no_checkpoint(run):
    assert run.newest_checkpoint() == (None, ())


def test_every_flipped_bit_or_truncation_falls_back_to_the_previous_checkpoint(run, rng):
    run.write_checkpoint(checkpoint(1))
    run.write_checkpoint(checkpoint(2))
    newest = run.checkpoint_paths()[0]
    content = newest.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    places = [*rng.integers(0, 8 * len(content), 300).tolist(), *range(8 * (8 + length), 8 * len(content), 5)]
    damaged = []
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        damaged.append(bytes(flipped))
    damaged += [content[:n] for n in range(0, len(content), 11)]
    for bad in damaged:
        newest.write_bytes(bad)
        found, notes = run.newest_checkpoint()
        if found.step == 1:
            assert len(notes) == 1
            assert notes[0].startswith("skipped a damaged checkpoint")
        else:  # a space in the header became other whitespace
            assert found.scalars == checkpoint(2).scalars
            np.testing.assert_array_equal(found.tensors["param.w"], checkpoint(2).tensors["param.w"])


def test_if_all_checkpoints_are_damaged_none_is_found(run):
    run.write_checkpoint(checkpoint(1))
    run.checkpoint_paths()[0].write_bytes(b"gone")
    found, notes = run.newest_checkpoint()
    assert found is None
    assert len(notes) == 1


def test_a_model_file_is_not_a_checkpoint(run, tmp_path):
    from .test_modelfile import make, write_model

    write_model(tmp_path / "m", make())
    with pytest.raises(ModelFileError, match="does not name the checkpoint format"):
        read_checkpoint(tmp_path / "m")


# ---------------------------------------------------------------------------------------------------- folders


def test_runs_are_found_by_their_configuration(run, tmp_path):
    (tmp_path / "empty").mkdir()
    other = Run.create(tmp_path / "another", {})
    assert [r.path for r in list_runs(tmp_path)] == [other.path, run.path]
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "stem"), [("tales", "tales"), ("a b/c", "a-b-c"), ("كتاب", "كتاب"), ("..", "run"), ("", "run")]
)
def test_a_new_runs_folder_is_named_after_its_corpus(name, stem, tmp_path):
    path = new_run_path(tmp_path, name)
    assert path.parent == tmp_path
    assert re.fullmatch(re.escape(stem) + r"-\d{8}-\d{6}", path.name)


def test_a_taken_name_is_numbered(tmp_path, monkeypatch):
    import datetime

    from charloom import runs

    class Noon(datetime.datetime):
        @classmethod
        def now(cls):
            return cls(2030, 1, 2, 12, 0, 0)

    monkeypatch.setattr(runs.datetime, "datetime", Noon)
    taken = []
    for _ in range(3):
        path = new_run_path(tmp_path, "x")
        path.mkdir()
        taken.append(path.name)
    assert taken == ["x-20300102-120000", "x-20300102-120000-2", "x-20300102-120000-3"]


def test_a_run_is_locked_while_it_is_written(run):
    with run.lock():
        assert (run.path / "lock").is_file()
    assert not (run.path / "lock").exists()


def test_a_configuration_and_events_may_begin_with_a_byte_order_mark(run):
    run.config_path.write_bytes(codecs.BOM_UTF8 + run.config_path.read_bytes())
    assert run.config()["schema"] == 1
    run.events_path.write_bytes(codecs.BOM_UTF8 + b'{"step": 1}\n')
    assert run.events() == [{"step": 1}]


def test_names_that_are_not_utf_8_are_recorded(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    run = Run.create(tmp_path / "run", {"places": [name]})
    run.append({"event": "x", "step": 1, "name": name})
    run.write_checkpoint(Checkpoint(1, checkpoint(1).tensors, {"name": name}))
    assert run.config() == {"places": [name]}
    assert run.events() == [{"event": "x", "step": 1, "name": name}]
    assert run.newest_checkpoint()[0].scalars == {"name": name}


@pytest.mark.parametrize(
    "failure", [OSError("disk full"), MemoryError(), KeyboardInterrupt(), ValueError("odd")]
)
def test_the_folders_of_a_failed_start_are_removed(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(Run, "write_config", fail)
    with pytest.raises((type(failure), RunError)):
        Run.create(tmp_path / "runs" / "a", {})
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_failed_start_made_is_removed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    run = Run.create(tmp_path / "a", {})
    run.remove_if_unused()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "notes.txt"]


@pytest.mark.parametrize("work", ["step", "checkpoint", "model", "opened"])
def test_a_run_with_work_in_it_is_never_removed(run, work):
    if work == "step":
        run.append({"event": "note", "step": 3})
    elif work == "checkpoint":
        run.write_checkpoint(checkpoint(1))
    elif work == "model":
        run.model_path.write_bytes(b"x")
    else:
        run = Run.open(run.path)
    run.remove_if_unused()
    assert run.config_path.exists()


def test_a_start_that_fails_after_its_configuration_was_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(_folder):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("charloom.files.atomic.make_folder", lambda folder: folder.mkdir(parents=True))
    monkeypatch.setattr("charloom.files.atomic._fsync_folder", fail)
    with pytest.raises(RunError, match="Input/output error"):
        Run.create(tmp_path / "run", {})
    assert list(tmp_path.iterdir()) == []


def test_one_of_many_creates_a_run(tmp_path):
    """Its folder has the configuration of the one that got it, and the others remove nothing."""
    found = []

    def create(turn, number):
        start.wait()
        with contextlib.suppress(RunError):
            Run.create(tmp_path / f"run{turn}", {"number": number})
            found.append((turn, number))

    start = threading.Barrier(4)
    for turn in range(10):
        threads = [threading.Thread(target=create, args=(turn, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [turn for turn, _ in found] == list(range(10))
    assert [(turn, Run(tmp_path / f"run{turn}").config()["number"]) for turn, _ in found] == found


def test_what_another_process_has_locked_is_not_removed_as_unused(run):
    with Run(run.path).lock():
        run.remove_if_unused()
        assert run.config() == {"name": "قصص", "schema": 1}
    run.remove_if_unused()
    assert not run.path.exists()
