"""Findings on the memory: networks with a known fault or none, trained for seconds, and the rules at their thresholds."""

import math

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.insight.error_analysis import position_losses
from charloom.insight.gradient_flow import Flow, describe, measure
from charloom.insight.passages import spaced
from charloom.insight.verdicts import EXPLODED_FACTOR, VANISHED_WITHIN_CHARS, Evidence, memory_finding
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary
from charloom.text.batching import Plan
from charloom.training.facts import bare_facts
from charloom.training.verdict import judge

TEXT = "the old man and a small boat went over the grey sea where gulls cried all day long until night fell"
WORDS = TEXT.split()
SEEDS = (0, 1, 2)


def tale(seed, num_words):
    """Words with preferred successors: a text that can be learnt, different for every seed."""
    rng = np.random.default_rng(seed)
    words, at = [], 0
    for _ in range(num_words):
        at = (at + rng.choice([1, 1, 1, 2, 5])) % len(WORDS)
        words.append(WORDS[at])
    return " ".join(words)


def babble(seed, num_words):
    """Random words that never recur, so they can only be memorised."""
    rng = np.random.default_rng(seed)
    letters = sorted(set(TEXT) - {" "})
    return " ".join("".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(num_words))


NUM_STEPS = {"elman": 150, "lstm": 150, "gru": 150, "mingru": 400}
"""Enough for each to learn the words. A minGRU's gate cannot see its state, learns last to retain it, and until then rightly
raises an alarm."""

VOCAB = Vocabulary.from_text(TEXT)
HELD_OUT = VOCAB.encode(tale(99, 700)).astype(int)


def trained(config, ids, steps, seed, **settings):
    """The parameters after a few seconds of training with the scratch engine."""
    settings = {"batch_size": 16, "bptt_length": 32, "learning_rate": 5e-3, "steps": steps, **settings}
    train_config = TrainConfig(seed=seed, schedule="constant", **settings)
    engine = load_engine("scratch")
    learner = engine.learner(initial_parameters(config, len(VOCAB), seed), config, train_config, device="cpu")
    plan = Plan(ids, train_config)
    learner.advance(plan, 0, steps, learner.initial_state(range(plan.batch_size)))
    return learner.model().parameters()


def facts_of(config, params, train, held_out=HELD_OUT, num_lags=60):
    model = load_engine("scratch").model(params, config, precision="float64")
    flow = measure(config, params, spaced(held_out, num_lags + 17, 3), num_lags)
    with np.errstate(over="ignore", invalid="ignore"):
        nats = [float(position_losses(model, ids).mean()) for ids in (held_out, train)]
    return Evidence(flow, num_lags, config), bare_facts(*nats, config)


def judged(case):
    evidence, losses = case
    (verdict,) = judge(losses, memory_finding(evidence))
    return verdict


def finding(evidence):
    return memory_finding(evidence).kind


@pytest.mark.parametrize("seed", SEEDS)
def test_a_memorised_text_is_called_memorised_and_not_vanishing(seed):
    """System A in small: sliding windows over too little text, an Elman network, no held-out part."""
    config = ModelConfig(cell="elman", hidden_size=48, init="pytorch")
    ids, held_out = (VOCAB.encode(babble(number, 60)).astype(int) for number in (seed, seed + 10))
    params = trained(config, ids, 400, seed, batching="sliding", stride=3)
    case = facts_of(config, params, ids, held_out)
    verdict, losses = judged(case), case[1]
    assert verdict.kind == "memorised"
    assert verdict.number == pytest.approx(losses.val_loss - losses.train_loss)
    assert f"{losses.train_loss:.2f}" in verdict.says


