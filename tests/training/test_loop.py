"""The training loop: its events, the model it keeps, when it stops, and the files it leaves after a failure."""

import json
import math

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.errors import ConfigError, DataError, DivergedError, RunError
from charloom.evaluation.protocols import stream_estimate, stream_loss
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.training import extend, loop, recorder, to_json, train

from .small import (
    MODEL,
    Clock,
    assert_same_weights,
    kinds,
    model_of,
    quick_report,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
)

pytestmark = pytest.mark.usefixtures("quick_report")
FLOAT32 = 1e-6  # one forward pass in other batch shapes


def test_the_events_of_a_run_are_in_order_and_logged(tmp_path):
    run, events = run_all(small_corpus(), settings(validate_every=10, sample_every=12), tmp_path / "run")
    assert [type(e).__name__ for e in events][0 :: len(events) - 1] == ["Started", "Finished"]
    assert [e.step for e in events] == sorted(e.step for e in events)
    logged = run.events()
    assert kinds(events, "Closing")
    assert logged == [json.loads(json.dumps(to_json(e))) for e in events if type(e).__name__ != "Closing"]
    ranges = kinds(events, "Progress")
    assert [s.first_step for s in ranges] == [0, *(s.step for s in ranges[:-1])]
    for steps in ranges:
        assert len(steps.loss) == len(steps.grad_norm) == steps.step - steps.first_step
        assert steps.progress == steps.step / 24
    assert kinds(events, "Sampled")
    assert not (run.path / "lock").exists()


