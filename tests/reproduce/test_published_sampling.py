"""Sampling as published: each mistake has the described effect and no other."""

import numpy as np
import pytest

from charloom.config import ModelConfig, SampleConfig, TextConfig
from charloom.engines import load_engine
from charloom.evaluation.protocols import stream_loss
from charloom.generation import draw, next_distribution
from charloom.modelfile import ModelFile
from charloom.parameters import initial_parameters
from charloom.reproduce.published_sampling import WINDOW, loss_with_dropout, sample_as_published
from charloom.rng import Purpose, uniforms
from charloom.text import Vocabulary

VOCAB = Vocabulary.from_text(" abcdef")
SAMPLED = SampleConfig(length=40, temperature=0.8)


def model_file(**settings):
    config = ModelConfig(cell="lstm", hidden_size=12, init="uniform", init_scale=1.5, **settings)
    return ModelFile(initial_parameters(config, len(VOCAB), 3), config, TextConfig(), VOCAB, {})


def drawn(file, step):
    """Draw one character at a time; `step` maps the characters so far to logits."""
    written = []
    for position in range(SAMPLED.length):
        probs = next_distribution(step(written)[None], temperature=SAMPLED.temperature)
        written.append(int(draw(probs, uniforms(0, Purpose.SAMPLE, position, [0], 1)[:, 0])[0]))
    return file.vocab.decode(np.array(written))


def test_without_mistakes_it_is_plain_sampling():
    file = model_file()
    model = load_engine("scratch").model(file.parameters, file.model_config)

    def step(written):
        ids = np.append(VOCAB.encode("face"), written).astype(int)[None]
        return model.forward(ids, model.initial_state(1))[0][0, -1]

    assert sample_as_published(file, frozenset(), "face", SAMPLED, seed=0) == drawn(file, step)


def test_last_character_only_ignores_the_rest_of_the_prompt():
    file = model_file()
    made = frozenset({"last_character_only"})
    lost = sample_as_published(file, made, "face", SAMPLED, seed=0)
    assert lost == sample_as_published(file, frozenset(), "e", SAMPLED, seed=0)
    assert lost != sample_as_published(file, frozenset(), "face", SAMPLED, seed=0)


def test_first_character_is_read_again_after_the_prompt():
    file = model_file()
    made = sample_as_published(file, frozenset({"first_character"}), "face", SAMPLED, seed=0)
    assert made == sample_as_published(file, frozenset(), "facef", SAMPLED, seed=0)


@pytest.mark.parametrize("padded", [True, False])
def test_the_window_is_read_again_for_every_character_with_the_state_carried_over(padded):
    file = model_file()
    model = load_engine("scratch").model(file.parameters, file.model_config)
    start = VOCAB.encode((" " * (WINDOW - 4) if padded else "") + "face").astype(int)

    def step(written):
        state, window = model.initial_state(1), start
        for char_id in [None, *written]:
            window = window if char_id is None else np.append(window[1:], char_id)
            logits, state = model.forward(window[None], state)
        return logits[0, -1]

    made = frozenset({"reread_window", "pad_prompt"} if padded else {"reread_window"})
    assert sample_as_published(file, made, "face", SAMPLED, seed=0) == drawn(file, step)


def test_dropout_in_generation_changes_the_text_and_depends_on_the_seed():
    file = model_file(dropout_output=0.5)
    made = frozenset({"sample_with_dropout"})
    texts = [sample_as_published(file, made, "face", SAMPLED, seed=seed) for seed in (0, 0, 1, 2)]
    assert texts[0] == texts[1]
    assert len({*texts, sample_as_published(file, frozenset(), "face", SAMPLED, seed=0)}) > 2


def test_the_loss_in_lanes_equals_the_stream_loss_if_the_text_fills_them(rng):
    file = model_file(dropout_output=0.4)
    params = {name: np.asarray(p, np.float64) for name, p in file.parameters.items()}
    ids = rng.integers(0, len(VOCAB), 61)
    off = loss_with_dropout(file.model_config, params, ids, lanes=1, length=20, seed=None)
    model = load_engine("scratch").model(params, file.model_config, precision="float64")
    assert off == pytest.approx(stream_loss(model, ids).loss_nats, rel=1e-12)
    on = [loss_with_dropout(file.model_config, params, ids, lanes=1, length=20, seed=s) for s in (1, 1, 2)]
    assert on[0] == on[1] != on[2]
    assert on[0] > off


def test_lanes_are_contiguous_and_the_remainder_is_skipped(rng):
    file = model_file()
    params = {name: np.asarray(p, np.float64) for name, p in file.parameters.items()}
    ids = rng.integers(0, len(VOCAB), 50)
    both = loss_with_dropout(file.model_config, params, ids, lanes=2, length=8, seed=None)
    parts = [
        loss_with_dropout(file.model_config, params, ids[a : a + 25], lanes=1, length=8, seed=None)
        for a in (0, 24)
    ]
    assert both == pytest.approx(np.mean(parts), rel=1e-12)
