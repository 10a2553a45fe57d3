"""The five published systems: their figures, their corpora and where to find these.

A system is a recipe (how it trains), a corpus, and a page of ``published.toml`` (what it printed).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from charloom.config import nearest
from charloom.errors import ConfigError, DataError, DownloadError
from charloom.files import sha256_of
from charloom.text.catalogue import default_folder, get_corpus

BESIDE = Path("../shared/data")
"""Where a checkout of this project looks for its corpora before it asks the network."""

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A published figure and how near a repetition has to come.

    Attributes:
        what: what was measured.
        published: the figure, in nats.
        tolerance: nats; None where a figure is shown and not judged.
        at: the epoch, step or iteration.
    """

    what: str
    published: float
    tolerance: float | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class PublishedStage:
    """A part of a training as its authors read it off their plot.

    Attributes:
        first: step.
        last: step.
        reads: their words for it.
    """

    first: int
    last: int
    reads: str


@dataclass(frozen=True, slots=True)
class System:
    """One published system.

    Attributes:
        name: of its recipe.
        letter: A to E, as in docs/explanation/five-systems.md.
        title: one line.
        corpus: the file's name.
        sha256: of that file.
        catalogue: its name for ``charloom corpus get``, or None where it cannot be fetched.
        train_time_s: how long its published form trains on two cores.
        curve_unit: epoch, step or iteration.
        curve: published points, (unit, nats).
        target: the figure that a repetition is judged by.
        shown: figures that are repeated and not judged.
        other_seeds: the judged figure of seeds 1, 2, … as measured earlier, where a seed takes minutes.
        stages: what was read off the plot of its gradients.
    """

    name: str
    letter: str
    title: str
    corpus: str
    sha256: str
    catalogue: str | None
    train_time_s: float
    curve_unit: str
    curve: Curve
    target: Target
    shown: tuple[Target, ...]
    other_seeds: tuple[float, ...] = ()
    stages: tuple[PublishedStage, ...] = ()


@cache
def systems() -> Mapping[str, System]:
    """Every system by the name of its recipe, in the order A to E."""
    pages = tomllib.loads((resources.files("charloom.reproduce") / "published.toml").read_text("utf-8"))
    return {name: _system(name, page) for name, page in pages.items()}


def _system(name: str, page: Mapping[str, Any]) -> System:
    return System(
        name=name,
        letter=page["letter"],
        title=page["title"],
        corpus=page["corpus"],
        sha256=page["sha256"],
        catalogue=page.get("catalogue"),
        train_time_s=page["train_time_s"],
        curve_unit=page["curve_unit"],
        curve=tuple((x, y) for x, y in page["curve"]),
        target=Target(**page["figure"]),
        shown=(Target(**page["also"]),) if "also" in page else (),
        other_seeds=tuple(page.get("other_seeds", ())),
        stages=tuple(PublishedStage(**stage) for stage in page.get("stages", ())),
    )


def find_systems(name: str) -> tuple[System, ...]:
    """The system of that name, or every one for ``all``.

    Raises:
        ConfigError: there is none of that name.
    """
    known = systems()
    if name == "all":
        return tuple(known.values())
    if name not in known:
        near = nearest(name, [*known, "all"])
        raise ConfigError(
            f"there is no published system {name!r}",
            why=f"charloom repeats {', '.join(known)}",
            fix=f"did you mean {near}?" if near else "name one of them, or all",
        )
    return (known[name],)


def corpus_path(system: System) -> Path:
    """The system's corpus: in ``$CHARLOOM_DATA``, beside the checkout, in the user's cache, or fetched.

    Raises:
        DataError: it is nowhere, and cannot be fetched.
        DownloadError: it could not be fetched.
    """
    chosen = os.environ.get("CHARLOOM_DATA")
    folders = [Path(chosen)] if chosen else [BESIDE, default_folder()]
    for folder in folders:
        path = folder / system.corpus
        if path.is_file() and sha256_of(path) == system.sha256:
            return path
    places = " or ".join(str(folder) for folder in folders)
    if system.catalogue is None:
        raise DataError(
            f"{system.corpus} is not in {places}",
            why="the published text is not public, and its stand-in cannot be fetched by name",
            fix=f"put the file with SHA-256 {system.sha256[:12]}… there, or name its folder in CHARLOOM_DATA",
        )
    try:
        return get_corpus(system.catalogue)
    except DownloadError as error:
        raise DownloadError(
            f"{system.corpus} is not in {places}; {error.what}", why=error.why, fix=error.fix
        ) from error
