"""Runs compared: those that differ in their seed only form a group, and two groups on the same held-out text are told apart.

`seed_groups` needs only the run folders; `compare_groups` reads the corpora and measures the loss of every prediction.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import stored_text_config, to_dict
from charloom.engines import load_engine
from charloom.errors import CharloomError
from charloom.evaluation.bootstrap import Difference, losses_by_position, paired_difference
from charloom.modelfile import read_model
from charloom.run_corpus import corpus_of
from charloom.runs import Run
from charloom.text import Corpus

if TYPE_CHECKING:
    from jaxtyping import Float64
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """Finished runs that differ in their seed only; a single run is a group too.

    Attributes:
        name: that of the run, or what the names of the runs have in common.
        runs: in the order given.
        seeds: of each run.
        val_bits_per_char: of each run, on its held-out text (stream protocol).
    """

    name: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    val_bits_per_char: tuple[float, ...]

    @property
    def mean_bits_per_char(self) -> float:
        """The mean over the runs."""
        return statistics.mean(self.val_bits_per_char)

    @property
    def sd_bits_per_char(self) -> float | None:
        """The standard deviation over the runs (n − 1); None for a single run."""
        return statistics.stdev(self.val_bits_per_char) if len(self.runs) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "name": self.name,
            "runs": [str(run.path) for run in self.runs],
            "seeds": list(self.seeds),
            "val_bits_per_char": list(self.val_bits_per_char),
            "val_bits_per_char_mean": self.mean_bits_per_char,
            "val_bits_per_char_sd": self.sd_bits_per_char,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group compared with the one of the lowest loss.

    Attributes:
        best: the group with the lowest mean loss.
        other: another group.
        difference: how much more bits `other` needs than `best`; None if they cannot be compared.
        why_not: the reason, then.
    """

    best: SeedGroup
    other: SeedGroup
    difference: Difference | None
    why_not: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        found = self.difference
        return {
            "best": self.best.name,
            "other": self.other.name,
            "difference_bits_per_char": None if found is None else found.bits,
            "low_bits_per_char": None if found is None else found.low_bits,
            "high_bits_per_char": None if found is None else found.high_bits,
            "differ": None if found is None else found.is_clear,
            "chars": None if found is None else found.num_chars,
            "blocks": None if found is None else found.num_blocks,
            "why_not": self.why_not,
        }


def seed_groups(runs: Sequence[Run]) -> list[SeedGroup]:
    """Group the finished runs that have a loss on held-out text, in the order of their first run."""
    members: dict[str, list[tuple[Run, dict[str, Any]]]] = {}
    for run in {run.path.resolve(): run for run in runs}.values():
        config = run.complete_config()
        if run.is_finished and config["results"].get("val_bits_per_char") is not None:
            members.setdefault(_all_but_seed(config), []).append((run, config))
    return [_group(found) for found in members.values()]


def _all_but_seed(config: dict[str, Any]) -> str:
    corpus = {key: config["corpus"].get(key) for key in ("sha256", "val", "test")}
    train = {key: value for key, value in config["train"].items() if key != "seed"}
    text = to_dict(stored_text_config(config["text"], source="a run"))
    return json.dumps([text, config["model"], train, corpus], sort_keys=True)


def _group(members: list[tuple[Run, dict[str, Any]]]) -> SeedGroup:
    names = [run.path.name for run, _ in members]
    stems = {re.sub(r"-seed\d+$", "", name) for name in names}
    name = names[0] if len(names) == 1 else stems.pop() if len(stems) == 1 else f"{names[0]}+{len(names) - 1}"
    return SeedGroup(
        name,
        tuple(run for run, _ in members),
        tuple(int(config["train"]["seed"]) for _, config in members),
        tuple(float(config["results"]["val_bits_per_char"]) for _, config in members),
    )


def compare_groups(
    groups: Sequence[SeedGroup], *, on_note: Callable[[str], None] = lambda _: None
) -> list[Comparison]:
    """Compare every group with the one of the lowest mean loss, by a paired block bootstrap on their held-out text.

    Args:
        groups: from `seed_groups`.
        on_note: called with a sentence before the losses are measured.
    """
    if len(groups) < 2:
        return []
    best = min(groups, key=lambda group: group.mean_bits_per_char)
    others = [group for group in groups if group is not best]
    try:
        held_out = corpus_of(best.runs[0])
    except CharloomError as error:
        return [Comparison(best, other, None, error.what) for other in others]
    obstacles = [_obstacle(held_out, other) for other in others]
    measured = [best] + [other for other, why_not in zip(others, obstacles) if why_not is None]
    if len(measured) == 1:
        return [Comparison(best, other, None, why_not) for other, why_not in zip(others, obstacles)]
    num = sum(len(group.runs) for group in measured)
    on_note(f"measuring {num} runs on the same {_num_predictions(held_out):,} held-out characters")
    losses_of_best = _losses(best, held_out)
    found = []
    for other, why_not in zip(others, obstacles):
        if why_not is None:
            try:
                found.append(
                    Comparison(best, other, paired_difference(_losses(other, held_out), losses_of_best))
                )
                continue
            except CharloomError as error:
                why_not = f"{error.what}: {error.why}"
        found.append(Comparison(best, other, None, why_not))
    return found


def _num_predictions(corpus: Corpus) -> int:
    return 0 if corpus.validation is None else len(corpus.validation) - 1


def _obstacle(held_out: Corpus, other: SeedGroup) -> str | None:
    """Why a group's losses cannot be paired with those on another's held-out text."""
    try:
        corpus = corpus_of(other.runs[0])
    except CharloomError as error:
        return error.what
    if corpus.sha256 != held_out.sha256:
        return "they were trained on different texts"
    if corpus.vocab.unit != held_out.vocab.unit:
        return "one predicts characters and the other bytes"
    if corpus.vocab != held_out.vocab:
        return "their vocabularies differ"
    if not np.array_equal(corpus.validation, held_out.validation):  # type: ignore[arg-type]
        return "they hold out different parts of the text"
    return None


def _losses(group: SeedGroup, held_out: Corpus) -> Float64[Array, "R M"]:
    assert held_out.validation is not None
    rows = []
    for run in group.runs:
        file = read_model(run.model_path)
        model = load_engine("auto").model(file.parameters, file.model_config)
        rows.append(losses_by_position(model, held_out.validation, boundary_id=held_out.vocab.boundary_id))
    return np.stack(rows)
