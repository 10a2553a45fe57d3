"""Fine-tuning: a training starts from a model, with the characters of both texts."""

import shutil

import numpy as np
import pytest

import charloom
from charloom.errors import CharloomError, ConfigError, RunError
from charloom.parameters import parameter_shapes
from charloom.recipes.fine_tune import LEARNING_RATE_SHARE, StartingModel
from charloom.runs import Run
from charloom.text import corpus_from_text
from charloom.training import Progress

FIRST = "the cat sat on the mat, a dog ran to the sea\n" * 60
SECOND = "the zoo sat; a dog ran to a xox\n" * 60
TINY = {"hidden_size": 8, "batch_size": 4, "bptt_length": 16, "steps": 30, "quiet": True}
NETWORKS = {
    "one-hot": {"cell": "gru"},
    "embedding": {"cell": "lstm", "embedding_size": 5},
    "tied": {"cell": "gru", "embedding_size": 8, "tie_embeddings": True},
    "residual": {"cell": "mingru", "block": "residual"},
}


@pytest.fixture(params=list(NETWORKS))
def model(request, tmp_path):
    return charloom.train(text=FIRST, out=tmp_path / "first", **NETWORKS[request.param], **TINY)


def test_the_new_vocabulary_has_the_characters_of_both(model):
    start = StartingModel.read(model.run.path)
    corpus = start.widened(corpus_from_text(SECOND))
    assert {chr(code) for code in corpus.vocab.symbols} == set(FIRST + SECOND)
    assert corpus.vocab.decode(corpus.train) + corpus.vocab.decode(corpus.validation) == SECOND
    assert "3 characters of the text are new to the model: ';' 'x' 'z'" in corpus.notes[-1]


def test_the_weights_of_known_characters_are_kept_and_new_ones_get_the_mean(model):
    """The network predicts what it did: among the known characters, the odds are the same."""
    start = StartingModel.read(model.run.path)
    corpus = start.widened(corpus_from_text(SECOND))
    parameters, config = start.parameters(corpus.vocab), model.file.model_config
    assert {name: array.shape for name, array in parameters.items()} == parameter_shapes(
        config, len(corpus.vocab)
    )
    old = {name: array.astype(np.float64) for name, array in model.file.parameters.items()}
    places = [corpus.vocab.symbols.index(code) for code in model.vocab.symbols]
    np.testing.assert_array_equal(parameters["out.bias"][places], old["out.bias"])
    new = [i for i in range(len(corpus.vocab)) if i not in places]
    np.testing.assert_allclose(parameters["out.bias"][new], old["out.bias"].mean())
    first = "layers.0.cell.w_ih"
    if config.embedding_size is None and config.block == "plain":
        np.testing.assert_array_equal(parameters[first][:, places], old[first])
    else:
        np.testing.assert_array_equal(parameters["embedding"][places], old["embedding"])


def test_a_text_continues_a_model(model, tmp_path):
    """After no more than a step, the loss on the first text is still that of the model."""
    before = model.score(FIRST[:200]).bits_per_char
    tuned = charloom.train(
        text=SECOND,
        out=tmp_path / "second",
        init_from=model.run.path,
        steps=1,
        learning_rate=1e-9,
        quiet=True,
    )
    known = tuned.score(FIRST[:200]).bits_per_char
    assert before <= known < before + 1.0  # three new characters share the probability
    assert tuned.file.model_config == model.file.model_config
    assert tuned.card["init_from"]["path"] == str(model.run.path)
    assert tuned.run.config()["train"]["steps"] == 1


def test_the_settings_of_the_training_are_the_models_with_a_lower_learning_rate(tmp_path):
    charloom.train(text=FIRST, out=tmp_path / "first", learning_rate=1e-2, optimizer="sgd", **TINY)
    tuned = charloom.train(
        text=SECOND, out=tmp_path / "second", init_from=tmp_path / "first", steps=2, quiet=True
    )
    settings = tuned.run.config()["train"]
    assert settings["learning_rate"] == pytest.approx(1e-2 * LEARNING_RATE_SHARE)
    assert (settings["optimizer"], settings["batch_size"]) == ("sgd", 4)


