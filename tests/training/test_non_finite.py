"""A number that is not finite stops a training, wherever it stands: the step and the parameter are named, the best is kept."""

from dataclasses import replace

import numpy as np
import pytest

from charloom.config import ModelConfig, SampleConfig
from charloom.engines import load_engine
from charloom.engines.fused.online.learner import FusedLearner
from charloom.engines.scratch.learner import ScratchLearner
from charloom.engines.torch.learner import TorchLearner
from charloom.errors import CharloomError, DivergedError
from charloom.generation import sample
from charloom.modelfile import read_model
from charloom.parameters import initial_parameters
from charloom.runs import Run
from charloom.text import Vocabulary
from charloom.training import train

from .small import quick_report, settings, small_corpus

__all__ = ["quick_report"]

LEARNERS = {"scratch": ScratchLearner, "torch": TorchLearner, "fused": FusedLearner}
MODEL = ModelConfig(cell="elman", hidden_size=8)
WEIGHT = "layers.0.cell.w_hh"
BAD = [float("nan"), float("inf"), float("-inf")]

each_engine = pytest.mark.parametrize("engine", LEARNERS)


def config(engine, **changes):
    return settings(
        engine=engine,
        batch_size=1,
        steps=30,
        validate_every=5,
        optimizer="adam",
        precision="float32",
        **changes,
    )


def poison(monkeypatch, engine, step, change):
    """Let `change` edit the tensors, or the state, between two updates: before the one with this number."""
    learner_of = LEARNERS[engine]
    real = learner_of.advance

    def advance(self, plan, first, count, state, *, observe=False):
        if not first <= step < first + count:
            return real(self, plan, first, count, state, observe=observe)
        if step > first:
            state, _ = real(self, plan, first, step - first, state)
        state = change(self, state)
        return real(self, plan, step, first + count - step, state, observe=observe)

    monkeypatch.setattr(learner_of, "advance", advance)


def in_tensors(prefix, value):
    def change(learner, state):
        tensors = {name: np.array(x) for name, x in learner.tensors().items()}
        name = next(name for name in tensors if name.startswith(prefix) and tensors[name].size > 1)
        tensors[name].flat[-1] = value
        learner.load_tensors(tensors)
        return state

    return change


def in_state(value):
    def change(learner, state):
        arrays = [{key: np.array(x) for key, x in layer.items()} for layer in learner.export_state(state)]
        arrays[0]["h"].flat[0] = value
        return learner.import_state(arrays)

    return change


def diverged(tmp_path, engine, **changes):
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(DivergedError) as caught:
        list(train(small_corpus(), MODEL, config(engine, **changes), run))
    logged = next(e for e in run.events() if e.get("event") == "diverged")
    assert logged["what"] == caught.value.what
    for array in read_model(run.model_path).parameters.values():
        assert np.isfinite(array).all()
    checkpoint, notes = run.newest_checkpoint()
    assert notes == ()
    assert all(np.isfinite(x).all() for x in checkpoint.tensors.values())
    return caught.value.what, run


@each_engine
@pytest.mark.parametrize("value", BAD, ids=str)
def test_a_parameter_is_named_with_its_step_and_the_best_model_is_kept(engine, value, tmp_path, monkeypatch):
    poison(monkeypatch, engine, 17, in_tensors(f"param.{WEIGHT}", value))
    what, run = diverged(tmp_path, engine)
    assert what == f"step 17: the parameter {WEIGHT} is not finite"
    assert read_model(run.model_path).card["step"] <= 15


@each_engine
def test_a_state_stops_at_its_step(engine, tmp_path, monkeypatch):
    poison(monkeypatch, engine, 17, in_state(float("nan")))
    what, _ = diverged(tmp_path, engine)
    assert what.startswith("step 17: the gradient of ")


@each_engine
@pytest.mark.parametrize("prefix", ["moment.", "param."])
def test_what_only_the_last_update_makes_is_found_when_it_is_saved(engine, prefix, tmp_path, monkeypatch):
    learner_of = LEARNERS[engine]
    real = learner_of.advance

    def advance(self, plan, first, count, state, *, observe=False):
        state, metrics = real(self, plan, first, count, state, observe=observe)
        if first + count == 30:
            in_tensors(prefix, float("inf"))(self, state)
        return state, metrics

    monkeypatch.setattr(learner_of, "advance", advance)
    what, _ = diverged(tmp_path, engine)
    kind = {"moment.": "the optimiser's moment of", "param.": "the parameter"}[prefix]
    assert what.startswith(f"step 30: {kind} ")


@each_engine
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_of_ten_ends_in_a_verdict_and_keeps_the_best(
    engine, optimizer, tmp_path, quick_report
):
    run, events, error = Run.create(tmp_path / "run", {}), [], None
    chosen = replace(config(engine), learning_rate=10.0, optimizer=optimizer, steps=300)
    try:
        events.extend(train(small_corpus(), MODEL, chosen, run))
    except DivergedError as caught:
        error = caught
    losses = [event["loss"] for event in run.events() if event.get("event") == "validation"]
    assert read_model(run.model_path).card["step"] == 5 * (1 + int(np.nanargmin(losses)))
    last = [event for event in run.events() if event.get("event") in ("finished", "diverged")][-1]
    verdict = last["verdict"] if error is not None else last["verdicts"][0]
    assert verdict["advice"]
    if optimizer == "adam":  # whose steps are ten times the size of every weight
        assert verdict["kind"] in ("not-learning", "diverged")
        assert "learning" in verdict["advice"]


LOGITS = {
    "huge": (3e38, 1.0),
    "huge and apart": (3e38, -3e38),
    "equal": (2.5, 2.5),
    "minus infinity": (1.0, -np.inf),
}


@pytest.mark.parametrize("engine", ["scratch", "torch", "fused"])
@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 1e300])
def test_logits_that_overflow_at_an_extreme_temperature_still_sample(engine, logits, temperature):
    vocab = Vocabulary.from_text("ab")
    model_config = ModelConfig(cell="elman", hidden_size=4)
    params = {name: np.zeros_like(x) for name, x in initial_parameters(model_config, 2, 0).items()}
    params["out.bias"][:] = logits
    model = load_engine(engine).model(params, model_config)
    chosen = SampleConfig(length=20, temperature=temperature, seed=1)
    (done,) = sample(model, vocab, [np.empty(0, np.int64)], chosen, seed=1)
    assert len(done.text) == 20
    if logits[0] != logits[1] and temperature < 1:
        assert set(done.text) == {"a"}


@pytest.mark.parametrize("engine", ["scratch", "torch", "fused"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_without_a_distribution_are_an_error_not_a_text(engine, value):
    model_config = ModelConfig(cell="elman", hidden_size=4)
    params = {name: np.zeros_like(x) for name, x in initial_parameters(model_config, 2, 0).items()}
    params["out.bias"][0] = value
    model = load_engine(engine).model(params, model_config)
    with pytest.raises(CharloomError, match="largest logit"):
        sample(model, Vocabulary.from_text("ab"), [np.empty(0, np.int64)], SampleConfig(length=5), seed=1)
