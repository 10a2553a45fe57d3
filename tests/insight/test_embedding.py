"""The map of the characters: planted clusters are found, random ones are not, and the arithmetic matches."""

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.insight.embedding import (
    NUM_DEALS,
    centred,
    cluster,
    cosine,
    embedding,
    input_rows,
    kinds,
    neighbours,
)
from charloom.parameters import initial_parameters

CHARS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!")
V = len(CHARS)
CONFIG = ModelConfig(cell="gru", hidden_size=24, embedding_size=32)


def with_rows(rng, move):
    """Random rows, each shifted by `move` of its character."""
    params = initial_parameters(CONFIG, V, 1)
    params["embedding"] = rng.normal(size=(V, 32)) + np.array([move(char) for char in CHARS])
    return params


def nowhere(_):
    return np.zeros(32)


def by_name(found):
    return {cluster.name: cluster for cluster in found.clusters}


@pytest.mark.parametrize(
    ("kind", "belongs"),
    [
        ("vowels", lambda c: c.lower() in "aeiouy"),
        ("digits", str.isdigit),
        ("uppercase", str.isupper),
    ],
)
def test_a_planted_kind_clusters_and_the_others_do_not(kind, belongs, rng):
    axis = 2 * rng.normal(size=32)
    found = by_name(embedding(CONFIG, with_rows(rng, lambda c: axis * belongs(c)), CHARS, np.ones(V, int)))
    assert found[kind].p_value == 1 / (1 + NUM_DEALS)
    assert found[kind].together > 0.3
    assert abs(found[kind].together_random) < 0.1
    assert found[kind].num_members == sum(map(belongs, CHARS))


def test_planted_letter_forms_cluster(rng):
    base = {letter: 2 * rng.normal(size=32) for letter in set("".join(CHARS).lower())}
    found = embedding(CONFIG, with_rows(rng, lambda c: base[c.lower()]), CHARS, np.ones(V, int))
    assert by_name(found)["letter forms"].p_value == 1 / (1 + NUM_DEALS)
    assert by_name(found)["letter forms"].num_members == 52
    at = found.chars.index("q")
    assert found.neighbours[at][0][0] == "Q"


def test_random_rows_do_not_cluster(rng):
    p_values = []
    for _ in range(4):
        found = embedding(CONFIG, with_rows(rng, nowhere), CHARS, np.ones(V, int))
        p_values += [cluster.p_value for cluster in found.clusters]
    assert len(p_values) == 16
    assert np.mean(np.array(p_values) < 0.05) < 0.25


def test_the_map_has_the_two_largest_variances(rng):
    params = with_rows(rng, nowhere)
    flat = rng.normal(size=(V, 2)) * [5, 3]
    params["embedding"] = flat @ np.linalg.qr(rng.normal(size=(32, 2)))[0].T + rng.normal(size=32)
    found = embedding(CONFIG, params, CHARS, np.ones(V, int))
    assert found.explained_fraction.sum() == pytest.approx(1)
    apart = np.linalg.norm(found.places[:, None] - found.places, axis=2)
    assert apart == pytest.approx(np.linalg.norm(flat[:, None] - flat, axis=2), abs=1e-9)


def test_only_characters_in_the_text_are_mapped_most_frequent_first(rng):
    counts = np.zeros(V, int)
    counts[[3, 30, 55]] = 5, 9, 1
    found = embedding(CONFIG, with_rows(rng, nowhere), CHARS, counts)
    assert found.chars == (CHARS[30], CHARS[3], CHARS[55])
    assert embedding(CONFIG, with_rows(rng, nowhere), CHARS, np.minimum(counts, 0)) is None


def test_a_one_hot_model_uses_its_weight_columns_as_rows(rng):
    config = ModelConfig(cell="lstm", hidden_size=6)
    params = initial_parameters(config, V, 0)
    assert (input_rows(params) == params["layers.0.cell.w_ih"].T).all()
    assert embedding(config, params, CHARS, np.ones(V, int)).source == "one-hot"


def test_groups_of_arabic_letters():
    labels = kinds("اأبىي")
    assert labels["letter forms"] == [0, 0, -1, 2, 2]
    assert labels["vowels"] == [0, 0, -1, 0, 0]
    assert set(labels["uppercase"]) == {-2}


def test_a_cluster_matches_pairs_counted_by_hand(rng):
    cosines, random_cosines = (cosine(centred(rng.normal(size=(7, 4)))) for _ in range(2))
    labels = np.array([0, 0, -2, 1, 1, -1, -1])
    means = []
    for values in (cosines, random_cosines):
        same = [values[i, j] for i in range(7) for j in range(i) if labels[i] == labels[j] >= 0]
        apart = [
            values[i, j]
            for i in range(7)
            for j in range(i)
            if labels[i] != labels[j] and -2 not in (labels[i], labels[j])
        ]
        means.append(np.mean(same) - np.mean(apart))
    found = cluster("pairs", labels, cosines, random_cosines, 0)
    assert (found.together, found.together_random) == pytest.approx(tuple(means))
    assert (found.num_members, found.num_others) == (4, 2)
    assert cluster("one alone", np.array([0, -1, -1, -2, -2, -2, -2]), cosines, random_cosines, 0) is None
    assert cluster("none outside", np.array([0, 0, 0, 0, 0, -2, -2]), cosines, random_cosines, 0) is None


def test_no_character_is_its_own_neighbour(rng):
    cosines = cosine(rng.normal(size=(4, 3)))
    found = neighbours("abcd", cosines)
    for i, near in enumerate(found):
        assert sorted(char for char, _ in near) == sorted(set("abcd") - {"abcd"[i]})
        assert [value for _, value in near] == sorted((value for _, value in near), reverse=True)
