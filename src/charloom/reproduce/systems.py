"""The five published systems, each with a recipe, a corpus and its figures in ``published.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from charloom.config import nearest_name
from charloom.errors import ConfigError, DataError, DownloadError
from charloom.files import sha256_of, text_of_file
from charloom.schema import toml_value
from charloom.text.catalogue import default_folder, get_corpus

BESIDE = Path("../shared/data")
"""Where a checkout of this project looks for its corpora before downloading them."""

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A published figure and how close a repetition must come to it.

    Attributes:
        what: what was measured.
        published: the figure, in nats.
        tolerance: in nats; None if the figure is only shown.
        at: the epoch, step or iteration.
    """

    what: str
    published: float
    tolerance: float | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class PublishedStage:
    """A stage of training, from step to step, and its authors' description (`reads`), from their plot."""

    first: int
    last: int
    reads: str


@dataclass(frozen=True, slots=True)
class System:
    """One published system.

    Attributes:
        name: name of its recipe.
        letter: A to E, as in docs/explanation/five-systems.md.
        title: one line.
        corpus: name of the corpus file.
        sha256: hash of that file.
        catalogue: its name for ``charloom corpus get``, or None if it cannot be downloaded.
        train_time_s: training time of its published form on two cores.
        curve_unit: epoch, step or iteration.
        curve: published points, (unit, nats).
        target: the figure a repetition is judged by.
        shown: figures that are repeated but not judged.
        other_seeds: the judged figure of seeds 1, 2, …, measured earlier, if a seed takes minutes.
        stages: stages that its authors saw in the plot of its gradients.
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
    """All systems by the name of their recipe, in the order A to E."""
    tables = toml_value(text_of_file(resources.files("charloom.reproduce") / "published.toml"))
    return {name: _system(name, table) for name, table in tables.items()}


def _system(name: str, table: Mapping[str, Any]) -> System:
    same = ("letter", "title", "corpus", "sha256", "train_time_s", "curve_unit")
    return System(
        name=name,
        **{key: table[key] for key in same},
        catalogue=table.get("catalogue"),
        curve=tuple((x, y) for x, y in table["curve"]),
        target=Target(**table["figure"]),
        shown=(Target(**table["also"]),) if "also" in table else (),
        other_seeds=tuple(table.get("other_seeds", ())),
        stages=tuple(PublishedStage(**stage) for stage in table.get("stages", ())),
    )


def find_systems(name: str) -> tuple[System, ...]:
    """The system with that name, or all of them for ``all``.

    Raises:
        ConfigError: there is no such system.
    """
    known = systems()
    if name == "all":
        return tuple(known.values())
    if name not in known:
        near = nearest_name(name, [*known, "all"])
        raise ConfigError(
            f"unknown published system {name!r}",
            why=f"the published systems are {', '.join(known)}",
            fix=f"did you mean {near}?" if near else "give one of these names, or all",
        )
    return (known[name],)


def corpus_path(system: System) -> Path:
    """Find the corpus in ``$CHARLOOM_DATA``, next to the checkout or in the user's cache, or download it.

    Raises:
        DataError: it was not found and is not available for download.
        DownloadError: the download failed.
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
            why="the published text is not public, and its substitute cannot be downloaded",
            fix=f"put the file with SHA-256 {system.sha256[:12]}… there, or set CHARLOOM_DATA to its folder",
        )
    try:
        return get_corpus(system.catalogue)
    except DownloadError as error:
        what = f"{system.corpus} is not in {places}; {error.what}"
        raise DownloadError(what, why=error.why, fix=error.fix) from error