def test_another_network_is_refused(tmp_path):
    charloom.train(text=FIRST, out=tmp_path / "first", **TINY)
    with pytest.raises(ConfigError, match=r"hidden_size is 16 and the model of .* has 8"):
        charloom.train(text=SECOND, out=tmp_path / "x", init_from=tmp_path / "first", hidden_size=16, steps=1)
    assert not (tmp_path / "x").exists()


def test_bytes_and_characters_are_not_joined(tmp_path):
    charloom.train(text=FIRST, out=tmp_path / "first", **TINY)
    with pytest.raises(ConfigError, match="unit is byte"):
        charloom.train(text=SECOND, out=tmp_path / "x", init_from=tmp_path / "first", unit="byte", steps=1)


def test_a_fine_tuned_run_resumes(tmp_path):
    charloom.train(text=FIRST, out=tmp_path / "first", **TINY)
    charloom.train(text=SECOND, out=tmp_path / "second", init_from=tmp_path / "first", steps=4, quiet=True)
    again = charloom.resume(tmp_path / "second", more_steps=3, quiet=True)
    assert again.card["results"]["steps"] == 7
    assert "z" in again.vocab.decode(range(len(again.vocab)))


@pytest.fixture
def texts(tmp_path):
    """A model, and a text with characters that are new to it, in a file: a run reads it again when it is resumed."""
    charloom.train(text=FIRST, out=tmp_path / "first", cell="gru", **TINY)
    (tmp_path / "second.txt").write_text(SECOND, encoding="utf-8")
    return tmp_path


def fine_tune(texts, name, **how):
    settings = {"init_from": texts / "first", "steps": 12, "quiet": True, "threads": 1, "validate_every": 4}
    return charloom.train(texts / "second.txt", out=texts / name, **settings, **how)


def stop(event):
    if isinstance(event, Progress):
        raise ZeroDivisionError


def assert_same_bytes(found, expected):
    assert found.vocab == expected.vocab
    for name, array in expected.file.parameters.items():
        assert found.file.parameters[name].tobytes() == array.tobytes(), name


def test_a_stopped_fine_tuning_continues_with_the_characters_of_both_texts(texts):
    expected = fine_tune(texts, "whole")
    with pytest.raises(ZeroDivisionError):
        fine_tune(texts, "cut", on_event=stop)
    assert_same_bytes(charloom.resume(texts / "cut", quiet=True), expected)


def test_a_fine_tuning_stopped_before_its_first_checkpoint_starts_from_the_model_again(texts):
    """Not from weights that were drawn at random."""
    expected = fine_tune(texts, "whole")
    with pytest.raises(ZeroDivisionError):
        fine_tune(texts, "cut", on_event=stop)
    shutil.rmtree(texts / "cut" / "checkpoints")
    (texts / "cut" / "model.safetensors").unlink(missing_ok=True)
    shutil.copytree(texts / "cut", texts / "other")
    assert_same_bytes(charloom.resume(texts / "cut", quiet=True), expected)
    shutil.rmtree(texts / "first")
    with pytest.raises(CharloomError, match="first"):
        charloom.resume(texts / "other", quiet=True)


def test_a_run_from_before_the_vocabulary_was_recorded_takes_that_of_its_model(texts):
    fine_tune(texts, "old")
    run = Run(texts / "old")
    config = run.config()
    del config["corpus"]["vocab"]
    run.write_config(config)
    again = charloom.resume(run.path, more_steps=2, quiet=True)
    assert len(again.vocab) == config["corpus"]["vocab_size"]
    run.model_path.unlink()
    with pytest.raises(RunError, match=r"the vocabulary of .*old is lost"):
        charloom.resume(run.path, text=[texts / "second.txt"], quiet=True)
