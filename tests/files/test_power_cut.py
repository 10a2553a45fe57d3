"""A power cut at any moment: what was not synced is missing, cut off or zeros, and everything still loads or resumes."""

import shutil

import pytest

import charloom
from charloom.branching import branch_job
from charloom.config import TextConfig
from charloom.errors import RunError
from charloom.files import atomic_write, lock
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.text import preparation, workspace
from charloom.text.preparation import prepare
from charloom.training import baselines, loop, recorder

from .power_cut import Disk, restore

TEXT = "the cat sat on the mat, a dog ran to the sea\n" * 60
SETTINGS = {
    "cell": "elman", "hidden_size": 4, "bptt_length": 8, "batch_size": 1, "steps": 12, "validate_every": 4,
    "threads": 1, "engine": "fused", "quiet": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    def none(*_):
        yield
        return baselines.Baselines()

    monkeypatch.setattr(baselines, "_measure", none)
    monkeypatch.setattr(loop, "SAMPLE_CHARS", 3)
    monkeypatch.setattr(recorder, "CHECKPOINT_EVERY_S", 0.0)


def test_a_file_has_its_old_content_or_its_new(tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    disk = Disk(folder)
    with monkeypatch.context() as patch:
        disk.install(patch)
        atomic_write(folder / "file", b"a new content")
        disk.mark("written")
    found = {(state["file"], marks) for state, marks in disk.states()}
    assert found == {(b"old", ()), (b"a new content", ()), (b"a new content", ("written",))}


@pytest.mark.parametrize("without", ["file", "folder"])
def test_the_model_of_the_disk_finds_a_missing_sync(without, tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    disk = Disk(folder)
    with monkeypatch.context() as patch:
        disk.install(patch, without)
        atomic_write(folder / "file", b"a new content")
        disk.mark("written")
    found = {(state["file"], marks) for state, marks in disk.states()}
    wrong = (b"old", ("written",)) if without == "folder" else (bytes(13), ("written",))
    assert wrong in found


def traced_training(top, monkeypatch, *, without=None, patched=None):
    """Train in a folder that is watched; its disk. A mark is a checkpoint that was written: (step, events before it)."""
    (top / "disk").mkdir()
    disk, write_checkpoint, create = Disk(top / "disk"), Run.write_checkpoint, Run.create.__func__

    def marked(run, checkpoint):
        before = [event for event in run.events() if "event" in event]
        write_checkpoint(run, checkpoint)
        disk.mark((checkpoint.step, len(before)))

    def marked_create(cls, path, config):
        run = create(cls, path, config)
        disk.mark((-1, 0))
        return run

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_checkpoint", marked)
        patch.setattr(Run, "create", classmethod(marked_create))
        if patched is not None:
            patch.setattr(*patched)
        disk.install(patch, without)
        charloom.train(top / "text.txt", out=top / "disk" / "runs" / "tales", **SETTINGS)
    return disk


def cuts(disk, folder, chosen=None):
    """The run after each cut, or after those of these numbers, and what was promised before it."""
    for number, (state, marks) in enumerate(disk.states()):
        if chosen is None or number in chosen:
            shutil.rmtree(folder, ignore_errors=True)
            yield Run(restore(state, folder) / "runs" / "tales"), marks


def broken_promises(disk, folder, chosen=None):
    """What the states after a cut lack; each must load, with what was promised before it."""
    for run, marks in cuts(disk, folder, chosen):
        yield from broken_promise(run, marks)


def broken_promise(run, marks):
    if not marks:  # nothing was promised yet; what is there may be a run or not
        return []
    if not run.config_path.exists():
        return ["the run is gone"]
    run.config()
    step, num_events = marks[-1]
    checkpoint, notes = run.newest_checkpoint()
    found = -1 if checkpoint is None else checkpoint.step
    broken = [f"the checkpoint of step {step} is gone"] if found < step else []
    if len(run.events()) < num_events:
        broken.append(f"events before step {step} are gone")
    if run.model_path.exists():
        read_model(run.model_path)
    return [*broken, *notes]


@pytest.fixture
def top(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def some(disk, number, rng):
    """So many numbers of states, and how many states there are."""
    total = sum(1 for _ in disk.states())
    return set(rng.choice(total, min(number, total), replace=False).tolist()), total


def test_a_run_has_what_was_promised_after_a_power_cut(top, monkeypatch, rng):
    disk = traced_training(top, monkeypatch)
    chosen, total = some(disk, 25, rng)
    assert total > 200
    assert list(broken_promises(disk, top / "after", chosen)) == []


@pytest.mark.reliability
def test_a_run_has_what_was_promised_after_a_power_cut_at_any_moment(top, monkeypatch, attacks):
    disk = traced_training(top, monkeypatch)
    cuts = sum(1 for _ in disk.states())
    attacks.count("power cuts, loaded", cuts, losses=len(list(broken_promises(disk, top / "after"))))


FAULTS = {
    "no folder is synced": ({"without": "folder"}, "the run is gone"),
    "no file is synced": ({"without": "file"}, "config.json"),
    "the events are not synced": ({"patched": ("charloom.runs.sync_file", lambda _: None)}, "events before"),
    "a new folder is not synced": (
        {"patched": ("charloom.files.atomic.make_folder", lambda path: path.mkdir(parents=True))},
        "the run is gone",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_missing_sync_of_a_training_is_found(fault, top, monkeypatch):
    how, expected = FAULTS[fault]
    disk = traced_training(top, monkeypatch, **how)
    try:
        found = next((one for one in broken_promises(disk, top / "after") if expected in one), None)
    except RunError as error:  # a file that was renamed is not whole
        found = str(error)
    assert found is not None
    assert expected in found


def lost_after(run, expected):
    """What a run lacks that is continued after a power cut, or begun again if nothing had been promised."""
    if run.config_path.exists():
        found = charloom.resume(run.path, quiet=True)
    else:
        found = charloom.train(run.path.parents[2] / "text.txt", out=run.path, **SETTINGS)
    assert list(run.path.rglob("*.part")) == []
    return [
        name
        for name, array in expected.file.parameters.items()
        if found.file.parameters[name].tobytes() != array.tobytes()
    ]


def continue_after_cuts(number, top, monkeypatch, rng):
    """Continue after so many cuts, after which the machine has started anew; how many ended with other weights."""
    disk = traced_training(top, monkeypatch)
    expected = charloom.load(top / "disk" / "runs" / "tales")
    chosen, _ = some(disk, number, rng)
    monkeypatch.setattr(lock, "boot_id", lambda: "the next boot")
    return sum(bool(lost_after(run, expected)) for run, _ in cuts(disk, top / "after", chosen))


def test_a_run_continues_after_a_power_cut_to_the_bytes_of_an_undisturbed_one(top, monkeypatch, rng):
    assert continue_after_cuts(3, top, monkeypatch, rng) == 0


@pytest.mark.reliability
def test_runs_continue_after_power_cuts_to_the_bytes_of_undisturbed_ones(top, monkeypatch, attacks):
    losses = continue_after_cuts(100, top, monkeypatch, attacks.rng)
    attacks.count("power cuts, continued", 100, losses=losses)


# ----------------------------------------------------------------------------------- what is not a run's own training


def test_a_prepared_corpus_is_the_old_one_or_the_new_one_after_a_power_cut(top, monkeypatch):
    (top / "disk").mkdir()
    out = top / "disk" / "text.chars"
    prepare([top / "text.txt"], out, config=TextConfig(val_fraction=0.1))
    old = out.read_bytes()
    monkeypatch.setattr(preparation, "EVERY_BYTES", 500)
    disk = Disk(top / "disk")
    with monkeypatch.context() as patch:
        disk.install(patch)
        prepare([top / "text.txt"], out, config=TextConfig(val_fraction=0.2), block_size=300)
        disk.mark("prepared")
    new = out.read_bytes()
    monkeypatch.setattr(workspace, "boot_id", lambda: "the next boot")
    monkeypatch.setattr(lock, "boot_id", lambda: "the next boot")
    states = list(disk.states())
    assert {state["text.chars"] for state, marks in states if not marks} == {old, new}
    assert {state["text.chars"] for state, marks in states if marks} == {new}
    assert len(states) > 20
    for number, (state, _) in enumerate(states[::12]):
        folder = restore(state, top / f"after{number}")
        prepare([top / "text.txt"], folder / out.name, config=TextConfig(val_fraction=0.2), block_size=300)
        assert (folder / out.name).read_bytes() == new
        assert [path.name for path in folder.iterdir()] == [out.name]


def test_a_branch_cut_off_by_a_power_cut_says_so_or_continues(top, monkeypatch):
    """It never starts at step 0 without the weights of the run that it branches off."""
    settings = {**SETTINGS, "engine": "scratch"}
    charloom.train(top / "text.txt", out=top / "parent", **settings)
    (top / "disk").mkdir()
    disk = Disk(top / "disk")
    with monkeypatch.context() as patch:
        disk.install(patch)
        branch_job(top / "parent", out=top / "disk" / "runs" / "tales", more_steps=4, learning_rate=0.01)
        disk.mark("branched")
    monkeypatch.setattr(lock, "boot_id", lambda: "the next boot")
    refused = continued = 0
    for run, marks in cuts(disk, top / "after"):
        if not run.config_path.exists():
            assert not marks
        elif run.newest_checkpoint()[0] is None:
            assert not marks
            with pytest.raises(RunError, match=r"branch off .*parent again"):
                charloom.resume(run.path, quiet=True)
            refused += 1
        else:
            continued += 1
    assert charloom.resume(run.path, quiet=True).card["results"]["steps"] == 16
    assert refused
    assert continued
