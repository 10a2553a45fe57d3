"""Beaten: charloom's own choice against a published system, in the time that the published form trained.

Both sides learn from the first nine tenths and are scored on the last tenth as one stream. Where nine tenths are 3,000
characters, one tail of 330 is noise: there the text is cut into ten blocks and each is held out once.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.engines import Model, load_engine
from charloom.evaluation.protocols import stream_loss
from charloom.modelfile import read_model
from charloom.recipes import find_recipe, resolve
from charloom.recipes.resolve import text_config
from charloom.reproduce.rehearse import rehearse
from charloom.reproduce.systems import System, corpus_path
from charloom.runs import Run
from charloom.text import Corpus, read_corpus
from charloom.training import train
from charloom.training.closing import measure_baselines
from charloom.training.events import Finished

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

FOLDS = 10
FOLDED_UP_TO = 10_000
"""Texts up to this length are cross-validated."""

T_QUANTILE = 2.262
"""Student's t, nine degrees of freedom, 97.5 %: half the width of a 95 % interval in standard errors of ten folds."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contest:
    """Held-out bits a character of both sides, and of the n-gram.

    Attributes:
        system: which.
        budget_s: seconds of wall clock that charloom had, all measurements in between included.
        published: bits a character by fold (one fold: the last tenth).
        charloom: the same, by charloom's own choice.
        ngram: the same, by the primed n-gram of the best order.
        published_train_time_s: seconds that the recipe took here, all folds.
        charloom_train_time_s: the same for charloom.
        recipe: what charloom chose.
    """

    system: System
    budget_s: float
    published: tuple[float, ...]
    charloom: tuple[float, ...]
    ngram: tuple[float, ...]
    published_train_time_s: float
    charloom_train_time_s: float
    recipe: str

    @property
    def gain(self) -> float:
        """How far charloom stands below the published system, as a share of its bits."""
        return 1 - float(np.mean(self.charloom)) / float(np.mean(self.published))


@dataclass(frozen=True, slots=True)
class Choice:
    """A model by the default recipe.

    Attributes:
        model: it.
        train_time_s: seconds in updates.
        reason: what the recipe chose, and why.
    """

    model: Model
    train_time_s: float
    reason: str


def contest(system: System, *, seed: int = 0, say: Say = lambda _: None) -> Contest:
    """Let charloom's own choice and a published system learn from the same text.

    Args:
        system: which.
        seed: of both.
        say: hears how far it is.
    """
    corpus, budget_s = _whole(system), system.train_time_s
    published, own, ngram, times, recipe = [], [], [], np.zeros(2), ""
    for fold, part in enumerate(_folds(corpus)):
        say(f"{system.name}: fold {fold + 1}")
        theirs = rehearse(system, seed=seed, corpus=part)
        published.append(_held_out_bits(theirs.trained, part))
        choice = own_choice(part, minutes=budget_s / 60, seed=seed)
        recipe = choice.reason
        own.append(_held_out_bits(choice.model, part))
        ngram.append(measure_baselines(part).ngram_bits_per_char or math.nan)
        times += (theirs.train_time_s, choice.train_time_s)
        say(f"  published {published[-1]:.3f}, charloom {own[-1]:.3f}, n-gram {ngram[-1]:.3f} bits/char")
    return Contest(
        system, budget_s, tuple(published), tuple(own), tuple(ngram), float(times[0]), float(times[1]), recipe
    )


def _whole(system: System) -> Corpus:
    settings = {"val_fraction": 0.0}
    return read_corpus([corpus_path(system)], text_config(find_recipe(system.name), settings))


def _folds(corpus: Corpus) -> Iterator[Corpus]:
    """The last tenth held out; of a short text, each tenth in turn."""
    ids = np.asarray(corpus.train)
    edges = np.linspace(0, len(ids), FOLDS + 1).astype(int)
    held_out = range(FOLDS) if len(ids) <= FOLDED_UP_TO else [FOLDS - 1]
    for fold in held_out:
        first, last = edges[fold], edges[fold + 1]
        yield replace(corpus, train=np.concatenate([ids[:first], ids[last:]]), validation=ids[first:last])


def own_choice(corpus: Corpus, **settings: Any) -> Choice:
    """Train on a text by the default recipe.

    The held-out text is not shown to the training: it would choose the best of twenty models by the very characters
    that judge it, which the published side cannot.

    Args:
        corpus: its training part is learnt.
        **settings: changes to the default recipe, as a budget.
    """
    resolved = resolve(None, {"patience": None, **settings}, num_chars=len(corpus.train))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        unseen = replace(corpus, validation=None)
        for event in train(unseen, resolved.model_config, resolved.train_config, run):
            finished = event
        kept = read_model(run.model_path)
    assert isinstance(finished, Finished)
    model = load_engine("auto").model(kept.parameters, kept.model_config)
    return Choice(model, finished.train_time_s, resolved.reason)


def _held_out_bits(model: Model, corpus: Corpus) -> float:
    assert corpus.validation is not None
    with threads.limit(None):
        return stream_loss(model, corpus.validation).bits_per_char


def interval(bits: Float[Array, "F"]) -> float:
    """Half the width of the 95 % interval of a mean over folds; nan for one fold."""
    if len(bits) < 2:
        return math.nan
    return T_QUANTILE * float(np.std(bits, ddof=1)) / math.sqrt(len(bits))


def to_json(result: Contest) -> dict[str, Any]:
    """The object that ``reproduce --best --json`` lists under ``systems``."""
    sides: Mapping[str, tuple[float, ...]] = {
        "published": result.published,
        "charloom": result.charloom,
        "ngram": result.ngram,
    }
    return {
        "name": result.system.name,
        "protocol": "stream",
        "folds": len(result.charloom),
        **{f"{side}_bits_per_char": float(np.mean(bits)) for side, bits in sides.items()},
        **{f"{side}_interval_bits": interval(np.array(bits)) for side, bits in sides.items()},
        "gain": result.gain,
        "beats_ngram": float(np.mean(result.charloom)) < float(np.mean(result.ngram)),
        "budget_s": result.budget_s,
        "published_train_time_s": result.published_train_time_s,
        "charloom_train_time_s": result.charloom_train_time_s,
        "recipe": result.recipe,
    }
