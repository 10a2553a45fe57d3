"""The orders of rank 0: what it tells the others, and what it does with their answers."""

import pytest

from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.parameters import initial_parameters
from charloom.runs import Run
from charloom.text.batching import Plan
from charloom.training.ranks import LeadingLearner, agreed_facts, checksum, release
from charloom.training.recorder import RunRecorder

from .small import MODEL, settings, small_corpus

pytest.importorskip("torch")
CORPUS = small_corpus()


class FakeRanks:
    """The connection of rank 0 to one other rank, whose answers the test gives."""

    rank, size, host, released = 0, 2, "a", False

    def __init__(self, *answers):
        self.told, self.to_come = [], list(answers)

    def tell(self, message, arrays=None):
        self.told.append((message, dict(arrays or {})))

    def answers(self):
        return [(self.to_come.pop(0), {})]

    def set_timeout(self, timeout_s, _device):
        self.timeout_s = timeout_s


def facts(**changes):
    return agreed_facts(FakeRanks(), CORPUS) | {"rank": 1, "host": "b"} | changes


def leading(ranks, **changes):
    config = settings(**changes)
    params = initial_parameters(MODEL, len(CORPUS.vocab), 0)
    learner = load_engine("torch").learner(params, MODEL, config, device="cpu")
    return LeadingLearner(ranks, learner, CORPUS, MODEL, config), learner, Plan(CORPUS.train, config)


def test_a_start_agrees_and_sends_the_weights():
    ranks = FakeRanks(facts())
    leading(ranks, peer_timeout_s=7.0)
    assert [message["do"] for message, _ in ranks.told] == ["begin", "agree", "load"]
    assert "param.out.bias" in ranks.told[-1][1]
    assert ranks.timeout_s == 7.0


@pytest.mark.parametrize("name", ["corpus", "vocabulary", "source", "torch", "numpy", "charloom", "machine"])
def test_a_rank_that_differs_is_refused(name):
    ranks = FakeRanks(facts(**{name: "another"}))
    with pytest.raises(ConfigError, match=f"rank 1 on b has {name} another, rank 0 on a"):
        leading(ranks)
    assert [message["do"] for message, _ in ranks.told] == ["begin"]


def test_ranks_whose_weights_differ_are_made_equal():
    ranks = FakeRanks(facts())
    learner, local, plan = leading(ranks)
    learner.set_progress(((0, 0.0), (24, 1.0)))
    twin = leading(FakeRanks(facts()))[1]
    twin.set_progress(((0, 0.0), (24, 1.0)))
    state, _ = twin.advance(plan, 0, 2, twin.initial_state(range(4)))
    ranks.to_come = [{"checksum": checksum(twin)}, {"checksum": 0}]
    del ranks.told[:]
    state, _ = learner.advance(plan, 0, 2, learner.initial_state(range(4)))
    assert [message["do"] for message, _ in ranks.told] == ["advance"]
    learner.advance(plan, 2, 1, state)
    assert [message["do"] for message, _ in ranks.told] == ["advance", "advance", "load"]
    assert {name: x.tobytes() for name, x in ranks.told[-1][1].items()} == {
        name: x.tobytes() for name, x in local.tensors().items()
    }


def test_the_others_are_released_once():
    ranks = FakeRanks(facts())
    learner, local, _ = leading(ranks)
    release(local)
    release(learner)
    release(learner)
    assert [message["do"] for message, _ in ranks.told].count("end") == 1


def test_slow_checkpoints_are_written_less_often(tmp_path):
    now = [100.0]
    run = Run.create(tmp_path / "run", {})
    recorder = RunRecorder(run, CORPUS, MODEL, leading(FakeRanks(facts()))[1], card={}, clock=lambda: now[0])
    due = []
    for save_s in (0.0, 0.4, 2.0):
        recorder.save_s, recorder.saved_at = save_s, now[0]
        for later in (14, 16, 39, 41):
            now[0] = recorder.saved_at + later
            due.append(recorder.is_due)
    assert due == [False, True, True, True] * 2 + [False, False, False, True]
