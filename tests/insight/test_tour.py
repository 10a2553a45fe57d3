"""The tour against plain computations: counts, ids and neighbours from the text, shapes from real arrays, softmax by hand."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.insight.tour import CONTEXT, FIRST_IDS, take_tour
from charloom.insight.tour_batch import LANES, batch_of, symbol_names
from charloom.insight.tour_layers import stages
from charloom.insight.tour_softmax import distributions
from charloom.parameters import count_parameters, initial_parameters, parameter_shapes, state_shapes
from charloom.text import Vocabulary, corpus_from_text

CLOSE = 1e-12  # float64; the twin adds in another order
TEXT = "سارق الخبز\nكان يا ما كان في قديم الزمان، " * 40
NETWORK = ModelConfig(cell="lstm", hidden_size=6)
TRAINING = TrainConfig(batch_size=5, bptt_length=8, stream_offset="fixed", seed=3)


@pytest.fixture(scope="module")
def corpus():
    return corpus_from_text(TEXT, TextConfig(val_fraction=0.2))


def tour_of(corpus, training=TRAINING, network=NETWORK, **more):
    return take_tour(corpus, corpus.vocab, network, training, **more)


def test_the_corpus_is_counted(corpus):
    facts = tour_of(corpus).corpus
    assert (facts.num_chars, facts.num_distinct) == (len(TEXT), len(set(TEXT)))
    counts = Counter(TEXT)
    assert {one.char: one.count for one in facts.most_frequent} == {
        one.char: counts[one.char] for one in facts.most_frequent
    }
    assert [one.count for one in facts.most_frequent] == sorted(counts.values(), reverse=True)[:12]
    assert [one.share for one in facts.most_frequent] == [
        one.count / len(TEXT) for one in facts.most_frequent
    ]
    cut = len(corpus.train)
    assert facts.split == {"train": cut, "validation": len(TEXT) - cut}


def test_the_first_ids_are_the_places_of_the_characters_in_the_sorted_alphabet(corpus):
    alphabet = sorted(set(TEXT))
    assert tour_of(corpus).first_text == TEXT[:FIRST_IDS]
    assert tour_of(corpus).first_ids == tuple((char, alphabet.index(char)) for char in TEXT[:FIRST_IDS])


BATCHINGS = [
    {},
    {"stream_offset": "random"},
    {"state_reset": "wrap"},
    {"drop_last": True},
    {"batching": "sliding", "stride": 3},
    {"batching": "sliding", "stride": 8},
    {"batching": "sliding", "stride": 20, "order": "shuffled"},
    {"batching": "random"},
    {"batch_size": 1, "bptt_length": 5},
]


@pytest.mark.parametrize("settings", BATCHINGS, ids=str)
def test_x_is_the_text_at_its_place_and_y_the_character_behind_it(corpus, settings):
    config = replace(TRAINING, **settings)
    batch = batch_of(corpus, config)
    train = TEXT[: len(corpus.train)]
    for lane in (*batch.first, *batch.second):
        end = lane.offset + config.bptt_length
        assert "".join(lane.x) == train[lane.offset : end]
        assert "".join(lane.y) == train[lane.offset + 1 : end + 1]
        assert corpus.vocab.decode(list(lane.x_ids)) == "".join(lane.x)
        assert corpus.vocab.decode(list(lane.y_ids)) == "".join(lane.y)
    assert [lane.lane for lane in batch.first] == list(range(min(LANES, config.batch_size)))


@pytest.mark.parametrize("settings", BATCHINGS, ids=str)
def test_neighbours_across_windows(corpus, settings):
    config = replace(TRAINING, **settings)
    batch = batch_of(corpus, config)
    offsets = [lane.offset for lane in batch.first]
    for gap, before, after in zip(batch.gaps, batch.first, batch.second, strict=True):
        assert gap == after.offset - (before.offset + config.bptt_length)
        if gap == 0:
            assert before.y[-1] == after.x[0]
            assert before.y_ids[-1] == after.x_ids[0]
    if config.batching == "stream":
        assert set(batch.gaps) == {0}
        assert batch.carries
        assert not any(lane.fresh for lane in batch.second)
    else:
        assert all(lane.fresh for lane in (*batch.first, *batch.second))
    if config.batching == "random" or config.order == "shuffled":
        assert batch.lane_distance is None
    elif len(offsets) > 1:
        assert {b - a for a, b in zip(offsets, offsets[1:], strict=False)} == {batch.lane_distance}
    if config.batching == "sliding" and config.order == "sequential":
        assert batch.lane_distance == batch.stride == config.stride
        assert set(batch.gaps) == {5 * config.stride - 8}


def test_a_short_text_shrinks_the_batch_and_says_so():
    tour = tour_of(corpus_from_text("abcabca", TextConfig(val_fraction=0)))
    assert (tour.batch.batch_size, tour.batch.bptt_length) == (1, 6)
    assert len(tour.batch.notes) == 2
    assert tour.stages[0].shape == (1, 6)
    assert tour.prediction.part == "train"
    assert (tour.prediction.context, tour.prediction.actual) == (tuple("abcabc"), "a")


def test_one_character_is_an_error():
    with pytest.raises(DataError, match="holds 1 character"):
        tour_of(corpus_from_text("a", TextConfig(val_fraction=0)))


NETWORKS = [
    ModelConfig(cell=cell, hidden_size=6, num_layers=2, **more)
    for cell in ("elman", "lstm", "gru", "mingru")
    for more in (
        {},
        {"embedding_size": 4},
        {"block": "residual"},
        {"block": "residual", "tie_embeddings": True, "expansion": 2.0},
        {"block": "residual", "mlp_ratio": 0.0},
    )
]


@pytest.mark.parametrize(
    "network", NETWORKS, ids=lambda one: f"{one.cell}-{one.block}-{one.embedding_size}-{one.mlp_ratio}"
)
def test_every_parameter_stands_at_one_stage_and_the_shapes_are_those_of_a_pass(network):
    found = stages(network, 9, 2, 5)
    named = [name for one in found for name in one.parameters]
    shapes = parameter_shapes(network, 9)
    assert sorted(named) == sorted(shapes)
    assert all(one.parameters[name] == shapes[name] for one in found for name in one.parameters)
    assert sum(one.num_params for one in found) == count_parameters(network, 9)
    model = load_engine("scratch").model(initial_parameters(network, 9, 0), network)
    ids = np.zeros((2, 5), np.int64)
    logits, state = model.forward(ids, model.initial_state(2))
    assert found[0].shape == ids.shape
    assert found[-1].shape == logits.shape
    cells = [one for one in found if one.axes[-1] == "H"]
    assert [(2, one.shape[-1]) for one in cells] == [layer["h"].shape for layer in state]
    assert [one.shape[-1:] for one in cells] == [layer["h"] for layer in state_shapes(network)]
    assert all(len(one.axes) == len(one.shape) for one in found)
    for one in found:  # a matrix that reads and writes joins the width before it to the width behind it
        for name, shape in one.parameters.items():
            if name.endswith(("proj", "mlp.down", "mlp.gate", "out.weight")):
                assert shape[0] == one.shape[-1]


def test_one_hot_is_a_stage_without_parameters():
    one_hot = stages(NETWORK, 9, 2, 5)[1]
    assert (one_hot.name, one_hot.axes, one_hot.shape, one_hot.num_params) == (
        "one-hot",
        ("B", "T", "V"),
        (2, 5, 9),
        0,
    )


def test_where_only_the_last_step_is_predicted_logits_have_no_time_axis(corpus):
    tour = tour_of(corpus, replace(TRAINING, batching="sliding", objective="last"))
    assert tour.stages[-1].axes == ("B", "V")
    assert tour.stages[-1].shape == (5, len(corpus.vocab))
    assert tour.batch.objective == "last"


def softmax(logits, temperature=1.0):
    weights = [math.exp(one / temperature) for one in logits]
    return [one / sum(weights) for one in weights]


def logits_by_hand(corpus, parameters, length, network=NETWORK):
    """The logits behind the first held-out characters, read one at a time."""
    model = load_engine("scratch").model(parameters, network, precision="float64")
    state = model.initial_state(1)
    for char_id in corpus.validation[:length]:
        if char_id == corpus.vocab.boundary_id:
            state = model.initial_state(1)
        logits, state = model.step(np.array([int(char_id)]), state)
    return logits[0].tolist()


@pytest.mark.parametrize("trained", [False, True])
def test_the_prediction_is_the_models_own(corpus, trained):
    seed = 11 if trained else TRAINING.seed
    parameters = initial_parameters(NETWORK, len(corpus.vocab), seed)
    tour = tour_of(corpus, parameters=parameters if trained else None)
    one = tour.prediction
    assert tour.trained == trained
    probs = softmax(logits_by_hand(corpus, parameters, CONTEXT))
    held_out = TEXT[len(corpus.train) :]
    assert (one.part, "".join(one.context), one.actual) == (
        "validation",
        held_out[:CONTEXT],
        held_out[CONTEXT],
    )
    assert one.loss_nats == pytest.approx(-math.log(probs[int(corpus.validation[CONTEXT])]), rel=CLOSE)
    assert one.uniform_nats == math.log(len(corpus.vocab))
    found = {each.char_id: each.probability for each in one.distributions[1].chars}
    assert [found[i] for i in range(len(probs))] == pytest.approx(probs, rel=CLOSE)


def test_softmax_at_three_temperatures(rng):
    logits = rng.normal(size=7) * 2
    names = list("abcdefg")
    for one, temperature in zip(distributions(logits, names), (0.5, 1, 2), strict=False):
        probs = softmax(logits.tolist(), temperature)
        ranked = sorted(zip(probs, names, strict=True), reverse=True)
        assert one.temperature == temperature
        assert [each.char for each in one.chars] == [name for _, name in ranked]
        assert [each.probability for each in one.chars] == pytest.approx([p for p, _ in ranked], rel=CLOSE)
        assert one.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in probs), rel=CLOSE)


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 0.1), (3, 0.5), (5, 0.9), (7, 1.0), (99, 0.999)])
def test_what_the_filters_leave_is_renormalised(rng, top_k, top_p):
    logits = rng.normal(size=7)
    names = list("abcdefg")
    *_, by_k, by_p = distributions(logits, names, top_k=top_k, top_p=top_p)
    ranked = sorted(zip(softmax(logits.tolist()), names, strict=True), reverse=True)
    reached, smallest = 0.0, 0
    while reached < top_p and smallest < 7:
        reached, smallest = reached + ranked[smallest][0], smallest + 1
    for one, size in ((by_k, min(top_k, 7)), (by_p, 7 if top_p == 1 else smallest)):
        kept = ranked[:size]
        total = sum(p for p, _ in kept)
        assert [each.char for each in one.chars] == [name for _, name in kept]
        assert [each.probability for each in one.chars] == pytest.approx(
            [p / total for p, _ in kept], rel=1e-9
        )
    assert (by_k.name, by_p.name) == (f"top-k {top_k}", f"top-p {top_p:g}")
    assert (by_k.top_k, by_k.top_p, by_p.top_k, by_p.top_p) == (top_k, None, None, top_p)


def test_in_documents_the_state_begins_anew():
    corpus = corpus_from_text("anna\nemma\nlea\n" * 90, TextConfig(documents="line"))
    tour = tour_of(corpus)
    assert tour.corpus.specials == ("<boundary>",)
    assert tour.first_ids[0] == ("<boundary>", corpus.vocab.boundary_id)
    assert "<boundary>" in tour.prediction.context[1:]
    parameters = initial_parameters(NETWORK, len(corpus.vocab), TRAINING.seed)
    probs = softmax(logits_by_hand(corpus, parameters, CONTEXT))
    assert tour.prediction.loss_nats == pytest.approx(
        -math.log(probs[int(corpus.validation[CONTEXT])]), rel=CLOSE
    )


def test_without_a_corpus_a_prompt_is_read():
    vocab = Vocabulary.from_text("abc\n")
    parameters = initial_parameters(NETWORK, len(vocab), 5)
    tour = take_tour(None, vocab, NETWORK, TRAINING, parameters=parameters, prompt="cab")
    assert (tour.corpus, tour.batch) == (None, None)
    assert tour.first_ids == (("c", 3), ("a", 1), ("b", 2))
    assert (tour.prediction.part, tour.prediction.actual, tour.prediction.loss_nats) == ("prompt", None, None)
    assert tour.stages[0].shape == (5, 8)
    assert take_tour(None, vocab, NETWORK, TRAINING, parameters=parameters).prediction.context == ("\n",)


def test_bytes_are_shown_as_text_where_they_are_text():
    corpus = corpus_from_text("été à côté\n" * 60, TextConfig(unit="byte"))
    tour = tour_of(corpus)
    assert tour.first_text.startswith("été à côté\nété")
    assert tour.first_ids[:3] == (("\\xc3", 0xC3), ("\\xa9", 0xA9), ("t", ord("t")))
    assert "é" in tour.prediction.context_text
    assert (tour.corpus.unit, tour.corpus.num_distinct) == ("byte", 256)


def test_names_of_symbols():
    assert symbol_names(Vocabulary("byte", tuple(range(256)), ("<boundary>",)))[65:257:62] == [
        "A",
        "\x7f",
        "\\xbd",
        "\\xfb",
    ]
    assert symbol_names(Vocabulary("char", (97,), ("<unk>", "<boundary>"))) == ["a", "<unk>", "<boundary>"]
