"""Losses of a recipe on tiny Shakespeare, seed by seed: the figures quoted in docs/results.md.

python -m benchmarks quality --recipe best [--seeds 3] [--minutes 3] [--text tinyshakespeare] [--dynamic]
python -m benchmarks quality --recipe record-chain --members 4 --student record-student --students 4 [--dynamic]
python -m benchmarks quality --recipe enwik8 --seeds 1 [--models FOLDER] [--dynamic]

Each seed trains on the first nine tenths, and the final model is evaluated on the last tenth, which training
never sees. Losses are in nats per character: 200 × 64 random windows of 64 and of 256 characters from a zero
state, the stream, and the stream with dynamic evaluation, which trains on the text after scoring it
(--dynamic; takes minutes).

enwik8 is read as bytes: 90 million are trained on, and the last 5 million evaluated, in nats too; a byte's bits are
nats / ln 2.

With --members, the networks form a chain: each is taught by the one before, and each row also has the losses of the
ensemble of all networks so far. --student adds --students networks of another recipe, each taught by the ensemble of all
before it. Finished networks are kept in FOLDER, where an interrupted benchmark continues.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, as_text, machine, mean_and_sd, rounded
from benchmarks.trials import Trained, trained, whole
from charloom import threads
from charloom.engines import EngineModel, load_engine
from charloom.engines.ensemble import EnsembleModel
from charloom.ensemblefile import combined, write_ensemble
from charloom.evaluation.dynamic import dynamic_score
from charloom.evaluation.protocols import iterate_windows, stream_loss
from charloom.modelfile import ModelFile, read_model, write_model
from charloom.text import Corpus
from charloom.training.distillation import Teacher

WINDOWS = 200 * 64
PROTOCOLS = ("windows_64", "windows_256", "stream", "dynamic")


def row_of(
    settings: Mapping[str, Any],
    corpus: Corpus,
    folder: Path,
    *,
    name: str,
    dynamic: bool,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """The losses of one network and what its training took, from `folder` if it is finished there; else trained.

    Raises:
        ValueError: the network called `name` in `folder` has other settings.
    """
    record = folder / f"{name}.json"
    kept: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {}
    if kept and kept["settings"] != settings:
        raise ValueError(f"{record} is of {kept['settings']}, not of {settings}: name another folder")
    row: dict[str, Any] = kept.get("row", {})

    def note(found: Mapping[str, Any]) -> None:
        row.update(found)
        record.write_text(json.dumps({"settings": settings, "row": row}), encoding="utf-8")

    if not row:
        for stale in folder.glob(f"{name}-*.npy"):
            stale.unlink()
        began = time.process_time()
        done = trained(corpus, settings, teacher=teacher)
        took = {"cpu_hours": rounded((time.process_time() - began) / 3600)}
        write_model(_network(folder, name), done.kept)
        note(facts_of(done, corpus) | took)
    network = read_model(_network(folder, name))
    if "stream" not in row:
        note(losses_of([network], [name], corpus, folder))
    if dynamic and "dynamic" not in row:
        note(dynamic_loss_of([network], [name], corpus, folder))
    return row


def losses_of(
    members: Sequence[ModelFile], names: Sequence[str], corpus: Corpus, folder: Path
) -> dict[str, float]:
    """Held-out losses of a network, or of an ensemble, without learning; those of each in windows are kept in `folder`."""
    models = [load_engine("auto", task="scoring").model(one.parameters, one.model_config) for one in members]
    ids = corpus.validation
    assert ids is not None
    found = {}
    for length in (64, 256):
        each = [
            _losses_in_windows(model, ids, length, folder / f"{name}-windows_{length}.npy")
            for model, name in zip(models, names, strict=True)
        ]
        found[f"windows_{length}"] = mean_loss(each)
    found["stream"] = stream_loss(models[0] if len(models) == 1 else EnsembleModel(models), ids).loss_nats
    return {protocol: rounded(loss) for protocol, loss in found.items()}


def _losses_in_windows(model: EngineModel, ids: np.ndarray, length: int, kept: Path) -> np.ndarray:
    """The losses of a network in random windows, in nats, (windows, length)."""
    if not kept.exists():
        windows = iterate_windows(model, ids, window=length, num_windows=WINDOWS)
        _keep(np.concatenate([*windows]), kept)
    return np.load(kept)


def mean_loss(each: Sequence[np.ndarray]) -> float:
    """The mean loss of an ensemble, from the losses of each member at the same positions; of one network, its own.

    Example:
        >>> np.exp(-mean_loss([-np.log([0.5]), -np.log([0.25])])).round(9).item()
        0.375
    """
    log_sum = reduce(np.logaddexp, (-losses.astype(np.float64) for losses in each))
    return float(np.log(len(each)) - log_sum.mean())


def dynamic_loss_of(
    members: Sequence[ModelFile], names: Sequence[str], corpus: Corpus, folder: Path
) -> dict[str, float]:
    """The held-out loss of a network, or of an ensemble, that learns while it is scored; as in `losses_of`.

    Each member learns from its own loss, so that an ensemble's loss follows from those of its members.
    """
    ids = corpus.validation
    assert ids is not None
    each = [
        _losses_while_learning(network, ids, folder / f"{name}-dynamic.npy")
        for network, name in zip(members, names, strict=True)
    ]
    return {"dynamic": rounded(mean_loss(each))}


def _losses_while_learning(network: ModelFile, ids: np.ndarray, kept: Path) -> np.ndarray:
    """The losses of a network that learns from each window after it is scored, in nats, one for each character."""
    if not kept.exists():
        found: list[np.ndarray] = []
        dynamic_score([network], ids, on_losses=lambda losses: found.append(losses.ravel()))
        _keep(np.concatenate(found), kept)
    return np.load(kept)


def _keep(losses: np.ndarray, path: Path) -> None:
    begun = path.with_suffix(".begun.npy")
    np.save(begun, losses.astype(np.float32))
    begun.replace(path)


def _network(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def facts_of(done: Trained, corpus: Corpus) -> dict[str, Any]:
    """What a training took."""
    written = {"written_chars": done.num_written} if done.num_written else {}
    return written | {
        "seed": done.settings["seed"],
        "num_params": done.num_params,
        "steps": done.finished.step,
        "epochs": rounded(done.finished.chars_seen / (len(corpus.train) + done.num_written)),
        "train_time_s": rounded(done.finished.train_time_s),
        "wall_time_s": rounded(done.finished.wall_time_s),
        "chars_per_s": round(done.finished.chars_seen / done.finished.train_time_s),
    }


def growing(
    settings: Mapping[str, Any],
    corpus: Corpus,
    number: int,
    folder: Path,
    *,
    dynamic: bool,
    is_chain: bool,
    students: Sequence[str] = (),
) -> Iterator[list[dict[str, Any]]]:
    """Train network after network; the rows so far, after each, the last of which is printed.

    In a chain, each network is taught by the one before, and each row has the losses of the ensemble of all so far. After
    it, each of `students`, which are recipes, is taught by the ensemble of all so far.
    """
    rows: list[dict[str, Any]] = []
    members: list[ModelFile] = []
    recipes = [*[settings.get("recipe")] * number, *students]
    names = [str(k) if k < number else f"student-{k - number}" for k in range(len(recipes))]
    for seed, (name, recipe) in enumerate(zip(names, recipes, strict=True)):
        is_student = seed >= number
        teacher = _teacher(members if is_student else members[-1:], folder) if is_chain else None
        own = {**settings, "seed": seed} | ({"recipe": recipe} if is_student else {})
        rows.append(row_of(own, corpus, folder, name=name, dynamic=dynamic, teacher=teacher))
        members.append(read_model(_network(folder, name)))
        if is_student:
            rows[-1] |= {"recipe": recipe, "taught_by": f"the mean of seeds 0 to {seed - 1}"}
        if is_chain and len(members) > 1:
            so_far = members, names[: len(members)], corpus, folder
            rows[-1]["ensemble"] = losses_of(*so_far) | (dynamic_loss_of(*so_far) if dynamic else {})
        print(json.dumps(rows[-1]), flush=True)
        yield rows


def _teacher(members: Sequence[ModelFile], folder: Path) -> Teacher | None:
    """The one network or the ensemble that teaches the next; None if there is none yet."""
    path = folder / "teacher.safetensors"
    if len(members) > 1:
        write_ensemble(path, combined(members, {}))
    elif members:
        write_model(path, members[0])
    return Teacher.read(path) if members else None


def main(arguments: Sequence[str] = ()) -> None:
    """Train every seed and write ``results/quality-RECIPE.json`` after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    parser.add_argument("--recipe", default="flash")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, help="budget, instead of the recipe's own")
    parser.add_argument("--text", help="default: tinyshakespeare, or enwik8 for a recipe named after it")
    parser.add_argument("--dynamic", action="store_true")
    parser.add_argument("--members", type=int, help="networks of a chain, each taught by the one before")
    parser.add_argument(
        "--student",
        metavar="RECIPE",
        help="one network more of this recipe, taught by the ensemble of the chain",
    )
    parser.add_argument("--students", type=int, default=1, help="how many, each taught by all before it")
    parser.add_argument(
        "--models", type=Path, help="folder of finished networks, where an interrupted benchmark continues"
    )
    asked = parser.parse_args(arguments)
    if asked.student and not asked.members:
        parser.error("--student needs a chain that teaches it: add --members 7")
    asked.text = asked.text or ("enwik8" if asked.recipe.startswith("enwik8") else "tinyshakespeare")
    own = {"recipe": asked.recipe} | ({"minutes": asked.minutes} if asked.minutes else {})
    suffix = f"-{asked.minutes:g}min" if asked.minutes else ""
    suffix += (
        "" if asked.text == "tinyshakespeare" or asked.recipe.startswith(asked.text) else f"-{asked.text}"
    )
    path = RESULTS / f"quality-{asked.recipe}{suffix}.json"
    found = {"machine": machine(), "text": asked.text, **own, "windows": WINDOWS}
    with tempfile.TemporaryDirectory() as place, threads.limit(None):
        folder = asked.models or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        corpus, _ = whole(asked.text)
        number, is_chain = asked.members or asked.seeds, bool(asked.members)
        students = [asked.student] * asked.students if asked.student else []
        how = {"dynamic": asked.dynamic, "is_chain": is_chain, "students": students}
        for rows in growing(own, corpus, number, folder, **how):
            if is_chain:
                found["cpu_hours"] = rounded(sum(row["cpu_hours"] for row in rows))
            else:
                found["summary"] = {
                    p: mean_and_sd([row[p] for row in rows]) for p in PROTOCOLS if p in rows[0]
                }
            path.write_text(as_text({**found, "rows": rows}), encoding="utf-8")
    print(path)
