"""Interpretable units: planted ones are found among equally slow noise, and false positives are counted."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.insight.bptt import unroll
from charloom.insight.features import features
from charloom.insight.units import (
    NUM_CLASSES,
    Unit,
    classes,
    explain_units,
    explained_variance,
    unit_length,
    unit_values,
    units,
)
from charloom.parameters import initial_parameters
from charloom.text import Vocabulary

U = 256
LINE, QUOTE = 101, 17


def tale(rng, num_lines=90):
    """Lines of ten to sixty characters, most with a quotation."""
    lines = []
    for _ in range(num_lines):
        words = [
            "".join(rng.choice(list("abcdeimnorst"), rng.integers(2, 8))) for _ in range(rng.integers(3, 10))
        ]
        first, last = sorted(rng.choice(len(words), 2, replace=False))
        words[first], words[last] = "«" + words[first], words[last] + "»"
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def noise(rng, length, num):
    """Slowly varying units, which a permutation of single characters would not resemble."""
    values = rng.normal(size=(length, num))
    for t in range(1, length):
        values[t] = 0.95 * values[t - 1] + 0.3 * values[t]
    return values


def planted(rng):
    text = tale(rng)
    labels = features(text)
    values = noise(rng, len(text), U)
    values[:, LINE] = np.tanh(labels["line_position"] / 20) + 0.1 * rng.normal(size=len(text))
    values[:, QUOTE] = labels["inside_quotes"] + 0.4 * rng.normal(size=len(text))
    return text, labels, values


def test_planted_units_rank_first_among_256(rng):
    text, labels, values = planted(rng)
    places = [Unit(0, "h", number) for number in range(U)]
    found = explain_units(places, values, labels, text)
    by_name = {feature.name: feature for feature in found.features}
    assert by_name["line_position"].best[0][0].number == LINE
    assert by_name["inside_quotes"].best[0][0].number == QUOTE
    assert {"line_position", "inside_quotes"} <= {shown.feature for shown in found.shown}
    assert {shown.unit.number for shown in found.shown[:2]} == {LINE, QUOTE}
    assert (found.num_units, found.num_chars) == (U, len(text))
    for shown in found.shown:
        assert (shown.values == values[: len(found.excerpt), shown.unit.number]).all()


def test_noise_is_rarely_named(rng):
    """256 units, none planted: the false-positive rate on the other rotations, and the units named anyway."""
    text, labels, _ = planted(rng)
    found = explain_units([Unit(0, "h", n) for n in range(U)], noise(rng, len(text), U), labels, text)
    assert len(found.features) >= 7
    for feature in found.features:
        assert feature.false_positive_rate < 0.01, feature.name
        assert feature.num_units_above <= 3, feature.name


def clockwork(vocab):
    """An LSTM of 256 units, two of them set by hand: one counts the line's characters, one is set by « and by »."""
    config = ModelConfig(cell="lstm", hidden_size=U)
    params = initial_parameters(config, len(vocab), 0)
    w, b = params["layers.0.cell.w_ih"], params["layers.0.cell.bias"]
    i, f, g, o = (slice(gate * U, (gate + 1) * U) for gate in range(4))
    for unit in (LINE, QUOTE):
        for gate in (i, f, g, o):
            w[gate][unit], params["layers.0.cell.w_hh"][gate][unit] = 0, 0
            b[gate][unit] = 0
        b[f][unit] = b[o][unit] = 20
    b[i][LINE], b[g][LINE] = 20, np.arctanh(0.02)  # c grows by 0.02 per character
    w[f][LINE, vocab.encode("\n")] = w[i][LINE, vocab.encode("\n")] = -40
    b[i][QUOTE] = -20
    for char, way in (("«", 1), ("»", 0)):
        at = vocab.encode(char)
        w[i][QUOTE, at], w[f][QUOTE, at], w[g][QUOTE, at] = 40, -40, way
    return config, params


def test_units_set_by_hand_are_found_in_a_network(rng):
    text = tale(rng)
    vocab = Vocabulary.from_text(text)
    ids = vocab.encode(text)[: 4 * 600].astype(int).reshape(4, 600).T
    config, params = clockwork(vocab)
    found = units(unroll(config, params, ids), [chr(code) for code in vocab.symbols])
    best = {feature.name: feature.best[:2] for feature in found.features}
    assert {unit.number for unit, _ in best["line_position"]} == {LINE}  # its h and its tanh c
    assert {unit.number for unit, _ in best["inside_quotes"]} == {QUOTE}
    assert best["line_position"][0][1] > 0.9
    assert best["inside_quotes"][0][1] > 0.95
    assert found.num_units == 2 * U
    assert found.excerpt == text[:400]


def test_the_share_explained_by_a_binary_feature_is_the_squared_correlation(rng):
    values, codes = rng.normal(size=(300, 5)), (rng.random(300) < 0.3).astype(int)
    expected = [np.corrcoef(column, codes)[0, 1] ** 2 for column in values.T]
    assert explained_variance(unit_length(values), codes) == pytest.approx(expected, rel=1e-9)


def test_nothing_explains_a_constant_unit(rng):
    values = np.stack([np.full(50, 0.1), rng.normal(size=50)], axis=1)
    share = explained_variance(unit_length(values), np.arange(50) % 2)
    assert share[0] == 0
    assert 0 < share[1] < 1


def test_a_count_is_split_into_classes_of_equal_size(rng):
    label = rng.integers(0, 400, 3_200)
    codes = classes(label)
    counts = np.bincount(codes)
    assert len(counts) == NUM_CLASSES
    assert counts.min() > 0.8 * counts.max()
    assert (np.diff(label[np.argsort(codes, kind="stable")].reshape(-1)) >= 0).mean() > 0.4
    assert classes(np.array([7, 3, 3, 9])).tolist() == [1, 0, 0, 2]


def test_any_function_of_a_count_is_explained():
    position = np.resize(np.arange(64), 2_000)
    wave = np.sin(position / 64 * 2 * np.pi)[:, None]  # not linear: the correlation with position is small
    assert explained_variance(unit_length(wave), classes(position))[0] > 0.9


def test_a_feature_that_is_constant_in_the_text_is_omitted(rng):
    found = explain_units([Unit(0, "h", 0)], rng.normal(size=(40, 1)), features("abcd " * 8), "abcd " * 8)
    assert {f.name for f in found.features} == {
        "line_position",
        "word_position",
        "vowel",
        "letter",
        "word_start",
        "space",
    }


def test_values_of_the_passages_are_concatenated(rng):
    config = ModelConfig(cell="lstm", hidden_size=3, num_layers=2)
    read = unroll(config, initial_parameters(config, 5, 0), rng.integers(0, 5, (7, 2)))
    places, values = unit_values(read)
    assert values.shape == (14, 12)
    assert places[4] == Unit(0, "c", 1)
    assert (values[9, 3:6] == read.layers[0].steps[2].tanh_c[1]).all()  # passage 1, character 2
    assert places[6] == Unit(1, "h", 0)
    assert (values[3, 6:9] == read.layers[1].h[3, 0]).all()
