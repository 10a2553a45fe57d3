"""A network that is taught: its targets, what is refused, its resume, and chains of such networks."""

import shutil

import numpy as np
import pytest
import torch

import charloom
from charloom import jobs, members
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.engines import load_engine
from charloom.engines.torch import network
from charloom.errors import ConfigError
from charloom.modelfile import read_model
from charloom.parameters import initial_parameters
from charloom.recipes.set_up import check_job
from charloom.runs import Run
from charloom.steps import result_of
from charloom.text import read_corpus
from charloom.text.batching import Plan
from charloom.training.distillation import Teacher, mixed_targets, soft_targets

from .conftest import TINY

HALF = 1e-3
"""Relative rounding of float16, with room for the sums of float32."""


def taught(text, teacher, out, **settings):
    return charloom.train(text, out=out, teacher=teacher, quiet=True, **{"steps": 12, **TINY, **settings})


@pytest.mark.parametrize("boundary_id", [None, 3])
@pytest.mark.parametrize("number", [40, 20_000], ids=["one segment", "several segments"])
def test_soft_targets_are_the_probabilities_after_each_character(number, boundary_id, rng):
    config, V = ModelConfig(cell="gru", hidden_size=6), 7
    model = load_engine("torch").model(initial_parameters(config, V, 0), config)
    ids = rng.integers(0, V, number)
    found = result_of(soft_targets(model, ids, V, boundary_id=boundary_id))
    assert found.shape == (number - 1, V)
    assert found.dtype == np.float16
    last = min(number - 1, 600)
    resets = None if boundary_id is None else (ids[None, :last] == boundary_id)
    logits, _ = model.forward(ids[None, :last], model.initial_state(1), resets)
    expected = torch.softmax(torch.tensor(np.asarray(logits))[0], 1).numpy()
    np.testing.assert_allclose(found[:last], expected, rtol=HALF, atol=HALF)
    np.testing.assert_allclose(found.sum(1, dtype=np.float64), 1, rtol=2 * HALF)


