"""The decoding loop: a seed gives the same text for every split into calls, number of threads and batch."""

from dataclasses import replace

import numpy as np
import pytest

from charloom.engines import BatchDecoder, SamplingParams, load_engine
from charloom.engines.fused import model as models
from charloom.engines.fused.model import FusedModel
from charloom.engines.fused.thread_tuner import ThreadTuner
from charloom.errors import DivergedError
from charloom.generation.decoding import CompiledSampler, StepwiseSampler
from charloom.generation.prefill import prefill_batch

from ..cases import SHORT_CASES, V, random_parameters

every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())
PARAMS = SamplingParams(5, temperature=1.2, top_p=0.95, repetition_penalty=1.3)
N = 40


def begin(model, samples, penalty_window=6):
    prompts_with_bos = [np.array([s % V, (s * s) % V]) for s in samples]
    return prefill_batch(model, prompts_with_bos, samples, penalty_window)


def generate(model, rows, lengths=(N,)):
    """Call `decode` once per length: (ids, log-probabilities), state."""
    parts = []
    for length in lengths:
        result = model.decode(rows, PARAMS, length, log_probs=True)
        assert (result.lengths == length).all()
        parts.append((result.ids, result.log_probs))
        rows = result.after
    return tuple(np.concatenate(part, axis=1) for part in zip(*parts)), rows


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_stack
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_same_seed_writes_the_same_text_bit_for_bit(config, precision, rng, monkeypatch):
    params = random_parameters(config, rng)
    model = FusedModel(params, config, precision=precision)
    samples = list(range(19))
    whole, after = generate(model, begin(model, samples))
    assert len({row.tobytes() for row in whole[0]}) > 5, "samples must differ"
    cut, after_cut = generate(model, begin(model, samples), lengths=(1, 2, 17, 20))
    assert_same(cut, whole)
    np.testing.assert_array_equal(after_cut.logits, after.logits)
    for threads in (1, 2, 3):  # threads divide the rows
        monkeypatch.setattr(models, "ROWS_A_THREAD", 4)
        shared = FusedModel(params, config, precision=precision, threads=threads)
        assert_same(generate(shared, begin(shared, samples))[0], whole)
    for sample in (0, 7, 18):  # one sample, by one thread and by two that divide each product
        for threads in (None, 2):
            alone = FusedModel(params, config, precision=precision, threads=threads)
            found, _ = generate(alone, begin(alone, [sample]), lengths=(7, 9, 24))
            assert_same(found, [part[sample : sample + 1] for part in whole])


def test_each_row_may_have_its_own_rule(rng, monkeypatch):
    """Rows of one call, on one thread or two, draw as they do alone."""
    config = next(iter(SHORT_CASES.values()))
    params, samples = random_parameters(config, rng), list(range(9))
    rules = [
        SamplingParams(3),
        SamplingParams(4, temperature=0.0),
        SamplingParams(3, logit_bias=rng.normal(size=V).astype(np.float32) * 4),
        SamplingParams(9, top_k=2, end_id=1),
    ]
    monkeypatch.setattr(models, "ROWS_A_THREAD", 4)
    each = [rules[sample % len(rules)] for sample in samples]
    for threads in (1, 2):
        model = FusedModel(params, config, threads=threads)
        rows = begin(model, samples, 0)
        together = model.decode(rows, each, 12)
        for sample in samples:
            alone = model.decode(begin(model, [sample], 0), each[sample], 12)
            length = min(together.lengths[sample], alone.lengths[0])
            assert length > 0
            np.testing.assert_array_equal(together.ids[sample, :length], alone.ids[0, :length])


@every_stack
def test_it_generates_the_same_text_as_scratch_and_numpy(config, rng):
    params, samples = random_parameters(config, rng), [3, 0, 4]
    fused = FusedModel(params, config, precision="float64")
    scratch = load_engine("scratch").model(params, config, precision="float64")
    assert isinstance(fused, BatchDecoder)
    assert not isinstance(scratch, BatchDecoder)
    samplers = [
        kind(m, begin(m, samples), PARAMS, True)
        for kind, m in ((CompiledSampler, fused), (StepwiseSampler, scratch))
    ]
    texts, scores = [], []
    for sampler in samplers:
        parts = []
        while sum(part[0].shape[1] for part in parts) < N:
            ids, lengths, log_probs = sampler.decode(N - sum(part[0].shape[1] for part in parts))
            assert (lengths == ids.shape[1]).all()
            parts.append((ids, log_probs))
        texts.append(np.concatenate([part[0] for part in parts], axis=1))
        scores.append(np.concatenate([part[1] for part in parts], axis=1))
    np.testing.assert_array_equal(*texts)
    np.testing.assert_allclose(*scores, atol=1e-6)  # float32 weights
    ours, theirs = (sampler.current() for sampler in samplers)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-9)
    np.testing.assert_array_equal(ours.recent, theirs.recent)


def test_a_row_that_ends_stops_the_call_for_its_group(rng):
    config = SHORT_CASES["gru-plain-one-hot-2"]
    model = FusedModel(random_parameters(config, rng), config)
    rows = begin(model, [1, 2, 3])
    free = model.decode(rows, PARAMS, N)
    for end_id in range(V):
        result = model.decode(rows, replace(PARAMS, end_id=end_id), N)
        n = int(result.lengths[0])
        at = np.flatnonzero((free.ids == end_id).any(axis=0))
        assert n == (at[0] + 1 if len(at) else N)
        np.testing.assert_array_equal(result.ids[:, :n], free.ids[:, :n])


def test_decode_does_not_modify_its_input(rng):
    config = SHORT_CASES["lstm-residual-2"]
    model = FusedModel(random_parameters(config, rng), config)
    rows = begin(model, [1, 2])
    before = [rows.logits.copy(), rows.recent.copy(), rows.positions.copy()] + [
        leaf.copy() for layer in rows.state for leaf in layer.values()
    ]
    model.decode(rows, PARAMS, 9)
    after = [rows.logits, rows.recent, rows.positions] + [
        leaf for layer in rows.state for leaf in layer.values()
    ]
    assert_same(after, before)


def test_non_finite_logits_are_an_error(rng):
    config = SHORT_CASES["elman-relu-plain-one-hot-2"]
    params = random_parameters(config, rng)
    params["out.bias"][2] = np.nan
    model = FusedModel(params, config)
    with pytest.raises(DivergedError):
        model.decode(begin(model, [1]), PARAMS, 9)


def test_the_faster_number_of_threads_is_used_and_the_other_retried():
    tuner, tried = ThreadTuner(2), []
    for i in range(400):
        tried.append(tuner.threads)
        tuner.note(tuner.threads, 0.1 if (tuner.threads == 1) == (i < 200) else 0.4)
    assert tried[:2] == [2, 1]
    assert tried[2:200].count(2) < 10
    assert tried[-50:].count(2) > 40  # the machine became idle
    assert {ThreadTuner(1).threads} == {1}
