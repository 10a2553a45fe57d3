"""Branch a run: go on from its newest checkpoint in a new folder, with some settings changed.

The parent stays as it is. The branch has a copy of its checkpoint, its best model and its events up to that step, and its
``config.json`` and model card name the parent, the step, and every setting that changed with its value before.

    runs/tales ── step 400 ──▶ runs/tales-step400      branched_from: {path, step, changed}

Only settings that a checkpoint does not depend on can change: the weights, the optimiser's moments and the recurrent
state of every lane have to fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from charloom.checkpoints import Checkpoint
from charloom.config import (
    ModelConfig,
    TrainConfig,
    setting_names,
    to_dict,
    unknown_key,
    with_settings,
    without_effect,
)
from charloom.engines import load_engine
from charloom.errors import ConfigError, RunError
from charloom.files import copy_file
from charloom.jobs import TrainingJob, resume_job
from charloom.run_corpus import Source
from charloom.runs import Run, no_checkpoint
from charloom.training import extend

CHANGEABLE = frozenset(
    [
        "learning_rate",
        "schedule",
        "warmup",
        "final_lr_fraction",
        "decay_fraction",
        "beta1",
        "beta2",
        "momentum",
        "epsilon",
        "weight_decay",
        "clip_norm",
        "clip_value",
        "patience",
        "validate_every",
        "sample_every",
        "watch",
        "threads",
        "state_reset_probability",
        "dropout_char",
        "dropout_input",
        "dropout_layer",
        "dropout_branch",
        "dropout_recurrent",
        "dropout_output",
    ]
)
"""Settings that a branch may change."""


class Branch(NamedTuple):
    """Where a run branches off, and what changes: name → (value in the parent, value in the branch)."""

    parent: Run
    checkpoint: Checkpoint
    changed: Mapping[str, tuple[Any, Any]]

    @property
    def about(self) -> str:
        """The branch in a sentence."""
        changes = ", ".join(
            f"{name} {_shown(old)} → {_shown(new)}" for name, (old, new) in self.changed.items()
        )
        return f"branched from {self.parent.path} at step {self.checkpoint.step:,}: {changes or 'nothing changed'}"

    def to_json(self) -> dict[str, Any]:
        """What ``config.json`` and the model card record."""
        changed = {name: {"before": old, "now": new} for name, (old, new) in self.changed.items()}
        return {"path": str(self.parent.path.absolute()), "step": self.checkpoint.step, "changed": changed}


def branch_job(
    path: Source,
    *,
    out: Source | None = None,
    more_steps: int | None = None,
    text: Sequence[Source] | None = None,
    log: str | None = None,
    **settings: Any,
) -> TrainingJob:
    """Set up a training that goes on from a run's newest checkpoint in a folder of its own.

    Args:
        path: the run to branch off.
        out: the new folder; None = the run's name with the step, beside it.
        more_steps: steps beyond the end of the run, as in `resume_job`.
        text: where the corpus is now, if it moved.
        log: tensorboard, or None.
        **settings: those to change, of `CHANGEABLE`.

    Raises:
        ConfigError: a setting is unknown, cannot change, or is not allowed.
        RunError: the run has no checkpoint or nothing left to train, its corpus cannot be read, or `out` has a run.
    """
    check_changeable(Path(path), settings)
    parent = Run.open(Path(path))
    checkpoint, notes = parent.newest_checkpoint()
    if checkpoint is None:
        raise no_checkpoint(parent, notes)
    if more_steps is None and parent.is_finished:
        what, why = f"{parent.path} is finished", "a branch of it would have no step left to take"
        raise RunError(what, why=why, fix="say how far to go on: --steps +500, for example")
    job = resume_job(parent.path, text=text, log=log)
    before = {**to_dict(job.resolved.model_config), **to_dict(job.resolved.train_config)}
    of_model = {name: value for name, value in settings.items() if setting_names()[name] is ModelConfig}
    of_training = {name: value for name, value in settings.items() if name not in of_model}
    model = with_settings(job.resolved.model_config, of_model)
    training = with_settings(job.resolved.train_config, of_training)
    if more_steps is not None:
        training = extend(training, more_steps, checkpoint.step)
    load_engine(training.engine).check(model, training)
    now = {**to_dict(model), **to_dict(training)}
    branch = Branch(
        parent,
        checkpoint,
        {name: (before[name], now[name]) for name in settings if before[name] != now[name]},
    )
    run = _new_folder(branch, out, model, training)
    idle = without_effect(settings, job.corpus.config, model, training)
    resolved = replace(
        job.resolved, model_config=model, train_config=training, reason=branch.about, notes=(*notes, *idle)
    )
    return replace(job, run=run, resolved=resolved)


def check_changeable(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that do not exist, or that the checkpoint depends on.

    Raises:
        ConfigError: one of them.
    """
    for name in settings:
        if name not in setting_names():
            raise unknown_key(name, setting_names(), "the call")
        if name not in CHANGEABLE:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{name} cannot change when a run is continued",
                why="the checkpoint, its budget or its text depends on it",
                fix=f"add steps with --steps +500; or start anew from the weights: charloom train TEXT --init-from "
                f"{path} {flag} {_shown(settings[name])}",
            )


def _new_folder(branch: Branch, out: Source | None, model: ModelConfig, training: TrainConfig) -> Run:
    """The folder of a branch, with all that a resume needs; the checkpoint comes last."""
    parent, step = branch.parent, branch.checkpoint.step
    kept = {
        key: value for key, value in parent.complete_config().items() if key not in ("results", "as_taken")
    }
    config = kept | {"model": to_dict(model), "train": to_dict(training), "branched_from": branch.to_json()}
    run = Run.create(Path(out) if out is not None else _beside(parent, step), config)
    with run.removed_if_unused():
        for event in parent.events():
            if event.get("step", 0) <= step and event.get("event") != "finished":
                run.append(event)
        for name in ("corpus_path", "model_path", "teacher_path", "written_path"):
            if (old := getattr(parent, name)).exists():
                copy_file(old, getattr(run, name))
        run.write_checkpoint(branch.checkpoint)
    return run


def _beside(parent: Run, step: int) -> Path:
    """An unused folder beside the parent, named after it and the step."""
    names = (f"{parent.path.name}-step{step}{f'-{n}' if n > 1 else ''}" for n in range(1, 10_000))
    return next(path for path in map(parent.path.with_name, names) if not path.exists())


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