def test_the_gradient_is_that_of_the_targets(rng):
    config, V = ModelConfig(cell="gru", hidden_size=6), 7
    train = TrainConfig(batch_size=2, bptt_length=5, stream_offset="fixed", teacher_weight=0.3, steps=1)
    soft = rng.dirichlet(np.ones(V), 40).astype(np.float16)
    plan = Plan(rng.integers(0, V, 41), train, soft_targets=soft)
    learner = load_engine("torch").learner(initial_parameters(config, V, 0), config, train, device="cpu")
    window, state = plan.window(0, range(2)), learner.initial_state(range(2))
    np.testing.assert_array_equal(window.soft_targets[1], soft[20:25])
    total, count, gradients, _ = learner.gradients(0, window, state)
    params = {name: p.detach().clone().requires_grad_() for name, p in learner.params.items()}
    logits, _ = network.forward(config, params, torch.tensor(window.inputs), state)
    log_probs = logits.log_softmax(2)
    hard = torch.nn.functional.one_hot(torch.tensor(window.targets), V)
    given = window.soft_targets.astype(np.float32)
    given /= given.sum(2, keepdims=True)  # float16 rounds them
    expected = torch.autograd.grad(-(torch.tensor(given) * log_probs).sum() / count, list(params.values()))
    for (name, found), wanted in zip(gradients.items(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6, msg=name)
    torch.testing.assert_close(
        total, -(hard * log_probs).sum()
    )  # the loss that is reported is that of the text


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("number", [0, 50], ids=["text", "text and written text"])
def test_targets_mix_the_text_with_its_teacher_and_are_the_teachers_alone_in_what_it_wrote(
    number, weight, text, teacher, rng
):
    corpus, taught_by = read_corpus([text], TextConfig()), Teacher.read(teacher)
    N, V = len(corpus.train), len(corpus.vocab)
    ids = np.concatenate([corpus.train, rng.integers(0, V, number).astype(corpus.train.dtype)])
    found = result_of(mixed_targets(taught_by, corpus, ids, TrainConfig(teacher_weight=weight)))
    expected = result_of(soft_targets(taught_by.reader(), ids, V)).astype(np.float64)
    expected[: N - 1] = weight * expected[: N - 1] + (1 - weight) * np.eye(V)[ids[1:N]]
    assert found.shape == (len(ids) - 1, V)
    # with weight 0 the teacher reads only what it wrote, so that it does not know what comes before
    same = slice(None) if weight else np.r_[: N - 1, N - 1 + number // 2 : len(found)]
    np.testing.assert_allclose(found[same], expected[same], atol=2 * HALF if weight else 0.05)


def test_a_teacher_changes_the_network_and_weight_nought_does_not(text, teacher, tmp_path):
    alone = charloom.train(text, out=tmp_path / "alone", quiet=True, steps=12, **TINY).file.parameters
    student = taught(text, teacher, tmp_path / "student")
    ignoring = taught(text, teacher, tmp_path / "ignoring", teacher_weight=0.0).file.parameters
    assert any((alone[name] != x).any() for name, x in student.file.parameters.items())
    for name, x in alone.items():
        np.testing.assert_allclose(ignoring[name], x, rtol=1e-5, atol=1e-6, err_msg=name)
    assert student.card["teacher"] == {"path": str(teacher / "model.safetensors")}


def test_a_resume_has_its_teacher_in_the_run_and_ends_with_the_same_bytes(text, teacher, tmp_path):
    whole = taught(text, teacher, tmp_path / "whole").file.parameters
    job = jobs.new_job(
        text, out=tmp_path / "cut", teacher=teacher, **{"steps": 12, "validate_every": 4, **TINY}
    )
    events = job.events()
    next(event for event in events if event.step >= 4)
    events.close()
    shutil.rmtree(teacher)
    cut = charloom.resume(tmp_path / "cut", quiet=True).file.parameters
    for name, x in whole.items():
        np.testing.assert_array_equal(cut[name], x, err_msg=name)


def test_a_branch_keeps_its_teacher(text, teacher, tmp_path):
    taught(text, teacher, tmp_path / "student")
    branch = charloom.resume(
        tmp_path / "student", settings={"learning_rate": 0.01}, more_steps=4, out=tmp_path / "b", quiet=True
    )
    assert branch.run.teacher_path.read_bytes() == (teacher / "model.safetensors").read_bytes()


def test_an_ensemble_teaches(text, teacher, tmp_path):
    other = charloom.train(text, out=tmp_path / "other", steps=20, seed=1, quiet=True, **TINY)
    path = tmp_path / "both.safetensors"
    charloom.ensemble(teacher, tmp_path / "other").save(path)
    ids = np.arange(30) % len(other.vocab)
    V = len(other.vocab)
    both, *each = (
        result_of(soft_targets(Teacher.read(one).reader(), ids, V))
        for one in (path, teacher, tmp_path / "other")
    )
    np.testing.assert_allclose(both, np.mean(each, axis=0, dtype=np.float32), rtol=2 * HALF, atol=HALF)
    assert taught(text, path, tmp_path / "student").card["teacher"] == {"path": str(path)}


def test_what_cannot_be_taught_is_refused_before_a_folder_is_made(text, teacher, tmp_path):
    (tmp_path / "other.txt").write_text("0123456789 " * 300, encoding="utf-8")
    cases = [
        ({"sources": tmp_path / "other.txt"}, "other characters"),
        ({"engine": "scratch"}, "engine is scratch, and there is a teacher"),
        ({"wrap_targets": True}, "wrap_targets is on, and there is a teacher"),
    ]
    for changed, what in cases:
        source = changed.pop("sources", text)
        with pytest.raises(ConfigError, match=what):
            taught(source, teacher, tmp_path / "student", **changed)
        assert not (tmp_path / "student").exists()


def test_a_weight_without_a_teacher_is_said_to_have_no_effect(text):
    _, resolved = check_job(text, teacher_weight=0.7, **TINY)
    assert resolved.notes == ("teacher_weight 0.7 has no effect: there is no teacher",)
    _, resolved = check_job(text, written_chars=100, **TINY)
    assert resolved.notes == ("written_chars 100 has no effect: there is no teacher",)
    _, resolved = check_job(text, teacher_weight=0.7, is_taught=True, **TINY)
    assert resolved.notes == ()


def test_in_a_chain_each_member_is_taught_by_the_one_before(text, tmp_path):
    plan = members.plan_members([text], 3, tmp_path / "chain", chain=True, steps=4, seed=5, **TINY)
    assert plan.workers == 1
    runs = members.train_members(plan)
    paths = [run.path for run in runs]
    assert [path.name for path in paths] == ["chain-seed5", "chain-seed6", "chain-seed7"]
    assert "teacher" not in runs[0].complete_config()
    for before, run in zip(runs, runs[1:], strict=False):
        assert run.complete_config()["teacher"]["path"] == str(before.model_path)
        assert run.teacher_path.read_bytes() == before.model_path.read_bytes()
    assert Run(paths[2]).is_finished
    assert read_model(runs[2].model_path).card["teacher"]["path"].endswith("chain-seed6/model.safetensors")
