"""``charloom ensemble``: combine models into one file that predicts with the mean of their probabilities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import option, path_option, verb
from charloom.cli.output import Show, quoted

if TYPE_CHECKING:
    from charloom.api import Model


def ensemble(
    show: Show,
    model: Annotated[str, path_option("a run folder, a model file or an ensemble")],
    /,
    *others: Annotated[str, path_option("more of them", name="MODEL")],
    out: Annotated[
        Path | None, option("file to write [default: NAME-ensemble.safetensors next to the first model]")
    ] = None,
) -> None:
    """Combine models.

    All must have been trained on the same characters, as the runs of `charloom train --members` and `--seeds` are; their
    networks may differ. The file contains all of them. sample, eval, score and info take it like any model.
    """
    from charloom import api

    names = [model, *others]
    combined = api.ensemble(*names)
    path = out if out is not None else ensemble_path(names)
    combined.save(path)
    show.line("\n".join(member_lines(combined)))
    show.line(f"wrote {path}\nnext:\n  charloom sample {quoted(path)} --length 300 --temperature 0.7")
    if combined.run is not None:
        show.line(f"  charloom eval {quoted(path)}")
    show.object(ensemble_object(combined, path))


def ensemble_path(names: Sequence[str | Path]) -> Path:
    """The default name: that of the first model without its seed.

    Example:
        >>> ensemble_path(["runs/tales-seed0", "runs/tales-seed1"]).as_posix()
        'runs/tales-ensemble.safetensors'
    """
    first = Path(names[0])
    if first.name == "model.safetensors":
        first = first.absolute().parent
    stem = re.sub(r"(-seed\d+|\.safetensors)$", "", first.name) or "model"
    return first.with_name(f"{stem}-ensemble.safetensors")


def member_lines(combined: Model) -> list[str]:
    """One line per member: its network, seed and held-out loss."""
    lines = []
    for number, one in enumerate(combined.card["members"], 1):
        bits = one["val_bits_per_char"]
        figure = "" if bits is None else f", {bits:.4f} bits/{combined.vocab.unit} on held-out text"
        seed = "" if one["seed"] is None else f", seed {one['seed']}"
        lines.append(f"member {number}: {one['network']}{seed}{figure}")
    return lines


def ensemble_object(combined: Model, path: Path) -> dict[str, Any]:
    """The ensemble as one JSON object."""
    from charloom.ensemblefile import EnsembleFile

    assert isinstance(combined.file, EnsembleFile)
    return {
        "model": str(path),
        "members": combined.card["members"],
        "num_params": combined.file.num_params,
        "vocab_size": len(combined.vocab),
    }


app = verb(
    computes=True,
    usage="ensemble MODEL MODEL... [--out FILE]",
    examples="""
        charloom ensemble runs/tales runs/tales/model.safetensors --out both.safetensors
        charloom ensemble runs/tales runs/tales --json
    """,
)(ensemble)
