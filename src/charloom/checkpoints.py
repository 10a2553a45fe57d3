"""Checkpoints: everything needed to continue a training, in a folder that keeps the newest two.

    step-000001000.safetensors    tensors by name; step, scalars and a digest in its metadata

A file is replaced atomically, and read only if its digest matches: with one flipped bit, a resume would not be exact.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.errors import ModelFileError
from charloom.files import json_text
from charloom.modelfile import damaged, load_tensors, read_header, write_tensors
from charloom.schema import json_value

if TYPE_CHECKING:
    from numpy import ndarray as Array

KEEP_CHECKPOINTS = 2
_NAME = "step-{:09d}.safetensors"
_ANY_NAME = re.compile(r"step-(\d{9})\.safetensors")
_FORMAT = "charloom-checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to continue a run.

    Attributes:
        step: updates taken.
        tensors: ``param.*``, ``moment.*``, ``average.*`` and ``state.{layer}.{key}``.
        scalars: the state of the training loop as plain JSON.
    """

    step: int
    tensors: Mapping[str, Array]
    scalars: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then remove all but the newest `KEEP_CHECKPOINTS`."""
    metadata = {
        "format": _FORMAT,
        "step": str(checkpoint.step),
        "scalars": json_text(checkpoint.scalars, sort_keys=True),
    }
    metadata["digest"] = _digest(metadata, checkpoint.tensors)
    write_tensors(folder / _NAME.format(checkpoint.step), checkpoint.tensors, metadata)
    for old in checkpoint_paths(folder)[KEEP_CHECKPOINTS:]:
        old.unlink(missing_ok=True)


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoint files in a folder, newest first."""
    return sorted((path for path in folder.glob("*") if _ANY_NAME.fullmatch(path.name)), reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest intact checkpoint, and a sentence for each damaged one that was skipped."""
    notes: list[str] = []
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path), tuple(notes)
        except ModelFileError as error:
            notes.append(f"skipped a damaged checkpoint: {error.what} ({error.why})")
    return None, tuple(notes)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check one checkpoint file.

    Raises:
        ModelFileError: it is damaged or not a checkpoint.
    """
    _, metadata = read_header(path)
    if metadata.get("format") != _FORMAT:
        raise damaged(path, "its header does not name the checkpoint format")
    tensors = load_tensors(path)
    if metadata.get("digest") != _digest(metadata, tensors):
        raise damaged(path, "its content does not match its digest")
    try:
        step, scalars = int(metadata["step"]), json_value(metadata["scalars"], finite=False)
    except (KeyError, ValueError) as error:
        raise damaged(path, "its step or scalars are missing") from error
    return Checkpoint(step, tensors, scalars)


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """SHA-256 of metadata, names, shapes and bytes."""
    content = hashlib.sha256(repr(sorted(i for i in metadata.items() if i[0] != "digest")).encode())
    for name, tensor in sorted(tensors.items()):
        content.update(repr((name, tensor.dtype.str, tensor.shape)).encode())
        content.update(tensor.tobytes())
    return content.hexdigest()
