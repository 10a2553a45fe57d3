"""An ensemble is the mean of its members' probabilities, in every way of reading."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import DecodeState, SamplingParams, load_engine
from charloom.engines.ensemble import EnsembleModel, log_softmax_of
from charloom.generation.decoding import new_sampler
from charloom.generation.prefill import prefill_batch
from charloom.parameters import initial_parameters
from charloom.text.batching import Window

V, B, T = 7, 3, 11
NETWORKS = (
    ModelConfig(cell="lstm", hidden_size=6, num_layers=2),
    ModelConfig(cell="gru", hidden_size=4, block="residual"),
    ModelConfig(cell="elman", hidden_size=5, embedding_size=3),
)


def members(engine="scratch", precision="float64"):
    made = []
    for seed, config in enumerate(NETWORKS):
        params = {name: 2 * array for name, array in initial_parameters(config, V, seed).items()}
        made.append(load_engine(engine).model(params, config, precision=precision))
    return made


@pytest.fixture
def ids(rng):
    return rng.integers(0, V, (B, T))


def mean_log_probs(ids):
    probs = [np.exp(log_softmax_of(m.forward(ids, m.initial_state(B))[0])) for m in members()]
    return np.log(sum(probs) / len(probs))


@pytest.mark.parametrize(
    ("engine", "precision", "rtol"), [("scratch", "float64", 1e-12), ("fused", "float32", 2e-5)]
)
def test_its_probabilities_are_the_mean(engine, precision, rtol, ids):
    model = EnsembleModel(members(engine, precision))
    log_probs, _ = model.forward(ids, model.initial_state(B))
    np.testing.assert_allclose(log_probs, mean_log_probs(ids), rtol=rtol)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=-1), 1, rtol=rtol)


def test_steps_and_carried_windows_equal_one_pass(ids):
    model = EnsembleModel(members())
    whole, end = model.forward(ids, model.initial_state(B))
    state, parts = model.initial_state(B), []
    for t in range(4):
        logits, state = model.step(ids[:, t], state)
        parts.append(logits[:, None])
    state = model.import_state(model.export_state(state))
    logits, state = model.forward(ids[:, 4:], state)
    np.testing.assert_allclose(np.concatenate([*parts, logits], axis=1), whole, rtol=1e-12)
    for layer, other in zip(state, end, strict=True):
        for key in layer:
            np.testing.assert_allclose(layer[key], other[key], rtol=1e-12)


def test_the_loss_is_that_of_the_mean_probability(ids):
    model = EnsembleModel(members())
    targets = np.roll(ids, -1, axis=1)
    window = Window(ids, targets, np.zeros((B, T), bool))
    losses, _ = model.losses(window, model.initial_state(B))
    expected = -np.take_along_axis(mean_log_probs(ids), targets[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_resets_reach_every_member(ids):
    model = EnsembleModel(members())
    resets = np.zeros((B, T), bool)
    resets[:, 5] = True
    log_probs, _ = model.forward(ids, model.initial_state(B), resets)
    np.testing.assert_allclose(log_probs[:, 5:], mean_log_probs(ids[:, 5:]), rtol=1e-12)


def test_equal_members_are_one_model(ids):
    one = members()[0]
    model = EnsembleModel([one] * 5)
    log_probs, _ = model.forward(ids, model.initial_state(B))
    np.testing.assert_allclose(
        log_probs, log_softmax_of(one.forward(ids, one.initial_state(B))[0]), rtol=1e-12
    )


def test_logits_far_apart_do_not_overflow():
    logits = np.array([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(log_softmax_of(logits), [[0, -2e4, -1e4]], rtol=1e-12)


def compiled_ensemble(threads=1, precision="float64"):
    pytest.importorskip("charloom.engines.fused")
    from charloom.engines.fused.ensemble import FusedEnsemble

    return FusedEnsemble(members("fused", precision), threads=threads)


RULES = [
    SamplingParams(7),
    SamplingParams(7, temperature=0.5, top_k=4, end_id=2),
    SamplingParams(7, temperature=0.0, repetition_penalty=1.3),
]


@pytest.mark.parametrize("params", RULES, ids=["plain", "filtered", "penalty"])
def test_the_compiled_loop_writes_what_single_steps_write(params):
    """The plain ensemble of the scratch engine is read one step at a time in Python, by the same sampler as any model."""
    plain, compiled = EnsembleModel(members()), compiled_ensemble()
    prompts = [np.array([1, 2, 3]), np.array([4]), np.array([0, 0])]
    outputs = []
    for model in (plain, compiled):
        before = prefill_batch(model, prompts, [0, 1, 2], 8 if params.repetition_penalty else 0)
        sampler = new_sampler(model, before, params, log_probs=True)
        ids, scores = [], []
        while sum(part.shape[1] for part in ids) < 40:
            chosen, lengths, nats = sampler.decode(40)
            ids.append(chosen[:, : lengths[0]])
            scores.append(nats[:, : lengths[0]])
        outputs.append([np.concatenate(part, axis=1)[:, :40] for part in (ids, scores)])
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
    np.testing.assert_allclose(
        outputs[0][1], outputs[1][1], rtol=1e-6
    )  # compiled code adds them up in float32


def test_after_decoding_the_state_and_the_logits_are_those_of_reading():
    model = compiled_ensemble()
    before = prefill_batch(model, [np.array([1, 2])] * 2, [0, 1], 0)
    done = model.decode(before, SamplingParams(3), 30)
    read = np.concatenate([np.tile([1, 2], (2, 1)), done.ids], axis=1)
    logits, state = model.forward(read, model.initial_state(2))
    np.testing.assert_allclose(done.after.logits, logits[:, -1], rtol=1e-9)
    for layer, other in zip(done.after.state, state, strict=True):
        for key in layer:
            np.testing.assert_allclose(layer[key], other[key], rtol=1e-9)


def test_rows_on_several_threads_write_the_same():
    prompts, numbers = [np.array([n % V]) for n in range(40)], list(range(40))
    found = []
    for threads in (1, 3):
        model = compiled_ensemble(threads, "float32")
        rules = [SamplingParams(5, temperature=0.2 + 0.1 * number) for number in numbers]
        found.append(model.decode(prefill_batch(model, prompts, numbers, 0), rules, 25).ids)
    np.testing.assert_array_equal(*found)


def test_a_member_without_a_distribution_is_told():
    from charloom.errors import DivergedError

    model = compiled_ensemble()
    before = prefill_batch(model, [np.array([1])], [0], 0)
    broken = DecodeState(
        before.logits * np.nan, before.state, before.recent, before.positions, before.samples
    )
    with pytest.raises(DivergedError, match="not finite"):
        model.decode(broken, SamplingParams(1), 5)
