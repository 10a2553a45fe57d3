"""The recorder writes events, checkpoints and the best model to the run folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from charloom.checkpoints import Checkpoint
from charloom.config import ModelConfig
from charloom.engines import Learner, State
from charloom.engines.checks import count_non_finite
from charloom.errors import DivergedError
from charloom.files import make_folder
from charloom.modelfile import ModelFile, damaged_value, write_model
from charloom.runs import Run, no_checkpoint
from charloom.schema import Schema, unknown_note
from charloom.schema.documents import LoopRecord
from charloom.text.corpus import Corpus
from charloom.training.events import Event, Finished, Saved, to_json
from charloom.training.ranks import named_state, unnamed_state
from charloom.training.state import LoopState
from charloom.training.verdict import diverged_verdict

CHECKPOINT_EVERY_S = 15.0

SLOW_S, SAVING_SHARE = 0.5, 0.05
"""Checkpoints that take longer than `SLOW_S` take this share of the time at most: replicas on a slow link send theirs."""


class RunRecorder:
    """Writes the run folder for the training loop; `card` has entries of the model file's card besides the results."""

    def __init__(
        self,
        run: Run,
        corpus: Corpus,
        model_config: ModelConfig,
        learner: Learner,
        *,
        card: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.corpus, self.model_config, self.learner = run, corpus, model_config, learner
        self.card, self.clock = dict(card), clock
        self.saved_at, self.saved_step, self.save_s = clock(), -1, 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is older than `CHECKPOINT_EVERY_S`, and than `SAVING_SHARE` asks for."""
        pause_s = self.save_s / SAVING_SHARE if self.save_s > SLOW_S else 0.0
        return self.clock() - self.saved_at > max(CHECKPOINT_EVERY_S, pause_s)

    def record(self, events: Sequence[Event]) -> Sequence[Event]:
        """Append events to ``events.jsonl`` and return them; the last of a training survives a power cut."""
        for event in events:
            self.run.append(to_json(event))
        if any(isinstance(event, Finished) for event in events):
            self.run.sync_events()
        return events

    def save(self, progress: LoopState, state: State) -> Saved:
        """Write a checkpoint with everything that an exact resume needs.

        Raises:
            DivergedError: a number in it is not finite, such as after the last update; the checkpoint before is kept.
        """
        began = self.clock()
        tensors = dict(self.learner.tensors())
        tensors |= named_state(self.learner.export_state(state))
        if bad := [name for name, count in count_non_finite(tensors).items() if count]:
            raise _not_finite(progress.step, bad[0])
        self.run.write_checkpoint(Checkpoint(progress.step, tensors, progress.to_json()))
        self.saved_at, self.saved_step = self.clock(), progress.step
        self.save_s = self.saved_at - began
        return Saved(progress.step, str(self.run.checkpoint_folder))

    def load(self) -> tuple[LoopState | None, State, tuple[str, ...]]:
        """Load the newest valid checkpoint into the learner.

        Returns the loop's state, None without a checkpoint; the recurrent state; notes on what was not found.

        Raises:
            RunError: there is no checkpoint but a model, which a new start would overwrite.
            ModelFileError: the checkpoint has a value of the wrong type.
        """
        checkpoint, notes = self.run.newest_checkpoint()
        if checkpoint is None:
            if self.run.model_path.exists():
                raise no_checkpoint(self.run, notes)
            make_folder(self.run.checkpoint_folder)  # a copy of a run may lack an empty folder
            return None, [], (*notes, "there is no checkpoint: the training starts again at step 0")
        schema = Schema(LoopRecord, damaged_value(self.run.checkpoint_folder))
        schema.check(checkpoint.scalars, f"the scalars of step {checkpoint.step}")
        newer = schema.unknown(checkpoint.scalars)
        notes += unknown_note(f"the checkpoint of step {checkpoint.step:,}", newer, "")
        parts = dict(checkpoint.tensors)
        named = {name: parts.pop(name) for name in list(parts) if name.startswith("state.")}
        state = unnamed_state(named, self.model_config.num_layers)
        self.learner.load_tensors(parts)
        progress = LoopState.from_json(checkpoint.scalars)
        self.saved_step = progress.step
        return progress, self.learner.import_state(state), notes

    def write_best(self, progress: LoopState) -> None:
        """Write the learner's model as the run's model file, unless a parameter is not finite."""
        parameters = self.learner.model().parameters()
        if not all(np.isfinite(p).all() for p in parameters.values()):
            return
        card = self.card | {"step": progress.step, "chars_seen": progress.chars_seen}
        file = ModelFile(parameters, self.model_config, self.corpus.config, self.corpus.vocab, card)
        write_model(self.run.model_path, file)

    def record_divergence(self, error: DivergedError, progress: LoopState) -> None:
        """Record the divergence; a run without a model file gets the current model if it is finite."""
        event: dict[str, Any] = {"event": "diverged", "step": progress.step, "what": error.what}
        event["non_finite"] = dict(error.non_finite)
        event["verdict"] = dataclasses.asdict(diverged_verdict(progress.step))
        self.run.append(event)
        if not self.run.model_path.exists():
            self.write_best(progress)


def _not_finite(step: int, name: str) -> DivergedError:
    """The error for a number of a checkpoint, by the name of its tensor there."""
    kind, _, rest = name.partition(".")
    what = {"param": "the parameter", "average": "the average of", "moment": "the optimiser's moment of"}
    return DivergedError(
        f"step {step}: {what.get(kind, 'the state')} {rest} is not finite",
        why="training cannot continue from it",
        fix="lower --learning-rate, or set --clip-norm 1; earlier checkpoints are kept",
    )
