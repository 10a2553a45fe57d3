"""Sessions are fed and continued in any order, forked and saved; the output depends on the text, not on the calls."""

from dataclasses import replace

import numpy as np
import pytest

from charloom.config import ModelConfig, SampleConfig, TextConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError, ModelFileError, UnknownCharacterError
from charloom.generation import Session, sample
from charloom.kernels.library import library
from charloom.parameters import initial_parameters
from charloom.text.vocabulary import Vocabulary

from .fakes import HashModel, scripted

VOCAB = Vocabulary.from_text("\n abcdefgh")
LINES = Vocabulary("char", VOCAB.symbols, ("<boundary>",))
CONFIG = SampleConfig(temperature=1.2, repetition_penalty=1.5, repetition_window=3)
NETWORK = ModelConfig(cell="gru", hidden_size=6, block="residual", num_layers=2)


def models():
    params = initial_parameters(NETWORK, len(VOCAB), 0)
    params["out.weight"] *= 3  # so that the probabilities differ
    return {
        "hash": HashModel(VOCAB),
        "scratch": load_engine("scratch").model(params, NETWORK, precision="float64"),
        "fused": None if library() is None else load_engine("fused").model(params, NETWORK),
    }


@pytest.fixture(params=["hash", "scratch", "fused"])
def model(request):
    return models()[request.param] or pytest.skip("CHARLOOM_CPU=none leaves the kernels out")


def session_of(model, vocab=VOCAB, config=CONFIG, seed=7):
    return Session.begin(model, vocab, TextConfig(), config, seed=seed)


def test_a_session_generates_the_same_text_as_sample(model):
    session = session_of(model)
    session.feed("abc")
    (whole,) = sample(model, VOCAB, [VOCAB.encode("abc")], replace(CONFIG, length=50), seed=7)
    assert session.generate(50) == whole.text


def test_a_temperature_near_zero_is_greedy(model):
    texts = set()
    for temperature in (0.0, 1e-38, 1e-40, 5e-324):
        session = session_of(model, config=replace(CONFIG, temperature=temperature), seed=len(texts))
        session.feed("abc")
        texts.add(session.generate(30))
    assert len(texts) == 1


def test_splitting_the_calls_changes_nothing(model):
    whole, cut = session_of(model), session_of(model)
    whole.feed("abc")
    cut.feed("a")
    cut.feed("")
    cut.feed("bc")
    text = whole.generate(40)
    assert cut.generate(1) + cut.generate(12) + "".join(cut.stream(27)) == text
    for session in (whole, cut):
        session.feed("hgf")
    assert whole.generate(20) == cut.generate(7) + cut.generate(13)


def test_a_fork_continues_independently(model):
    session = session_of(model)
    session.feed("ab")
    session.generate(5)
    fork, other = session.fork(), session.with_seed(8)
    text = session.generate(30)
    assert fork.generate(30) == text
    assert other.generate(30) != text
    fork.feed("h")
    session.feed("a")
    assert fork.generate(30) != session.generate(30)


def test_a_saved_session_continues_after_loading(model, tmp_path):
    if isinstance(model, HashModel):
        pytest.skip("its state is integer; session files hold floats")
    session = session_of(model)
    session.feed("abca")
    session.generate(9)
    session.save(tmp_path / "at.session")
    again = session_of(model, config=SampleConfig(), seed=0).load(tmp_path / "at.session")
    assert again.seed == 7
    assert again.generate(40) == session.generate(40)


def test_a_session_that_has_read_nothing_can_be_saved(tmp_path):
    model = models()["scratch"]
    session_of(model).save(tmp_path / "new.session")
    assert session_of(model, seed=1).load(tmp_path / "new.session").generate(9) == session_of(model).generate(
        9
    )


def test_a_file_that_is_not_a_session_of_this_model_is_refused(tmp_path):
    model = models()["scratch"]
    path = tmp_path / "x.session"
    path.write_bytes(b"not a session")
    with pytest.raises(ModelFileError):
        session_of(model).load(path)
    session = session_of(model)
    session.feed("a")
    session.save(path)
    other = replace(NETWORK, hidden_size=7)
    larger = load_engine("scratch").model(initial_parameters(other, len(VOCAB), 0), other)
    with pytest.raises(ModelFileError, match="shape"):
        session_of(larger).load(path)


def test_the_end_of_a_document_ends_the_text():
    session = session_of(scripted(LINES, [2, 3, LINES.boundary_id]), LINES)
    assert session.generate(9) == "ab"


def test_nothing_is_read_if_a_character_is_unknown():
    session = session_of(HashModel(VOCAB))
    session.feed("ab")
    before = session.fork()
    with pytest.raises(UnknownCharacterError):
        session.feed("a!")
    assert session.generate(20) == before.generate(20)
    skipping = session_of(HashModel(VOCAB), config=replace(CONFIG, unknown="skip"))
    assert skipping.feed("ab!") == ("left out '!' (U+0021)",)


def test_text_is_streamed_character_by_character():
    session = session_of(models()["scratch"])
    pieces = list(session.stream(30))
    assert [len(piece) for piece in pieces] == [1] * 30
    assert np.array(pieces).tolist() == list("".join(pieces))


def test_a_stopped_text_is_part_of_the_session(model):
    session, whole = session_of(model), session_of(model)
    session.feed("abc")
    whole.feed("abc")
    calls = iter([False, False, True])
    text = "".join(session.stream(10_000, stopped=lambda: next(calls)))
    assert 0 < len(text) < 10_000
    assert text + session.generate(20) == whole.generate(len(text) + 20)


def test_another_temperature_changes_only_the_fork(model):
    session = session_of(model, config=replace(CONFIG, temperature=0.0))
    session.feed("abc")
    bold = session.with_temperature(3.0)
    assert bold.generate(30) != session.fork().generate(30)
    assert session.fork().generate(30) == session.generate(30)
    with pytest.raises(ConfigError, match="temperature is -1"):
        session.with_temperature(-1.0)


def test_the_next_document_is_the_next_sample(model):
    config = replace(CONFIG, length=30, count=3)
    wanted = sorted(sample(model, VOCAB, [VOCAB.encode("ab")], config, seed=7), key=lambda one: one.index)
    session, texts = session_of(model), []
    for _ in wanted:
        session.feed("ab")
        texts.append(session.generate(30))
        session = session.next_document()
    assert texts == [one.text for one in wanted]


def test_a_saved_session_keeps_the_number_of_its_sample(tmp_path):
    model = models()["scratch"]
    session = session_of(model).next_document()
    session.feed("ab")
    session.save(tmp_path / "s.safetensors")
    loaded = session_of(model).load(tmp_path / "s.safetensors")
    assert loaded.sample == 1
    assert loaded.generate(30) == session.generate(30)


def test_a_session_knows_when_the_document_has_ended():
    session = session_of(scripted(LINES, [2, 3, LINES.boundary_id]), LINES)
    session.feed("a")
    assert session.generate(1) == "a"
    assert not session.ended
    session = session.next_document()
    assert session.generate(9) == "ab"
    assert session.ended
    assert session.fork().ended
    session.feed("a")
    assert not session.ended
