"""Shared by the training tests: a small corpus, a small network and a clock that only updates advance."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.engines import load_engine
from charloom.modelfile import read_model
from charloom.runs import Run
from charloom.text import corpus_from_text
from charloom.training import train

SYMBOLS = "abcdefgh"
MODEL = ModelConfig(cell="gru", hidden_size=8, embedding_size=4)


def bigram_source(seed=0, symbols=SYMBOLS, concentration=0.5):
    """A random transition matrix; each row is a distribution."""
    return np.random.default_rng(seed).dirichlet(np.full(len(symbols), concentration), len(symbols))


def bigram_text(matrix, length, seed=1, symbols=SYMBOLS):
    """A text from that source."""
    cumulative, u = matrix.cumsum(axis=1), np.random.default_rng(seed).random(length)
    state, ids = 0, []
    for draw in u:
        state = min(int(np.searchsorted(cumulative[state], draw, side="right")), len(symbols) - 1)
        ids.append(state)
    return "".join(symbols[i] for i in ids)


def entropy_rate_bits(matrix):
    """H = −Σ π_a Σ P_ab log₂ P_ab with π the stationary distribution."""
    values, vectors = np.linalg.eig(matrix.T)
    pi = np.real(vectors[:, np.argmin(abs(values - 1))])
    pi = pi / pi.sum()
    safe = np.where(matrix > 0, matrix, 1.0)
    return float(-(pi[:, None] * matrix * np.log2(safe)).sum())


def small_corpus(length=1500, **settings):
    return corpus_from_text(bigram_text(bigram_source(), length), TextConfig(**settings))


def line_corpus():
    lines = bigram_text(bigram_source(), 900).replace("a", "\n").strip("\n")
    return corpus_from_text(lines, TextConfig(documents="line"))


def settings(**changes):
    return TrainConfig(
        **{
            "batch_size": 4,
            "bptt_length": 8,
            "threads": 1,
            "device": "cpu",
            "learning_rate": 0.01,
            "steps": 24,
            **changes,
        }
    )


def run_all(corpus, config, path, *, model=MODEL, resume=False, **kwargs):
    """Train to the end: (run, events)."""
    run = Run.open(path) if resume else Run.create(path, {})
    return run, list(train(corpus, model, config, run, resume=resume, **kwargs))


def kinds(events, kind):
    return [event for event in events if type(event).__name__ == kind]


def weights(run):
    """The tensors of the model file and of the newest checkpoint, as bytes."""
    model = {name: p.tobytes() for name, p in read_model(run.model_path).parameters.items()}
    checkpoint, notes = run.newest_checkpoint()
    assert notes == ()
    return model, {name: x.tobytes() for name, x in checkpoint.tensors.items()}


def assert_same_weights(run, other):
    for mine, theirs in zip(weights(run), weights(other), strict=True):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name] != theirs[name]] == []


class Clock:
    """Seconds that pass only during updates, and when a test adds to `now`."""

    def __init__(self, step_s=0.01):
        self.now, self.steps, self.step_s = 100.0, 0, step_s

    def __call__(self):
        return self.now

    def install(self, monkeypatch, cost=None):
        """Let each update take `cost(step)` seconds, by default `step_s`."""
        from charloom.engines.torch.learner import TorchLearner

        real = TorchLearner.gradients

        def gradients(learner, step, *rest):
            self.steps += 1
            self.now += cost(step) if cost else self.step_s
            return real(learner, step, *rest)

        monkeypatch.setattr(TorchLearner, "gradients", gradients)
        return self


@pytest.fixture
def quick_report(monkeypatch):
    """Skip the n-gram and xz and shorten the samples: here they take longer than the training."""
    from charloom.training import baselines, loop

    def none(*_):
        yield
        return baselines.Baselines()

    monkeypatch.setattr(baselines, "_measure", none)
    monkeypatch.setattr(loop, "SAMPLE_CHARS", 3)


def model_of(run):
    file = read_model(run.model_path)
    return load_engine("torch").model(file.parameters, file.model_config)