def scaled(config, params, radius):
    """The network with its recurrent weights rescaled to a given spectral radius."""
    w = params["layers.0.cell.w_hh"]
    return params | {"layers.0.cell.w_hh": w * radius / abs(np.linalg.eigvals(w)).max()}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spectral_radius_of_0_3_is_called_vanishing(seed):
    config = ModelConfig(cell="elman", hidden_size=48)
    params = scaled(config, trained(config, HELD_OUT, 60, seed), 0.3)
    case = facts_of(config, params, HELD_OUT)
    verdict = judged(case)
    assert verdict.kind == "vanishing"
    assert verdict.number == case[0].trained.memory_horizon_chars <= VANISHED_WITHIN_CHARS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spectral_radius_of_3_with_relu_is_called_exploding(seed):
    config = ModelConfig(cell="elman", activation="relu", hidden_size=48)
    params = scaled(config, trained(config, HELD_OUT, 60, seed), 3.0)
    verdict = judged(facts_of(config, params, HELD_OUT))
    assert verdict.kind == "exploding"
    assert verdict.number >= EXPLODED_FACTOR


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cell", NUM_STEPS)
def test_a_trained_network_raises_no_alarm(cell, seed):
    config = ModelConfig(cell=cell, hidden_size=48)
    ids = VOCAB.encode(tale(seed, 4_000)).astype(int)
    case = facts_of(config, trained(config, ids, NUM_STEPS[cell], seed), ids[:3_000])
    assert judged(case).kind == "healthy"
    assert case[1].val_loss < 1.0


def horizon_of(params, **settings):
    config = ModelConfig(hidden_size=48, **settings)
    found = measure(config, params, spaced(HELD_OUT, 77, 3), 60).memory_horizon_chars
    return 61 if found is None else found


def after(steps, ids=HELD_OUT, **settings):
    """(parameters, settings) of a network after `steps` steps."""
    return trained(ModelConfig(hidden_size=48, **settings), ids, steps, 0), settings


def test_following_the_advice_on_a_vanishing_signal_extends_its_reach():
    config = ModelConfig(cell="elman", hidden_size=48)
    faded = horizon_of(scaled(config, trained(config, HELD_OUT, 60, 0), 0.3), cell="elman")
    for params, settings in (after(60, cell="gru"), after(60, cell="elman", init="orthogonal")):
        assert horizon_of(params, **settings) > faded  # elman: use --cell gru, or --init orthogonal
    shut, opened = (after(60, cell="lstm", forget_bias=bias) for bias in (-2.0, 1.0))
    assert horizon_of(opened[0], **opened[1]) > horizon_of(shut[0], **shut[1])  # raise --forget-bias
    for cell, few, many in (("gru", 50, 300), ("mingru", 150, 400)):
        short, long = (after(steps, cell=cell) for steps in (few, many))
        assert horizon_of(long[0], **long[1]) > horizon_of(short[0], **short[1])  # train longer


def test_following_the_advice_on_an_exploding_signal_removes_the_verdict():
    config = ModelConfig(cell="elman", activation="relu", hidden_size=48, init="orthogonal")
    facts = facts_of(config, trained(config, HELD_OUT, 60, 0, clip_norm=1.0), HELD_OUT)
    assert judged(facts).kind != "exploding"


def test_following_the_advice_on_a_memorised_text_narrows_the_gap():
    """More text, the same network and the same number of steps."""
    config, gaps = ModelConfig(cell="elman", hidden_size=48), []
    held_out = VOCAB.encode(babble(10, 60)).astype(int)
    for num_words in (60, 600):
        ids = VOCAB.encode(babble(0, num_words)).astype(int)
        params = trained(config, ids, 300, 0, batching="sliding", stride=3)
        gaps.append(facts_of(config, params, ids, held_out)[1].gap)
    assert gaps[1] < 0.5 * gaps[0]


def flow_of(*curves):
    arrays = tuple(describe(i, "h", np.array(curve)) for i, curve in enumerate(curves))
    horizons = [decay.horizon_chars for decay in arrays]
    return Flow(arrays, None if None in horizons else max(horizons))


def made(flow, *, cell="gru", **settings):
    return Evidence(**{"trained": flow, "num_lags": 60, "model": ModelConfig(cell=cell)} | settings)


