from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from charloom.config import SampleConfig
from charloom.errors import ConfigError
from charloom.generation import Piece, Sample, draw, generate, next_distribution, sample
from charloom.generation import prefill as prefill_module
from charloom.rng import Purpose, uniforms
from charloom.text.vocabulary import Vocabulary

from .fakes import BYTES, HashModel, scripted

VOCAB = Vocabulary.from_text("\n abcdefgh")
LINES = Vocabulary("char", VOCAB.symbols, ("<unk>", "<boundary>"))
CONFIG = SampleConfig(length=40)


def ids(text, vocab=VOCAB):
    return vocab.encode(text).astype(np.int64)


def texts(samples):
    return [done.text for done in samples]


def naive_text(vocab, prompt_ids, config, seed, number):
    """Generate one sample id by id: the plain version of everything in `generate` except stop strings."""
    model, generated = HashModel(vocab), []
    state = model.initial_state(1)
    for char_id in prompt_ids:
        logits, state = model.step(np.array([char_id]), state)
    for t in range(config.length):
        banned = np.arange(len(vocab)) == vocab.unk_id
        probs = next_distribution(logits, temperature=config.temperature, top_p=config.top_p, banned=banned)
        char_id = int(draw(probs, uniforms(seed, Purpose.SAMPLE, t, [number], 1)[:, 0])[0])
        if char_id == vocab.boundary_id:
            break
        generated.append(char_id)
        logits, state = model.step(np.array([char_id]), state)
    return vocab.decode(generated)


def test_samples_agree_with_the_naive_version():
    config = replace(CONFIG, count=5, batch=3, temperature=1.3, top_p=0.9)
    done = sample(HashModel(VOCAB), VOCAB, [ids("abc")], config, seed=9)
    assert texts(done) == [naive_text(VOCAB, ids("abc"), config, 9, number) for number in range(5)]
    assert len(set(texts(done))) == 5
    assert all(one.finish_reason == "length" and len(one.text) == 40 for one in done)
    assert [(one.index, one.prompt, one.seed) for one in done] == [(number, "abc", 9) for number in range(5)]


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_batch_size_changes_nothing(batch):
    config = replace(CONFIG, count=9, length=15)
    prompts = [ids(text) for text in ("a", "bc", "a", "", "defgh", "bc", "cb", "", "h")]
    alone = [
        sample(HashModel(LINES), LINES, [prompt], replace(config, count=1), seed=3, first_sample=number)[0]
        for number, prompt in enumerate(prompts)
    ]
    assert sample(HashModel(LINES), LINES, prompts, replace(config, batch=batch), seed=3) == alone
    assert {one.finish_reason for one in alone} == {"length", "boundary"}, "the test must cover both endings"


def test_length_and_count_only_truncate():
    long = sample(HashModel(VOCAB), VOCAB, [ids("a")], replace(CONFIG, count=4), seed=1)
    short = sample(HashModel(VOCAB), VOCAB, [ids("a")], replace(CONFIG, count=2, length=11), seed=1)
    assert texts(short) == [text[:11] for text in texts(long)[:2]]


def test_another_seed_gives_another_text():
    first, second = (
        sample(HashModel(VOCAB), VOCAB, [ids("a")], CONFIG, seed=seed)[0].text for seed in (1, 2)
    )
    assert first != second


@pytest.mark.parametrize("stop", [(), ("ab", "b\n", "cdc")])
def test_the_joined_pieces_are_the_sample(stop):
    config = replace(CONFIG, count=6, batch=4, length=60)
    pieces, done = {}, {}
    for event in generate(HashModel(VOCAB), VOCAB, [ids("a")], config, seed=5, stop=stop):
        if isinstance(event, Piece):
            assert event.sample not in done, "a piece after its sample"
            assert event.text
            pieces[event.sample] = pieces.get(event.sample, "") + event.text
        else:
            assert event.index not in done
            done[event.index] = event
    assert sorted(done) == list(range(6))
    assert {number: one.text for number, one in done.items()} == {n: pieces.get(n, "") for n in done}
    collected = sample(HashModel(VOCAB), VOCAB, [ids("a")], config, seed=5, stop=stop)
    assert [done[number] for number in sorted(done)] == collected


def test_one_sample_streams_character_by_character():
    events = list(generate(scripted(VOCAB, "abc"), VOCAB, [ids("h")], replace(CONFIG, length=3), seed=0))
    assert events == [Piece(0, "a"), Piece(0, "b"), Piece(0, "c"), Sample(0, "h", "abc", "length", 0)]


