"""``--log tensorboard``: what TensorBoard reads back of a run, also of one that was stopped and resumed."""

import pytest

import charloom
from charloom import jobs
from charloom.errors import ConfigError, MissingExtraError
from charloom.training.events import Progress

from .training.small import bigram_source, bigram_text, kinds

TEXT = bigram_text(bigram_source(), 600)
SMALL = {"cell": "gru", "hidden_size": 8, "batch_size": 4, "bptt_length": 8, "threads": 1, "device": "cpu"}
SMALL |= {"validate_every": 5, "sample_every": 10, "watch": 10, "quiet": True}
FLOAT32 = 1e-6


def accumulator(folder):
    """What TensorBoard reads from a folder."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder))
    return found.Reload()


def record(folder):
    """{tag: {step: value}} of the scalars, and the tags of the texts."""
    found = accumulator(folder)
    scalars = {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in found.Tags()["scalars"]}
    return scalars, set(found.Tags()["tensors"])


def test_tensorboard_reads_the_events_of_a_run(tmp_path):
    pytest.importorskip("tensorboard")
    events = []
    charloom.train(
        text=TEXT, out=tmp_path / "run", log="tensorboard", on_event=events.append, steps=20, **SMALL
    )
    scalars, texts = record(tmp_path / "run")
    ranges = {e.step: sum(e.loss) / len(e.loss) for e in kinds(events, "Progress")}
    assert scalars["loss/train"] == pytest.approx(ranges, rel=FLOAT32)
    assert max(scalars["grad_norm/max"]) == 20
    held_out = {e.step: e.loss for e in kinds(events, "Validation")}
    assert scalars["loss/validation"] == pytest.approx(held_out, rel=FLOAT32)
    (end,) = kinds(events, "Finished")
    assert scalars["loss/held_out"] == pytest.approx({20: end.val_loss_nats}, rel=FLOAT32)
    assert scalars["bits_per_char/ngram"] == pytest.approx({20: end.ngram_bits_per_char}, rel=FLOAT32)
    assert {"saturation/layer_0_r", "saturation/layer_0_z", "training/learning_rate", "loss/epoch"} <= set(
        scalars
    )
    assert any(tag.startswith("update_ratio/layers.0.cell.w_hh") for tag in scalars)
    assert texts == {"settings/text_summary", "sample/text_summary", "verdicts/text_summary"}
    assert (tmp_path / "run" / "events.jsonl").is_file()


@pytest.mark.parametrize("crashed", [False, True])
def test_a_stopped_run_saves_and_a_resume_replaces_the_steps_after_its_checkpoint(crashed, tmp_path):
    pytest.importorskip("tensorboard")
    settings = {name: value for name, value in SMALL.items() if name != "quiet"}
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    job = jobs.new_job(tmp_path / "text.txt", out=tmp_path / "run", log="tensorboard", steps=20, **settings)
    events = job.events()
    for event in events:
        if isinstance(event, Progress) and event.step >= 8:
            break
    stopped_at = event.step
    events.close()
    assert job.run.newest_checkpoint()[0].step == stopped_at
    if crashed:  # its steps were written, its checkpoint was not
        job.run.checkpoint_paths()[0].unlink()
    charloom.resume(tmp_path / "run", log="tensorboard", quiet=True)
    steps = [event.step for event in accumulator(tmp_path / "run").Scalars("loss/train")]
    assert steps == sorted(set(steps))
    assert crashed or stopped_at in steps
    assert steps[-1] == 20


def test_without_the_package_the_error_gives_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "charloom.tensorboard_log.find_spec", lambda name: None if name == "tensorboard" else 1
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'charloom\[tensorboard\]'"):
        charloom.train(tmp_path / "missing.txt", log="tensorboard", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_log_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"log is 'wandb'.*use tensorboard"):
        charloom.train(tmp_path / "missing.txt", log="wandb")