FADES = 0.01 ** (np.arange(61) / VANISHED_WITHIN_CHARS)
LASTS = 0.01 ** (np.arange(61) / (VANISHED_WITHIN_CHARS + 1))


def test_the_threshold_of_vanishing():
    assert finding(made(flow_of(FADES * 0.999 ** np.arange(61)))) == "vanishing"
    assert finding(made(flow_of(LASTS))) == "healthy"
    assert finding(made(flow_of(FADES, np.ones(61)))) == "healthy"  # one layer remembers


def test_the_threshold_of_exploding():
    grows = np.ones(61)
    grows[7] = EXPLODED_FACTOR
    found = memory_finding(made(flow_of(np.ones(61), grows)))
    assert (found.kind, found.number) == ("exploding", EXPLODED_FACTOR)
    assert "7 characters back" in found.says
    grows[7] *= 0.999
    assert finding(made(flow_of(grows))) == "healthy"
    grows[9] = np.nan
    found = memory_finding(made(flow_of(grows)))
    assert (found.kind, found.number) == ("exploding", math.inf)


def test_a_network_with_zero_output_projections_is_silent_and_not_vanishing():
    config = ModelConfig(cell="mingru", block="residual", hidden_size=16)
    evidence, _ = facts_of(config, initial_parameters(config, len(VOCAB), 0), HELD_OUT)
    assert evidence.trained.memory_horizon_chars == 0
    assert finding(evidence) == "silent"
    assert finding(made(flow_of(np.zeros(61), LASTS))) == "healthy"  # one layer has a gradient


def test_a_count_of_one_is_singular():
    assert "after 1 character," in memory_finding(made(flow_of(0.001 ** np.arange(61)))).says


@pytest.mark.parametrize(
    ("train_nats", "held_out_nats", "expected"),
    [
        (0.01, 5.2, "memorised"),
        (0.01, 0.02, "healthy"),  # a small loss alone is not a fault: the held-out text costs as little
        (1.9, 3.1, "healthy"),
        (0.6, 1.5, "healthy"),
        (math.inf, 5.2, "healthy"),
    ],
)
def test_memorising_depends_on_held_out_text(train_nats, held_out_nats, expected):
    case = made(flow_of(LASTS)), bare_facts(held_out_nats, train_nats, ModelConfig())
    assert judged(case).kind == expected


def test_a_memorised_text_takes_precedence_over_the_memory():
    case = made(flow_of(FADES)), bare_facts(5.0, 0.01, ModelConfig())
    assert judged(case).kind == "memorised"


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "mingru"])
def test_every_finding_has_a_number_a_threshold_and_advice(cell):
    for curve in (FADES, 2.0 ** np.arange(61), np.zeros(61), LASTS):
        found = memory_finding(made(flow_of(curve), cell=cell, bptt_length=100, last_step=70))
        assert found.advice
        assert f"{found.number:.3g}" in found.says
        assert found.kind == "healthy" or found.settings or found.more_steps == 70


def test_an_lstm_whose_forget_gate_is_open_is_not_told_to_open_it():
    shut = ModelConfig(cell="lstm", forget_bias=-2.0)
    assert memory_finding(made(flow_of(FADES), model=shut)).settings == {"forget_bias": 1.0}
    assert memory_finding(made(flow_of(FADES), cell="lstm", last_step=70)).settings == {}


def test_relu_units_that_are_off_are_told_apart_from_an_untrained_block():
    off = ModelConfig(cell="elman", activation="relu")
    assert memory_finding(made(flow_of(np.zeros(61)), model=off)).settings == {"activation": "tanh"}
    assert memory_finding(made(flow_of(np.zeros(61)))).settings == {}


def test_windows_longer_than_the_horizon_are_mentioned():
    assert "windows of 100" in memory_finding(made(flow_of(FADES), bptt_length=100)).says
    assert "windows" not in memory_finding(made(flow_of(FADES), bptt_length=4)).says
