"""The split by documents: what is drawn, how much, in which order, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.errors import ConfigError, DataError
from charloom.recipes.files import Recipe
from charloom.recipes.resolve import text_config
from charloom.text.load import corpus_from_text, read_corpus
from charloom.text.split import floor_share

NAMES = [f"n{number:03}" for number in range(200)]
SORTED = "the documents are sorted"


def documents(corpus, part):
    ids = getattr(corpus, part)
    return [] if ids is None else corpus.vocab.decode(ids).removeprefix("\n").split("\n")


def split_of(names, **settings):
    corpus = corpus_from_text("\n".join(names), TextConfig(documents="line", **settings))
    return documents(corpus, "train"), documents(corpus, "validation")


@pytest.mark.parametrize("unit", ["char", "byte"])
@given(
    names=st.lists(st.text(st.sampled_from("abé漢"), min_size=1, max_size=9), min_size=2),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_random_split_divides_the_documents_and_keeps_their_order(unit, names, fraction, seed):
    names = [f"{number}{name}" for number, name in enumerate(names)]
    train, held_out = split_of(names, unit=unit, split="random", split_seed=seed, val_fraction=fraction)
    assert sorted(train + held_out) == sorted(names)
    assert train == [name for name in names if name in set(train)]
    assert held_out == [name for name in names if name in set(held_out)]
    assert train
    sizes = [len(name) + 1 for name in held_out]
    total = sum(len(name) + 1 for name in names)
    target = total - floor_share(total, 1 - fraction)
    assert sum(sizes) - max(sizes) < target  # no document more than needed
    assert sum(sizes) >= target or len(train) == 1


def test_the_seed_chooses_the_documents():
    first, again, other = (split_of(NAMES, split="random", split_seed=seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != NAMES[-20:]
    places = [NAMES.index(name) for name in first]
    assert 60 < np.mean(places) < 140  # from the whole list


@pytest.mark.parametrize("split", ["contiguous", "random"])
@pytest.mark.parametrize("count", [1, 17, 199])
def test_a_count_holds_out_that_many_documents(split, count):
    train, held_out = split_of(NAMES, split=split, val_count=count)
    assert (len(train), len(held_out)) == (200 - count, count)
    assert (held_out == NAMES[200 - count :]) == (split == "contiguous")


def test_a_random_split_does_not_depend_on_the_blocks(monkeypatch):
    whole = split_of(NAMES, split="random")
    monkeypatch.setattr("charloom.text.part._BLOCK", 7)
    assert split_of(NAMES, split="random") == whole


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("last", ["é", "an end that is longer than a tenth of the text: " + "é" * 300])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_the_cut_is_where_the_share_ends_whatever_the_blocks(monkeypatch, unit, last, block):
    names = [*NAMES, last]
    starts = np.cumsum([0, *(len(name) + 1 for name in names)])  # in characters, boundaries included
    num_train = min(int(np.searchsorted(starts, floor_share(int(starts[-1]), 0.9))), 200)
    monkeypatch.setattr("charloom.text.part._BLOCK", block)
    assert split_of(names, unit=unit) == (names[:num_train], names[num_train:])


@pytest.mark.parametrize(
    ("names", "noted"),
    [(NAMES, True), (["bo", "al"] * 90, False), ([*NAMES[:20], *["bo", "al"] * 90], False)],
)
def test_a_long_list_is_judged_by_a_sample(monkeypatch, names, noted):
    monkeypatch.setattr("charloom.text.part._BLOCK", 40)
    monkeypatch.setattr("charloom.text.split._MOST_READ", 100)
    corpus = corpus_from_text("\n".join(names), TextConfig(documents="line"))
    assert any(note.startswith(SORTED) for note in corpus.notes) == noted


def test_too_large_a_count_is_refused():
    with pytest.raises(DataError) as caught:
        split_of(NAMES, val_count=200)
    assert caught.value.what == "val_count is 200 and the text has 200 documents"
    with pytest.raises(DataError, match="the text is a single document"):
        split_of(["one"], split="random")


@pytest.mark.parametrize("settings", [{"split": "random"}, {"val_count": 3}])
def test_a_validation_file_excludes_another_split(tmp_path, settings):
    for name in ("text", "val"):
        (tmp_path / name).write_text("\n".join(NAMES), encoding="utf-8")
    with pytest.raises(ConfigError, match="a validation file are both given"):
        read_corpus([tmp_path / "text"], TextConfig(documents="line", **settings), val=tmp_path / "val")


@pytest.mark.parametrize(
    ("names", "settings", "noted"),
    [
        (NAMES, {}, True),
        (NAMES[::-1], {}, True),
        ([*NAMES[:180], *NAMES[:20]], {"val_count": 20}, True),
        (NAMES, {"split": "random"}, False),
        (NAMES, {"val_fraction": 0.0}, False),
        (NAMES[:20], {}, False),
        ([NAMES[(101 * i) % 200] for i in range(200)], {}, False),
        (["same"] * 200, {}, False),
    ],
)
def test_a_sorted_list_is_noted(names, settings, noted):
    corpus = corpus_from_text("\n".join(names), TextConfig(documents="line", **settings))
    assert any(note.startswith(SORTED) and "--split random" in note for note in corpus.notes) == noted


def test_lines_of_prose_are_not_called_sorted():
    text = "the quick brown fox\njumps over the lazy dog\n" * 50
    assert corpus_from_text(text, TextConfig(documents="line")).notes == ()


def test_names_are_called_sorted(data):
    assert read_corpus([data / "names.txt"], TextConfig(documents="line")).notes[0].startswith(SORTED)
    corpus = read_corpus([data / "names.txt"], TextConfig(documents="line", split="random", val_count=1000))
    assert len(documents(corpus, "validation")) == 1000
    assert corpus.notes == ()


def test_a_flag_replaces_how_much_a_recipe_holds_out():
    recipe = Recipe("mine", settings={"documents": "line", "val_fraction": 0.3})
    assert text_config(recipe, {"val_count": 4}).val_count == 4
    recipe = Recipe("mine", settings={"documents": "line", "val_count": 4})
    config = text_config(recipe, {"val_fraction": 0.3})
    assert (config.val_count, config.val_fraction) == (None, 0.3)
    with pytest.raises(ConfigError, match="keep only one"):
        text_config(None, {"val_fraction": 0.1, "val_count": 4, "documents": "line"})
