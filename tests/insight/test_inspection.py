"""A full inspection: every cell and block, documents, short texts, and reproducible numbers."""

import json

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.evaluation.protocols import stream_loss
from charloom.insight import Sizes, inspect
from charloom.insight.gradient_flow import measure
from charloom.insight.passages import resets_before, spaced
from charloom.modelfile import ModelFile
from charloom.text import Vocabulary
from tests.engines.cases import SHORT_CASES, random_parameters

from .small import SMALL

KEYS = {"gradient_flow", "memory_horizon_chars", "context_curve", "gates", "verdicts"}  # DESIGN §7
TEXT = "".join(f"Line {n}: « said » (he) no.\n" for n in range(60))


def model_of(config, rng, documents="none"):
    text_config = TextConfig(documents=documents)
    vocab = Vocabulary.from_text(TEXT, text_config)
    return ModelFile(random_parameters(config, rng, len(vocab)), config, text_config, vocab)


@pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES)
def test_every_network_gets_every_measurement(config, rng):
    found = inspect(model_of(config, rng), TEXT[800:], train=TEXT[:800], bptt_length=50, sizes=SMALL)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document.keys() >= KEYS
    assert document["memory_horizon_chars"] == document["gradient_flow"]["trained"]["memory_horizon_chars"]
    assert len(document["gradient_flow"]["initial"]["arrays"]) == 2 * (1 + (config.cell == "lstm"))
    assert [one["layer"] for one in document["jacobian"]] == [0, 1]
    assert len(document["context_curve"]["loss_nats"]) == SMALL.reach
    assert len(document["context_curve"]["order_share"]) == 2  # after 1 and 4 of 10 characters
    assert len(document["errors"]["overall"]["ngram_bits_per_char"]) == 7
    assert len(document["connectivity"]["lean"]) == SMALL.lean_rows
    assert document["verdicts"]


def test_the_same_model_and_text_give_the_same_numbers(rng):
    model = model_of(ModelConfig(cell="gru", hidden_size=6), rng)
    first, second = (inspect(model, TEXT, train=TEXT, sizes=SMALL).to_json() for _ in range(2))
    assert first == second


def test_each_part_equals_its_separate_measurement(rng):
    config = ModelConfig(cell="lstm", hidden_size=6)
    model = model_of(config, rng)
    ids = model.vocab.encode(TEXT)
    found = inspect(model, ids, train=ids, sizes=SMALL)
    passages = spaced(ids, SMALL.num_lags + SMALL.num_losses + 1, SMALL.num_passages)
    alone = measure(config, model.parameters, passages, SMALL.num_lags)
    assert (found.gradient_flow.trained.arrays[1].grad_norm_by_lag == alone.arrays[1].grad_norm_by_lag).all()
    engine = load_engine("scratch").model(model.parameters, config, precision="float64")
    whole = stream_loss(engine, ids.astype(int)).loss_nats  # not of the characters whose errors are analysed
    assert (found.held_out_nats, found.num_chars) == (pytest.approx(whole, rel=1e-5), len(ids))
    assert found.train_nats == pytest.approx(whole, rel=1e-5)
    assert found.errors.overall.num_chars == SMALL.error_chars - 1
    assert "".join(found.passage) == TEXT[: SMALL.lean_lags + SMALL.lean_rows + 1]


def test_without_a_training_text_the_comparisons_are_omitted(rng):
    found = inspect(model_of(ModelConfig(cell="gru", hidden_size=6), rng), TEXT, sizes=SMALL)
    assert found.train_nats is None
    assert found.errors.overall.ngram_bits_per_char == ()
    assert "memorised" not in [verdict.kind for verdict in found.verdicts]


def test_documents_are_read_separately(rng):
    model = model_of(ModelConfig(cell="gru", hidden_size=6), rng, documents="line")
    found = inspect(model, TEXT, train=TEXT, sizes=SMALL)
    assert found.context_curve.far is None
    longest = max(map(len, TEXT.splitlines()))
    longer = inspect(model, TEXT, sizes=Sizes(num_lags=60, num_losses=40)).gradient_flow
    assert len(longer.trained.arrays[0].grad_norm_by_lag) <= longest + 1 < longer.num_lags
    assert "\N{REPLACEMENT CHARACTER}" not in found.passage
    assert "\n" not in found.embedding.chars  # a document boundary is not a character


def test_a_byte_model_can_be_inspected(rng):
    config, text_config = ModelConfig(cell="mingru", hidden_size=5), TextConfig(unit="byte")
    vocab = Vocabulary.from_text(TEXT, text_config)
    model = ModelFile(random_parameters(config, rng, len(vocab)), config, text_config, vocab)
    found = inspect(model, TEXT, train=TEXT, sizes=SMALL)
    assert {group.name for group in found.errors.by_class} >= {"lowercase", "space"}


@pytest.mark.parametrize("num_chars", [64, 100, 250])
def test_a_short_text_reduces_the_sizes(num_chars, rng):
    model = model_of(ModelConfig(cell="elman", hidden_size=5), rng)
    found = inspect(model, TEXT[:num_chars], train=TEXT[:num_chars])
    assert found.gradient_flow.num_lags == min(200, num_chars // 3)
    assert len(found.context_curve.loss_nats) == min(100, num_chars // 4)


def test_a_text_too_short_for_any_mean_is_an_error(rng):
    with pytest.raises(DataError, match="only 63 known characters"):
        inspect(model_of(ModelConfig(hidden_size=5), rng), TEXT[:63])


def test_a_network_that_overflows_gets_a_verdict_and_no_exception(rng):
    config = ModelConfig(cell="elman", activation="relu", hidden_size=6)
    model = model_of(config, rng)
    w = model.parameters["layers.0.cell.w_hh"]
    model.parameters["layers.0.cell.w_hh"] = 1e6 * np.abs(w)
    document = inspect(model, TEXT, train=TEXT[:400], sizes=SMALL).to_json()
    assert [verdict["kind"] for verdict in document["verdicts"]] == ["exploding"]
    json.dumps(document, allow_nan=False)


def test_passages_are_evenly_spaced_and_do_not_overlap():
    assert spaced(np.arange(10), 4, 5).tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert spaced(np.arange(4), 4, 5).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(DataError, match="reads 5 consecutive characters"):
        spaced(np.arange(4), 5, 1)
    assert resets_before(np.array([1, 2]), None) is None
    assert resets_before(np.array([1, 2]), 2).tolist() == [False, True]
