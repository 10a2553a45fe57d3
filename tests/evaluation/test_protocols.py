"""Losses of each protocol against naive versions that score one character at a time, and their reproducibility."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.evaluation import protocols
from charloom.evaluation.protocols import (
    Score,
    dynamic_loss,
    standard_error,
    stream_estimate,
    stream_loss,
    windows_loss,
)
from charloom.parameters import initial_parameters
from charloom.rng import Purpose, uniforms
from charloom.text.batching import Plan

V = 6
CLOSE = 1e-12  # float64; the naive version adds in another order
WARM = 2e-3  # nats; a small random GRU forgets its initial state during the priming
MODEL = ModelConfig(cell="gru", hidden_size=8, init="uniform", init_scale=0.7)


@pytest.fixture
def model():
    return load_engine("torch").model(initial_parameters(MODEL, V, 3), MODEL, precision="float64")


def nats(logits, target):
    shifted = logits - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[target])


def surprisals(model, ids, boundary_id=None):
    """The loss of each character after the first, one step at a time from zero state."""
    state, losses = model.initial_state(1), []
    for char_id, target in zip(ids, ids[1:], strict=False):
        if char_id == boundary_id:
            state = model.initial_state(1)
        logits, state = model.step(np.array([char_id]), state)
        losses.append(nats(logits[0], target))
    return np.array(losses)


@pytest.mark.parametrize("length", [2, 3, 256, 257, 258, 700])
@pytest.mark.parametrize("boundary_id", [None, 2])
def test_stream_is_one_pass_over_the_text_with_carried_state(model, length, boundary_id, rng):
    ids = rng.integers(0, V, length)
    score = stream_loss(model, ids, boundary_id=boundary_id)
    assert (score.protocol, score.chars, score.unknown_chars) == ("stream", length - 1, 0)
    assert score.loss_nats == pytest.approx(surprisals(model, ids, boundary_id).mean(), rel=CLOSE)


def test_each_document_is_scored_independently(model, rng):
    ids = rng.integers(0, V - 1, 90)
    ids[[30, 60]] = V - 1
    joined = stream_loss(model, ids, boundary_id=V - 1)
    parts = [surprisals(model, ids[a:b]) for a, b in ((0, 31), (30, 61), (60, 90))]
    assert joined.loss_nats == pytest.approx(np.concatenate(parts).mean(), rel=CLOSE)


@pytest.mark.parametrize("exact_chars", [100, 333, 999])
def test_a_long_stream_in_primed_segments_is_close_to_the_exact_one(model, exact_chars, rng, monkeypatch):
    ids = rng.integers(0, V, 2000)
    exact = stream_loss(model, ids)
    monkeypatch.setattr(protocols, "EXACT_STREAM_CHARS", exact_chars)
    monkeypatch.setattr(protocols, "PRIMING_CHARS", 40)
    split = stream_loss(model, ids)
    assert split.chars == exact.chars == 1999
    assert split.loss_nats != exact.loss_nats
    assert split.loss_nats == pytest.approx(exact.loss_nats, abs=WARM)


@pytest.mark.parametrize(
    ("num_chars", "lanes"), [(2, 1), (4_097, 2), (30_000, 8), (131_073, 8), (500_001, 31), (2**21, 64)]
)
def test_long_texts_are_read_in_eight_segments_or_more(num_chars, lanes):
    starts, ends = protocols.exact_segments(num_chars - 1)
    assert len(starts) == lanes
    assert starts[0] == 0
    assert ends[-1] == num_chars - 1
    assert (starts[1:] == ends[:-1]).all()


def test_costs_are_in_characters_read_by_eight_segments_at_least():
    assert protocols.stream_cost(1001) == 8 * 1000
    assert protocols.stream_cost(30_001) == 8 * (3750 + 1024)
    assert protocols.stream_cost(500_001) == 31 * (16_130 + 1024)
    assert protocols.estimate_cost(30_001, 3072) == 8 * (384 + 128)
    assert protocols.estimate_cost(30_001, 1000) == 8 * (500 + 128)


@pytest.mark.parametrize("priming", [0, 7, 40, 300, 5000])
def test_each_segment_is_primed_before_its_first_scored_character(model, priming, rng, monkeypatch):
    ids = rng.integers(0, V, 1000)
    monkeypatch.setattr(protocols, "EXACT_STREAM_CHARS", 350)
    monkeypatch.setattr(protocols, "PRIMING_CHARS", priming)
    losses = []
    for start, end in ((0, 333), (333, 666), (666, 999)):
        begin = max(0, start - priming)
        losses.append(surprisals(model, ids[begin : end + 1])[start - begin :])
    expected = np.concatenate(losses)
    assert len(expected) == 999
    assert stream_loss(model, ids).loss_nats == pytest.approx(expected.mean(), rel=CLOSE)


def test_an_estimate_with_a_large_limit_scores_everything(model, rng):
    ids = rng.integers(0, V, 900)
    score = stream_estimate(model, ids, max_chars=10_000)
    assert score.chars == 899
    assert score.loss_nats == pytest.approx(stream_loss(model, ids).loss_nats, abs=WARM)


def test_an_estimate_scores_evenly_spaced_segments_within_its_limit(model, rng):
    ids = rng.integers(0, V, 3000 * 4 + 1)
    score = stream_estimate(model, ids, max_chars=2400)  # 6 segments of 400: each has at least 384
    assert score.chars == 2400
    losses = [surprisals(model, ids[max(0, s - 128) : s + 401])[-400:] for s in range(0, 2000 * 6, 2000)]
    assert score.loss_nats == pytest.approx(np.concatenate(losses).mean(), rel=CLOSE)


def naive_windows(model, ids, window, num_windows, seed, boundary_id=None):
    total = 0.0
    for n in range(num_windows):
        u = float(uniforms(seed, Purpose.EVALUATE, 0, [n], 1)[0, 0])
        start = int(u * (len(ids) - window))
        total += surprisals(model, ids[start : start + window + 1], boundary_id).sum()
    return total / (num_windows * window)


@pytest.mark.parametrize(("window", "num_windows"), [(1, 5), (10, 9), (49, 3)])
@pytest.mark.parametrize("boundary_id", [None, 2])
def test_windows_start_from_zero_state_and_count_every_position(model, window, num_windows, boundary_id, rng):
    ids = rng.integers(0, V, 50)
    score = windows_loss(model, ids, window=window, num_windows=num_windows, seed=4, boundary_id=boundary_id)
    assert (score.protocol, score.chars) == ("windows", window * num_windows)
    expected = naive_windows(model, ids, window, num_windows, 4, boundary_id)
    assert score.loss_nats == pytest.approx(expected, rel=CLOSE)


def test_the_batch_size_of_windows_does_not_change_the_loss(model, rng):
    ids = rng.integers(0, V, 200)
    scores = [windows_loss(model, ids, window=20, num_windows=30, batch_size=b).loss_nats for b in (1, 7, 64)]
    assert scores == pytest.approx([scores[0]] * 3, rel=CLOSE)


def test_losses_are_reproducible_and_depend_on_the_seed(rng):
    ids = rng.integers(0, V, 600)
    models = [load_engine("torch").model(initial_parameters(MODEL, V, 3), MODEL) for _ in range(2)]
    assert stream_loss(models[0], ids) == stream_loss(models[1], ids)
    assert stream_estimate(models[0], ids, max_chars=50) == stream_estimate(models[1], ids, max_chars=50)
    one, same, other = (
        windows_loss(m, ids, window=30, num_windows=40, seed=s)
        for m, s in zip(models + models[:1], (5, 5, 6), strict=True)
    )
    assert one == same
    assert one != other


def learner_for(settings):
    return load_engine("torch").learner(initial_parameters(MODEL, V, 3), MODEL, settings, device="cpu")


def dynamic_settings(**changes):
    return TrainConfig(
        **{
            "batch_size": 1,
            "bptt_length": 16,
            "stream_offset": "fixed",
            "optimizer": "sgd",
            "learning_rate": 0.3,
            "schedule": "constant",
            "clip_norm": None,
            "precision": "float64",
            **changes,
        }
    )


def test_dynamic_scores_each_window_and_then_trains_on_it(rng):
    import torch

    from charloom.engines.torch import network

    ids, settings = rng.integers(0, V, 101), dynamic_settings()
    score = dynamic_loss(learner_for(settings), Plan(ids, settings))
    params = {n: torch.tensor(p, requires_grad=True) for n, p in initial_parameters(MODEL, V, 3).items()}
    state, total = [{"h": torch.zeros(1, 8, dtype=torch.float64)}], 0.0
    for start in range(0, 100, 16):
        chunk = torch.tensor(ids[start : min(start + 17, 101)])[None]
        logits, state = network.forward(MODEL, params, chunk[:, :-1], state)
        loss = torch.nn.functional.cross_entropy(logits[0], chunk[0, 1:])
        total += float(loss.detach()) * (chunk.shape[1] - 1)
        for p, d in zip(params.values(), torch.autograd.grad(loss, list(params.values())), strict=True):
            p.data -= 0.3 * d
        state = [{"h": state[0]["h"].detach()}]
    assert (score.protocol, score.chars) == ("dynamic", 100)
    assert score.loss_nats == pytest.approx(total / 100, rel=1e-10)


def test_dynamic_reports_progress_and_keeps_no_more_than_a_few_windows(rng, monkeypatch):
    ids, settings = rng.integers(0, V, 16 * 100), dynamic_settings()
    plan, learner, shares, taken = Plan(ids, settings), learner_for(settings), [], []
    advance = learner.advance

    def counted(plan, first_step, num_steps, state):
        taken.append(num_steps)
        return advance(plan, first_step, num_steps, state)

    monkeypatch.setattr(learner, "advance", counted)
    score = dynamic_loss(learner, plan, on_progress=shares.append)
    assert taken == [32, 32, 32, 4]
    assert shares == [0.32, 0.64, 0.96, 1.0]
    _, whole = (one := learner_for(settings)).advance(plan, 0, 100, one.initial_state(range(1)))
    mean = float((whole.loss * whole.chars).sum() / whole.chars.sum())
    assert score.loss_nats == pytest.approx(mean, rel=1e-12)


def test_dynamic_without_learning_is_the_stream(model, rng):
    ids, settings = rng.integers(0, V, 101), dynamic_settings(learning_rate=1e-300)
    score = dynamic_loss(learner_for(settings), Plan(ids, settings))
    assert score.loss_nats == pytest.approx(stream_loss(model, ids).loss_nats, rel=1e-10)


def test_dynamic_learns_a_repetitive_text():
    ids, settings = np.tile(np.arange(V), 200), dynamic_settings()
    plan = Plan(ids, settings)
    still = learner_for(dynamic_settings(learning_rate=1e-300))
    assert dynamic_loss(learner_for(settings), plan).loss_nats < 0.5 * dynamic_loss(still, plan).loss_nats


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_too_short_for_the_stream_is_refused(model, length):
    with pytest.raises(DataError, match=rf"has {length} known characters.*at least 2"):
        stream_loss(model, np.zeros(length, np.int64))
    with pytest.raises(DataError, match="at least 2"):
        stream_estimate(model, np.zeros(length, np.int64), max_chars=9)


def test_a_text_shorter_than_a_window_and_its_target_is_refused(model):
    with pytest.raises(DataError, match=r"at least 21.*--window"):
        windows_loss(model, np.zeros(20, np.int64), window=20, num_windows=1)
    assert windows_loss(model, np.zeros(21, np.int64), window=20, num_windows=1).chars == 20


@pytest.mark.parametrize(("unit", "per"), [("char", "per character"), ("byte", "per byte")])
def test_every_number_of_a_summary_has_its_unit(unit, per):
    title = Score("stream", 10, math.log(8), unit=unit).summary().title
    assert title == f"Score: 3.0000 bits {per} = 2.0794 nats {per}, perplexity 8.000 {per}"


def test_bits_and_perplexity_follow_from_nats():
    score = Score("stream", 10, math.log(8))
    assert score.bits_per_char == pytest.approx(3.0)
    assert score.perplexity == pytest.approx(8.0)
    assert 2**score.bits_per_char == pytest.approx(score.perplexity)


def test_the_loss_of_a_uniform_model_is_the_logarithm_of_the_vocabulary_size():
    zeros = {name: 0 * p for name, p in initial_parameters(MODEL, V, 0).items()}
    model = load_engine("torch").model(zeros, MODEL, precision="float64")
    for score in (
        stream_loss(model, np.arange(V)),
        windows_loss(model, np.arange(V), window=3, num_windows=4),
    ):
        assert score.loss_nats == pytest.approx(math.log(V), rel=CLOSE)
        assert score.perplexity == pytest.approx(V, rel=CLOSE)


def test_the_standard_error_comes_from_blocks_of_neighbouring_characters():
    """Blocks that cost 1 and 3 nats a character in turn: alone they would look 16 times as certain."""
    rng = np.random.default_rng(0)
    means = rng.normal(2.0, 0.5, 100)
    nats, chars = 256 * means, np.full(100, 256)
    assert standard_error(nats, chars) == pytest.approx(means.std(ddof=1) / 10)
    assert standard_error(np.array([5.0]), np.array([4])) is None
    assert standard_error(np.array([2.0, 6.0]), np.array([1, 3])) == 0.0  # the same cost a character
    assert (
        standard_error(np.array([2.0, 0.0, 2.0]), np.array([1, 0, 1])) == 0.0
    )  # an empty block does not count


def test_the_stream_reports_the_standard_error_of_its_loss(model, rng):
    ids = rng.integers(0, V, 1_025)
    own = np.array(surprisals(model, ids)).reshape(-1, 32)
    expected = own.mean(axis=1).std(ddof=1) / np.sqrt(len(own))
    assert stream_loss(model, ids).standard_error == pytest.approx(expected, rel=1e-6)