def test_validations_samples_and_epochs_are_at_their_steps(tmp_path):
    corpus = small_corpus()
    config = settings(steps=100, validate_every=15, sample_every=40)
    _, events = run_all(corpus, config, tmp_path / "run")
    assert [e.step for e in kinds(events, "Validation")] == [15, 30, 45, 60, 75, 90, 100]
    assert [e.step for e in kinds(events, "Sampled")] == [40, 80]
    epoch = kinds(events, "Started")[0].steps_per_epoch
    assert 0 < epoch < 50
    assert [(e.step, e.epoch) for e in kinds(events, "EpochEnd")] == [
        (n * epoch, n) for n in range(1, 100 // epoch + 1)
    ]


def test_by_default_there_are_twenty_validations_and_a_few_samples(tmp_path):
    _, events = run_all(small_corpus(), settings(steps=200), tmp_path / "run")
    assert [e.step for e in kinds(events, "Validation")] == list(range(10, 201, 10))
    assert [e.step for e in kinds(events, "Sampled")] == [50, 100, 150, 200]


def test_training_losses_are_means_over_the_updates(tmp_path):
    _, events = run_all(small_corpus(), settings(steps=60, validate_every=20), tmp_path / "run")
    losses = [loss for e in kinds(events, "Progress") for loss in e.loss]
    assert len(losses) == 60
    for i, validation in enumerate(kinds(events, "Validation")):
        part = losses[20 * i : 20 * i + 20]
        expected = pytest.approx(np.mean(part), rel=0.03)  # windows at the end of an epoch are shorter
        assert validation.train_loss == expected
    epoch = kinds(events, "Started")[0].steps_per_epoch
    for end in kinds(events, "EpochEnd"):
        assert end.loss == pytest.approx(np.mean(losses[end.step - epoch : end.step]), rel=1e-12)
    assert losses[0] == pytest.approx(math.log(8), abs=0.4)
    assert losses[-1] < losses[0]


def test_validation_scores_the_held_out_part_without_dropout(tmp_path):
    model = ModelConfig(hidden_size=8, dropout_output=0.8)
    corpus = small_corpus()
    run, events = run_all(corpus, settings(steps=10, validate_every=10), tmp_path / "run", model=model)
    expected = stream_estimate(model_of(run), corpus.validation, max_chars=30_000)
    assert kinds(events, "Validation")[0].loss == pytest.approx(expected.loss_nats, rel=FLOAT32)


def test_frequent_validations_and_samples_do_not_change_the_weights(tmp_path):
    corpus, model = small_corpus(), ModelConfig(hidden_size=8, dropout_output=0.3)
    runs = [
        run_all(corpus, settings(validate_every=v, sample_every=s), tmp_path / f"{v}", model=model)[0]
        for v, s in ((24, None), (1, 1))
    ]
    one, other = (run.newest_checkpoint()[0].tensors for run in runs)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_the_best_model_by_validation_is_kept(tmp_path, monkeypatch):
    corpus, losses = small_corpus(), iter([3.0, 2.0, 1.0, 1.5, 1.2, 1.0])
    real = loop.stream_estimate
    shipped = {}

    def scripted(model, *args, **kwargs):
        score = real(model, *args, **kwargs)
        loss = next(losses)
        shipped[loss] = shipped.get(loss, model.parameters())
        return type(score)("stream", score.chars, loss)

    monkeypatch.setattr(loop, "stream_estimate", scripted)
    run, events = run_all(corpus, settings(validate_every=4), tmp_path / "run")
    assert [e.best for e in kinds(events, "Validation")] == [True, True, True, False, False, False]
    assert kinds(events, "Finished")[0].best_step == 12
    file = read_model(run.model_path)
    assert file.card["step"] == 12
    for name, p in file.parameters.items():
        np.testing.assert_array_equal(p, shipped[1.0][name])


def test_the_final_loss_is_the_stream_loss_of_the_kept_model(tmp_path):
    corpus = small_corpus()
    run, events = run_all(corpus, settings(), tmp_path / "run")
    finished = kinds(events, "Finished")[0]
    assert finished.val_loss_nats == pytest.approx(
        stream_loss(model_of(run), corpus.validation).loss_nats, rel=FLOAT32
    )
    assert finished.val_chars == len(corpus.validation) - 1
    results = run.config()["results"]
    assert results == read_model(run.model_path).card["results"]
    assert results["protocol"] == "stream"
    assert results["val_bits_per_char"] == pytest.approx(finished.val_loss_nats / math.log(2))
    assert run.config()["as_taken"] == {"steps": 24, "plan": "0:0.0,24:1.0"}


def test_without_a_validation_part_the_last_model_is_kept(tmp_path):
    corpus = small_corpus(val_fraction=0.0)
    run, events = run_all(corpus, settings(), tmp_path / "run")
    assert not kinds(events, "Validation")
    finished = kinds(events, "Finished")[0]
    assert (finished.val_loss_nats, finished.best_step) == (None, 24)
    assert read_model(run.model_path).card["step"] == 24


def test_the_card_is_saved_in_the_model_file(tmp_path):
    run, _ = run_all(small_corpus(), settings(), tmp_path / "run", card={"corpus": {"name": "أغاني"}})
    assert read_model(run.model_path).card["corpus"] == {"name": "أغاني"}


def test_patience_counts_validations_without_a_better_one(tmp_path, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    monkeypatch.setattr(loop, "stream_estimate", lambda *_, **__: loop_score(next(losses)))
    _, events = run_all(small_corpus(), settings(validate_every=2, patience=3), tmp_path / "run")
    finished = kinds(events, "Finished")[0]
    assert (finished.reason, finished.step, finished.best_step) == ("patience", 10, 4)


def loop_score(loss):
    from charloom.evaluation.protocols import Score

    return Score("stream", 10, loss)


def test_a_checkpoint_is_written_every_fifteen_seconds_and_at_the_end(tmp_path, monkeypatch):
    clock = Clock(1.0).install(monkeypatch)
    run, events = run_all(
        small_corpus(), settings(steps=50, validate_every=50), tmp_path / "run", clock=clock
    )
    steps = [e.step for e in kinds(events, "Saved")]
    assert steps == [16, 32, 48, 50]
    assert [p.name for p in run.checkpoint_paths()] == [
        f"step-{s:09d}.safetensors" for s in sorted(steps)[:-3:-1]
    ]


def test_training_time_and_wall_time_are_measured_separately(tmp_path, monkeypatch):
    clock = Clock(0.5).install(monkeypatch)
    real = loop.stream_estimate

    def slow(*args, **kwargs):
        clock.now += 2.0
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "stream_estimate", slow)
    _, events = run_all(small_corpus(), settings(validate_every=8), tmp_path / "run", clock=clock)
    finished = kinds(events, "Finished")[0]
    assert finished.train_time_s == pytest.approx(12)
    assert finished.wall_time_s == pytest.approx(18)
    assert finished.chars_seen == 24 * 4 * 8
    assert kinds(events, "Progress")[0].chars_per_s == pytest.approx(64)


def test_batch_settings_are_reduced_for_a_short_text_with_notes(tmp_path):
    corpus = small_corpus(40)
    _, events = run_all(corpus, settings(batch_size=32, bptt_length=64, steps=3), tmp_path / "run")
    assert len(kinds(events, "Started")[0].notes) == 2


def test_too_little_text_fails_before_training_starts(tmp_path):
    corpus = small_corpus(40)
    corpus = type(corpus)(
        **{**{f: getattr(corpus, f) for f in corpus.__dataclass_fields__}, "train": corpus.train[:1]}
    )
    with pytest.raises(DataError, match="needs two characters"):
        run_all(corpus, settings(), tmp_path / "run")


def test_a_run_folder_has_one_writer_even_within_a_process(tmp_path):
    run = Run.create(tmp_path / "run", {})
    generator = train(small_corpus(), MODEL, settings(), run)
    next(generator)
    with pytest.raises(RunError, match="in use by process"):
        next(train(small_corpus(), MODEL, settings(), run, resume=True))
    generator.close()
    assert not (run.path / "lock").exists()


# -------------------------------------------------------------------------------------------------- divergence


def test_a_diverging_run_names_step_and_parameter_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    from charloom.engines.torch.learner import TorchLearner

    real = TorchLearner.gradients

    def poisoned(self, step, *others):
        total, count, gradients, after = real(self, step, *others)
        if step >= 20:
            gradients["layers.0.cell.w_hh"] = gradients["layers.0.cell.w_hh"] * float("nan")
        return total, count, gradients, after

    monkeypatch.setattr(recorder, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(TorchLearner, "gradients", poisoned)
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(
        DivergedError, match=r"step 20: the gradient of layers\.0\.cell\.w_hh is not finite.*--learning-rate"
    ):
        list(train(small_corpus(), MODEL, settings(steps=40, validate_every=5), run))
    checkpoint, notes = run.newest_checkpoint()
    assert notes == ()
    assert 15 <= checkpoint.step <= 20
    logged = next(e for e in run.events() if e.get("event") == "diverged")
    assert logged["what"].startswith("step 20")
    assert logged["non_finite"] == {"layers.0.cell.w_hh": 3 * 8 * 8}
    assert read_model(run.model_path).card["step"] <= 20
    assert not (run.path / "lock").exists()
    monkeypatch.setattr(TorchLearner, "gradients", real)  # the kept checkpoint is good: continue from it
    _, events = run_all(small_corpus(), settings(steps=40, validate_every=5), run.path, resume=True)
    whole, _ = run_all(small_corpus(), settings(steps=40, validate_every=5), tmp_path / "whole")
    assert kinds(events, "Finished")[0].step == 40
    assert_same_weights(run, whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_huge_learning_rate_diverges_and_leaves_no_unreadable_file(optimizer, tmp_path):
    run = Run.create(tmp_path / "run", {})
    model = ModelConfig(cell="elman", activation="relu", hidden_size=8)
    config = settings(optimizer=optimizer, learning_rate=1e38, schedule="constant", clip_norm=None)
    with pytest.raises(
        DivergedError, match=r"step \d+: (the (parameter|gradient of) [\w.]+ is not finite|the loss is)"
    ):
        list(train(small_corpus(), model, config, run))
    if run.model_path.exists():
        read_model(run.model_path)
    for path in run.checkpoint_paths():
        assert run.newest_checkpoint()[1] == (), path


# -------------------------------------------------------------------------------------------------- extension


def test_training_continues_if_sampling_fails(tmp_path, monkeypatch):
    def overflowing(*_args, **_kwargs):
        raise DivergedError("the largest logit is inf", why="a test", fix="none")

    monkeypatch.setattr(loop, "sample", overflowing)
    _, events = run_all(small_corpus(), settings(sample_every=12), tmp_path / "run")
    assert {e.text for e in kinds(events, "Sampled")} == {"[no text: the largest logit is inf]"}
    assert kinds(events, "Finished")[0].step == 24


def test_extending_adds_to_the_steps_taken():
    config = settings(steps=None, minutes=3)
    longer = extend(config, 10, 24)
    assert (longer.steps, longer.minutes, longer.epochs, longer.plan) == (34, None, None, None)
    with pytest.raises(ConfigError, match="at least one step"):
        extend(config, 0, 24)


def test_an_extended_run_continues_from_its_end(tmp_path):
    corpus = small_corpus()
    config = settings(schedule="constant", validate_every=12)
    run, _ = run_all(corpus, config, tmp_path / "run")
    _, events = run_all(corpus, extend(config, 12, 24), run.path, resume=True)
    assert kinds(events, "Started")[0].step == 24
    assert kinds(events, "Finished")[0].step == 36
    whole, _ = run_all(corpus, extend(config, 12, 24), tmp_path / "whole")
    assert_same_weights(run, whole)  # with a constant learning rate, extending makes no difference
    assert [e["step"] for e in run.events() if e.get("event") == "finished"] == [24, 36]
