"""Resume × engine × cell × block × optimiser × batching × ranks: a stopped run ends with the bytes of one that was not.

The matrix is generated from the settings themselves and from what each engine accepts. The ordinary suite runs a sample
of it that covers every pair of values; `pytest -m reliability` runs all of it, and a fourth of the cases of two ranks,
each stopped at a random step.
"""

import itertools
import sys
import typing
from typing import NamedTuple

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import load_engine
from charloom.errors import ConfigError
from charloom.runs import Run
from charloom.training import train

from .small import (
    assert_same_weights,
    quick_report,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
)
from .test_ranks import launch

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("quick_report")

STEPS, STOPS = 10, range(1, 9)


def values(config, name):
    """Every value that a setting may have."""
    return typing.get_args(typing.get_type_hints(config)[name])


AXES = {
    "engine": tuple(one for one in values(TrainConfig, "engine") if one != "auto"),
    "cell": values(ModelConfig, "cell"),
    "block": values(ModelConfig, "block"),
    "optimizer": values(TrainConfig, "optimizer"),
    "batching": values(TrainConfig, "batching"),
    "ranks": (1, 2),
}


class Case(NamedTuple):
    """One cell of the matrix."""

    engine: str
    cell: str
    block: str
    optimizer: str
    batching: str
    ranks: int

    @property
    def name(self):
        return "-".join(map(str, self))

    def network(self):
        few = {"hidden_size": 6, "num_layers": 1 if self.engine == "fused" else 2}
        dropped = {} if self.engine == "fused" else {"dropout_output": 0.2}
        return {"cell": self.cell, "block": self.block, **few, **dropped}

    def training(self):
        groups = {"lane_groups": 2} if self.ranks > 1 else {}
        found = {"engine": self.engine, "optimizer": self.optimizer, "batching": self.batching, **groups}
        found |= {"batch_size": 1 if self.engine == "fused" else 4, "steps": STEPS, "validate_every": 3}
        return found | {
            "stride": 5,
            "order": "shuffled",
            "average_decay": None if self.engine == "fused" else 0.9,
        }

    def is_allowed(self):
        """Whether the engine trains such a network, and divides it among the ranks."""
        if self.ranks > 1 and self.engine != "torch":
            return False  # `refuse_ranks`
        try:
            load_engine(self.engine).check(ModelConfig(**self.network()), settings(**self.training()))
        except ConfigError:
            return False
        return True


MATRIX = [case for case in map(Case._make, itertools.product(*AXES.values())) if case.is_allowed()]
ALONE, SHARED = ([case for case in MATRIX if (case.ranks > 1) == shared] for shared in (False, True))


def pairs(case):
    """Every two values of a case, with their axes."""
    return set(itertools.combinations(zip(Case._fields, case), 2))


def covering(cases):
    """Few cases in which every pair of values occurs that occurs at all: greedily, the most new pairs first."""
    left, chosen = set().union(*map(pairs, cases)), []
    while left:
        best = max(cases, key=lambda case: len(pairs(case) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


def test_the_sample_covers_every_pair_of_values_of_the_matrix():
    sample = covering(MATRIX)
    assert set().union(*map(pairs, sample)) == set().union(*map(pairs, MATRIX))
    assert len(MATRIX) > 8 * len(sample)
    for field, found in AXES.items():  # an engine that refuses everything would leave the matrix empty
        assert {getattr(case, field) for case in MATRIX} == set(found)
    torch = [case for case in ALONE if case.engine == "torch"]
    assert len(torch) == np.prod([len(AXES[axis]) for axis in ("cell", "block", "optimizer", "batching")])


def whole(case, folder):
    return run_all(small_corpus(), settings(**case.training()), folder, model=ModelConfig(**case.network()))[
        0
    ]


def resumed(case, folder):
    """The run in `folder`, continued to its end in this process."""
    model = ModelConfig(**case.network())
    return run_all(small_corpus(), settings(**case.training()), folder, model=model, resume=True)[0]


def stopped_and_resumed(case, folder, stop):
    """A run whose caller stops iterating at a step, and which is then continued."""
    run, model = Run.create(folder, {}), ModelConfig(**case.network())
    for event in (events := train(small_corpus(), model, settings(**case.training()), run)):
        if event.step >= stop:
            events.close()
            break
    return resumed(case, folder)


def differ(case, run, other):
    """Whether the bytes differ, and say so."""
    try:
        assert_same_weights(run, other)
    except AssertionError:
        print(f"{case.name}: the bytes differ")
        return True
    return False


@pytest.mark.parametrize(
    "case", [one for one in covering(MATRIX) if one.ranks == 1], ids=lambda case: case.name
)
def test_a_case_of_the_sample_resumes_to_the_bytes_of_an_undisturbed_run(case, tmp_path):
    assert_same_weights(stopped_and_resumed(case, tmp_path / "run", 5), whole(case, tmp_path / "whole"))


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@needs_linux
def test_the_sample_of_two_ranks_continues_in_one_process_to_its_bytes(tmp_path):
    cases = [one for one in covering(MATRIX) if one.ranks == 2]
    assert cases
    launch(tmp_path, 2, {case.name: [case.training(), 5, case.network()] for case in cases})
    for case in cases:
        run = resumed(case, tmp_path / case.name)
        assert [e["ranks"] for e in run.events() if e.get("event") == "started"] == [2, 1]
        assert_same_weights(run, whole(case, tmp_path / f"{case.name}-whole"))


@pytest.mark.reliability
@pytest.mark.parametrize("engine", AXES["engine"])
def test_every_case_resumes_to_the_bytes_of_an_undisturbed_run(engine, tmp_path, attacks):
    cases, rng = [case for case in ALONE if case.engine == engine], attacks.rng
    stops = rng.integers(STOPS.start, STOPS.stop, len(cases))
    losses = sum(
        differ(case, stopped_and_resumed(case, tmp_path / case.name, stop), whole(case, tmp_path / f"{case.name}-whole"))
        for case, stop in zip(cases, stops, strict=True)
    )  # fmt: skip
    attacks.count(f"resumes, {engine}", len(cases), losses=losses)


@needs_linux
@pytest.mark.reliability
def test_cases_of_two_ranks_continue_in_one_process_to_their_bytes(tmp_path, attacks):
    """A fourth of them, others with each seed: `make soak` comes to all."""
    rng = attacks.rng
    cases = [SHARED[i] for i in rng.permutation(len(SHARED))[: len(SHARED) // 4]]
    stops = rng.integers(STOPS.start, STOPS.stop, len(cases)).tolist()
    launch(tmp_path, 2, {one.name: [one.training(), stop, one.network()] for one, stop in zip(cases, stops)})
    losses = sum(
        differ(case, resumed(case, tmp_path / case.name), whole(case, tmp_path / f"{case.name}-whole"))
        for case in cases
    )
    attacks.count("resumes, two ranks", len(cases), losses=losses)