def test_greedy_decoding_does_not_depend_on_the_seed():
    config = replace(CONFIG, temperature=0, count=3)
    done = texts(sample(HashModel(VOCAB), VOCAB, [ids("a")], config, seed=4))
    assert done == texts(sample(HashModel(VOCAB), VOCAB, [ids("a")], config, seed=5))
    assert len(set(done)) == 1


def test_filters_are_applied():
    for setting in ({"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}):
        filtered = sample(HashModel(VOCAB), VOCAB, [ids("a")], replace(CONFIG, **setting), seed=4)
        assert texts(filtered) == texts(
            sample(HashModel(VOCAB), VOCAB, [ids("a")], replace(CONFIG, temperature=0), seed=4)
        )


def test_each_distinct_prompt_is_read_once_in_a_single_call():
    model = HashModel(VOCAB)
    prompts = [ids(text) for text in ("ab", "abc", "ab", "cd", "a")]
    sample(model, VOCAB, prompts, replace(CONFIG, count=5, length=2), seed=0)
    assert sorted(model.forwards) == [(1, 1), (1, 3), (2, 2)]
    assert model.batches == [5]  # no step follows the last character


def test_a_long_prompt_is_read_in_windows_with_carried_state(monkeypatch):
    whole = sample(HashModel(VOCAB), VOCAB, [ids("abcdefgh")], CONFIG, seed=0)
    monkeypatch.setattr(prefill_module, "READ_LENGTH", 3)
    model = HashModel(VOCAB)
    assert sample(model, VOCAB, [ids("abcdefgh")], CONFIG, seed=0) == whole
    assert model.forwards == [(1, 3), (1, 3), (1, 2)]


def test_finished_samples_leave_the_batch():
    model = scripted(VOCAB, "a")
    model.scripts = {
        i: [0] * i + [1] for i in range(len(VOCAB))
    }  # prompt i is followed by i newlines and a space
    sample(model, VOCAB, [np.array([i]) for i in (1, 3, 2)], replace(CONFIG, count=3), seed=0, stop=" ")
    assert model.batches == [3, 2, 1]


@pytest.mark.parametrize(
    ("vocab", "prompt", "read"),
    [
        (VOCAB, "", "\n"),
        (Vocabulary.from_text(" ab"), "", " "),
        (Vocabulary.from_text("ab"), "", "a"),
        (BYTES, "", "\n"),
        (VOCAB, "ab", "ab"),
    ],
)
def test_the_model_reads_at_least_one_character(vocab, prompt, read):
    config = replace(CONFIG, length=8)
    done = sample(HashModel(vocab), vocab, [ids(prompt, vocab)], config, seed=2)[0]
    assert done.prompt == prompt
    assert done.text == naive_text(vocab, ids(read, vocab), config, 2, 0)[: len(done.text)]
    assert len(done.text) >= 8


@pytest.mark.parametrize("prompt", ["", "ab"])
def test_documents_begin_with_the_boundary(prompt):
    read = [LINES.boundary_id, *ids(prompt, LINES)]
    done = sample(HashModel(LINES), LINES, [ids(prompt, LINES)], replace(CONFIG, count=4), seed=2)
    assert texts(done) == [naive_text(LINES, read, CONFIG, 2, number) for number in range(4)]
    assert {one.prompt for one in done} == {prompt}


def test_the_boundary_ends_a_sample_and_is_not_in_its_text():
    model = scripted(LINES, [2, 3, LINES.boundary_id, 4])
    events = list(generate(model, LINES, [ids("h", LINES)], CONFIG, seed=0))
    assert events == [Piece(0, "a"), Piece(0, "b"), Sample(0, "h", "ab", "boundary", 0)]


def test_the_boundary_releases_held_back_text():
    model = scripted(LINES, [2, 3, LINES.boundary_id])
    assert texts(sample(model, LINES, [ids("h", LINES)], CONFIG, seed=0, stop="abc")) == ["ab"]


def test_unk_is_never_generated():
    vocab = Vocabulary("char", VOCAB.symbols, ("<unk>",))
    model = scripted(vocab, [vocab.unk_id])  # has no other preference
    done = sample(model, vocab, [ids("a", vocab)], replace(CONFIG, length=200), seed=0)[0]
    assert "\ufffd" not in done.text
    assert len(done.text) == 200


@pytest.mark.parametrize("stop", ["cd", ["cd"], ("x", "cd", "de")])
def test_a_stop_string_ends_the_sample_before_it(stop):
    events = list(generate(scripted(VOCAB, "acbcde"), VOCAB, [ids("h")], CONFIG, seed=0, stop=stop))
    assert events == [Piece(0, "a"), Piece(0, "cb"), Sample(0, "h", "acb", "stop", 0)]


def test_a_stop_string_in_the_prompt_does_not_count():
    done = sample(scripted(VOCAB, "dcd"), VOCAB, [ids("abc")], CONFIG, seed=0, stop="cd")
    assert texts(done) == ["d"]


def test_length_zero_continues_until_interrupted():
    endless = generate(scripted(VOCAB, "abc"), VOCAB, [ids("h")], replace(CONFIG, length=0), seed=0)
    assert "".join(piece.text for piece in islice(endless, 3000)) == "abc" * 1000
    assert endless.interrupt() == [Sample(0, "h", "abc" * 1000, "interrupted", 0)]
    assert list(endless) == []
    assert endless.interrupt() == []


def test_length_zero_ends_at_a_stop_string_or_boundary():
    config = replace(CONFIG, length=0)
    assert texts(sample(scripted(VOCAB, "abc"), VOCAB, [ids("h")], config, seed=0, stop="ca")) == ["ab"]
    model = scripted(LINES, [2, LINES.boundary_id])
    assert texts(sample(model, LINES, [ids("h", LINES)], config, seed=0)) == ["a"]


def test_an_interrupt_in_the_model_loses_no_text():
    class Interrupted(HashModel):
        def step(self, ids, state):
            if len(self.batches) == 6:
                raise KeyboardInterrupt
            return super().step(ids, state)

    config = replace(CONFIG, count=5, batch=3)
    whole = texts(sample(HashModel(VOCAB), VOCAB, [ids("a")], config, seed=8))
    generation = generate(Interrupted(VOCAB), VOCAB, [ids("a")], config, seed=8)
    with pytest.raises(KeyboardInterrupt):
        list(generation)
    rest = generation.interrupt()
    assert texts(rest) == [text[:7] for text in whole[:3]]  # the second batch had not started
    assert {one.finish_reason for one in rest} == {"interrupted"}


def test_an_interrupt_keeps_held_back_text_and_finished_samples():
    generation = generate(
        scripted(VOCAB, "ab"), VOCAB, [ids("h")], replace(CONFIG, count=2, length=2), seed=0, stop="bc"
    )
    assert [next(generation), next(generation)] == [Piece(0, "a"), Piece(1, "a")]
    assert next(generation) == Piece(0, "b")  # the length is reached, but the sample not yet yielded
    assert generation.interrupt() == [
        Sample(0, "h", "ab", "length", 0),
        Sample(1, "h", "a", "interrupted", 0),
    ]


def test_bytes_are_streamed_as_whole_characters():
    events = list(
        generate(scripted(BYTES, "é€"), BYTES, [ids("h", BYTES)], replace(CONFIG, length=3), seed=0)
    )
    assert [event.text for event in events] == ["é", "€", "é", "é€é"]


def test_invalid_bytes_are_escaped():
    model, config = scripted(BYTES, [0xE2, 0x28]), replace(CONFIG, length=3)
    (done,) = sample(model, BYTES, [ids("é", BYTES)], config, seed=0)
    assert (done.prompt, done.text) == ("é", "\\xe2(\\xe2")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"prompts": []}, "0 prompts for 3 samples"),
        ({"prompts": [ids("a")] * 2}, "2 prompts for 3 samples"),
        ({"stop": ["a", ""]}, "a stop string is empty"),
    ],
)
def test_invalid_requests_are_refused_before_the_first_character(arguments, what):
    arguments = {"prompts": [ids("a")], "stop": ()} | arguments
    prompts = arguments.pop("prompts")
    with pytest.raises(ConfigError) as caught:
        generate(HashModel(VOCAB), VOCAB, prompts, replace(CONFIG, count=3), seed=0, **arguments)
    assert caught.value.what == what


def test_a_list_that_would_never_end_is_refused():
    with pytest.raises(ConfigError, match="length is 0 and nothing ends a sample"):
        sample(HashModel(VOCAB), VOCAB, [ids("a")], replace(CONFIG, length=0), seed=0)
