"""charloom's default recipe against a published system, in the training time of the published form.

Both sides train on the first nine tenths and are scored on the last tenth as one stream. If nine tenths are
3,000 characters, a single tail of 330 is noise: such a text is cut into ten blocks, each held out once.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.engines import EngineModel, load_engine
from charloom.evaluation.protocols import stream_loss
from charloom.modelfile import read_model
from charloom.recipes import find_recipe, resolve
from charloom.recipes.resolve import text_config
from charloom.reproduce.systems import System, corpus_path
from charloom.reproduce.train import train_system
from charloom.runs import Run
from charloom.text import Corpus, read_corpus
from charloom.training import train
from charloom.training.baselines import measure_baselines
from charloom.training.events import Finished

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

FOLDS = 10
FOLDED_UP_TO = 10_000
"""Texts up to this length are cross-validated."""

T_QUANTILE = 2.262
"""Student's t for nine degrees of freedom, 97.5 %: half a 95 % interval in standard errors of ten folds."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contest:
    """Held-out bits per character of both sides and of the n-gram.

    Attributes:
        system: the published system.
        budget_s: charloom's budget in seconds of wall-clock time, including its own measurements.
        published: bits per character of each fold (one fold: the last tenth).
        charloom: the same for charloom's default recipe.
        ngram: the same for the primed n-gram of the best order.
        published_train_time_s: seconds that the system's recipe trained here, all folds.
        charloom_train_time_s: the same for charloom.
        recipe: the recipe that charloom chose.
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
        """How far charloom is below the published system, as a fraction of its bits."""
        return 1 - float(np.mean(self.charloom)) / float(np.mean(self.published))


@dataclass(frozen=True, slots=True)
class OwnRecipe:
    """A model trained with the default recipe, its seconds in updates, and the reason for its settings."""

    model: EngineModel
    train_time_s: float
    reason: str


def contest(system: System, *, seed: int = 0, say: Say = lambda _: None) -> Contest:
    """Train the default recipe and a published system on the same text; `say` receives the progress."""
    config = text_config(find_recipe(system.name), {"val_fraction": 0.0})
    corpus, budget_s = read_corpus([corpus_path(system)], config), system.train_time_s
    published, own, ngram, times, recipe = [], [], [], np.zeros(2), ""
    for fold, part in enumerate(_folds(corpus)):
        say(f"{system.name}: fold {fold + 1}")
        theirs = train_system(system, seed=seed, corpus=part)
        ours = own_choice(part, minutes=budget_s / 60, seed=seed)
        published.append(_held_out_bits(theirs.trained, part))
        own.append(_held_out_bits(ours.model, part))
        ngram.append(measure_baselines(part).ngram_bits_per_char or math.nan)
        times += (theirs.train_time_s, ours.train_time_s)
        recipe = ours.reason
        say(f"  published {published[-1]:.3f}, charloom {own[-1]:.3f}, n-gram {ngram[-1]:.3f} bits/char")
    return Contest(
        system, budget_s, tuple(published), tuple(own), tuple(ngram), float(times[0]), float(times[1]), recipe
    )


def _folds(corpus: Corpus) -> Iterator[Corpus]:
    """Hold out the last tenth, or each tenth once if the text is short."""
    ids = np.asarray(corpus.train)
    edges = np.linspace(0, len(ids), FOLDS + 1).astype(int)
    for fold in range(FOLDS) if len(ids) <= FOLDED_UP_TO else [FOLDS - 1]:
        first, last = edges[fold : fold + 2]
        yield replace(corpus, train=np.concatenate([ids[:first], ids[last:]]), validation=ids[first:last])


def own_choice(corpus: Corpus, **settings: Any) -> OwnRecipe:
    """Train on a corpus with the default recipe, changed by `settings` such as a budget.

    The held-out text is hidden from training, which would otherwise pick the best of twenty models on the
    very characters that score it; the published side cannot do that.
    """
    resolved = resolve(None, {"patience": None, **settings}, num_chars=len(corpus.train))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {})
        hidden = replace(corpus, validation=None)
        for event in train(hidden, resolved.model_config, resolved.train_config, run):
            finished = event
        kept = read_model(run.model_path)
    assert isinstance(finished, Finished)
    model = load_engine("auto", task="scoring").model(kept.parameters, kept.model_config)
    return OwnRecipe(model, finished.train_time_s, resolved.reason)


def _held_out_bits(model: EngineModel, corpus: Corpus) -> float:
    assert corpus.validation is not None
    with threads.limit(None):
        return stream_loss(model, corpus.validation).bits_per_char


def interval(bits: Float[Array, "F"]) -> float:
    """Half the width of the 95 % confidence interval of a mean over folds; nan for a single fold."""
    if len(bits) < 2:
        return math.nan
    return T_QUANTILE * float(np.std(bits, ddof=1)) / math.sqrt(len(bits))


def to_json(result: Contest) -> dict[str, Any]:
    """The object that ``reproduce --best --json`` lists under ``systems``."""
    sides = {name: getattr(result, name) for name in ("published", "charloom", "ngram")}
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
