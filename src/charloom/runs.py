"""The run folder: everything about one training.

    config.json         every setting, resolved; versions; threads; the corpus and its SHA-256
    events.jsonl        append-only; a resume writes {"resumed_from": step}, readers drop the events it supersedes
    checkpoints/        the newest two, with everything needed to resume
    model.safetensors   the best model by validation, self-describing
    teacher.safetensors the model that teaches this one, if there is one
    written.chars       the text that the teacher has written, if it does, as a prepared corpus
    corpus.chars        the text as a prepared corpus, if it is kept: by default one that cannot be read again
    lock                present while a process writes here

All files except `events.jsonl` are replaced atomically. An incomplete last line of `events.jsonl` is skipped; its events
are synced before each checkpoint.
"""

from __future__ import annotations

import codecs
import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charloom.checkpoints import Checkpoint, checkpoint_paths, newest_checkpoint, write_checkpoint
from charloom.errors import RunError
from charloom.files import (
    Lock,
    append_line,
    atomic_write,
    json_text,
    made_folder,
    sync_file,
    text_of_file,
)
from charloom.schema import MalformedError, Schema, json_value, unknown_note
from charloom.schema.documents import (
    EVENT_LINES,
    CompleteRunConfig,
    OtherLine,
    ResumedLine,
    RunConfig,
)
from charloom.summary import Summarised, Summary

SHARED = "charloom"
"""The ``model_type`` in the ``config.json`` of an exported folder."""

_ANOTHER_FOLDER = "train again in another folder"


def _damaged_run(what: str, why: str) -> RunError:
    return RunError(what, why=why, fix=f"restore the file from a copy, or {_ANOTHER_FOLDER}")


_CONFIG, _COMPLETE_CONFIG = Schema(RunConfig, _damaged_run), Schema(CompleteRunConfig, _damaged_run)
_RESUMED, _OTHER_EVENT = Schema(ResumedLine, _damaged_run), Schema(OtherLine, _damaged_run)
_EVENTS = {kind: Schema(line, _damaged_run) for kind, line in EVENT_LINES.items()}


class Run(Summarised):
    """A run folder; its attributes are the paths of the folder and of the files in it.

    Example:
        >>> Run(Path("runs/tales")).model_path.as_posix()
        'runs/tales/model.safetensors'
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.events_path = self.path / "events.jsonl"
        self.model_path = self.path / "model.safetensors"
        self.corpus_path = self.path / "corpus.chars"
        self.teacher_path = self.path / "teacher.safetensors"
        self.written_path = self.path / "written.chars"
        self.checkpoint_folder = self.path / "checkpoints"
        self.lock_path = self.path / "lock"
        self.made: tuple[Path, ...] = ()  # by `create`; innermost first

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> Run:
        """Create a run folder and write its configuration.

        Raises:
            RunError: the folder cannot be created, or already contains a run.
        """
        run = cls(path)
        run.refuse_existing()
        made = tuple(f for f in (run.checkpoint_folder, *run.checkpoint_folder.parents) if not f.exists())
        with made_folder(run.checkpoint_folder), run.lock():
            run.refuse_existing()  # another process may have been faster
            try:
                run.write_config(config)
            except BaseException:
                run.config_path.unlink(missing_ok=True)
                raise
        run.made = made
        return run

    def remove_if_unused(self) -> None:
        """Remove what `create` made, after a start that failed: a run without a checkpoint, a model or a step.

        What its teacher has written is kept, with the folder, for a resume: to write it again would take minutes.
        Folders that were there before stay, and so do folders with other files in them, and what another process has
        locked.
        """
        kept = (self.model_path, self.lock_path, self.written_path, *self.checkpoint_paths())
        if not self.made or any(path.exists() for path in kept) or _has_begun(self.events_path):
            return
        for path in (self.config_path, self.events_path, self.corpus_path, self.teacher_path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        for folder in self.made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def removed_if_unused(self) -> Iterator[None]:
        """Remove the folder if the block fails and leaves nothing in it: see `remove_if_unused`."""
        try:
            yield
        except BaseException:
            self.remove_if_unused()
            raise

    def refuse_existing(self) -> None:
        """Raise `RunError` if the folder already contains a run."""
        if self.config_path.exists():
            raise RunError(
                f"{self.path} already contains a run",
                why="a new training would overwrite it",
                fix=f"continue it with --resume {self.path}, or choose another --out",
            )

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open an existing run folder.

        Raises:
            RunError: it is not a run folder.
        """
        run = cls(path)
        if not run.config_path.is_file():
            known = ", ".join(str(r.path) for r in list_runs(run.path.parent)[:5])
            fix = f"name one of {known}" if known else f"train one first: charloom train TEXT --out {path}"
            raise RunError(f"{path} is not a run folder", why="it does not contain a config.json", fix=fix)
        if is_shared_folder(run.path):
            what, why = f"{path} is not a run folder", "it is a model exported for the Hugging Face Hub"
            raise RunError(what, why=why, fix=f"name {run.model_path}, or a run folder")
        return run

    def summary(self) -> Summary:
        """The folder, and what its configuration records."""
        try:
            config = self.config()
        except RunError as error:
            return Summary(f"Run {self.path}: {error.what}")
        model, corpus = config.get("model", {}), config.get("corpus", {})
        network = f"{model.get('num_layers')} x {model.get('cell')} of {model.get('hidden_size')}"
        text = f"{corpus.get('name')}, {corpus.get('num_chars') or 0:,} characters"
        result = results_line(config.get("results", {}), corpus.get("unit", "char")) or "not finished"
        return Summary(f"Run {self.path}: {network}", (("held out", result), ("corpus", text)))

    def lock(self) -> Lock:
        """The lock that a process must hold to write to this folder; who takes it sweeps what dead writers have left."""
        return Lock(self.lock_path, sweeps=(self.path, self.checkpoint_folder))

    def config(self) -> dict[str, Any]:
        """Read ``config.json``, as far as it is written.

        Raises:
            RunError: it is missing or damaged, or a value in it has the wrong type.
        """
        return self._checked_config(_CONFIG)

    def complete_config(self) -> dict[str, Any]:
        """Read ``config.json`` with everything that a training records at its start.

        Raises:
            RunError: as `config`, or something is missing.
        """
        return self._checked_config(_COMPLETE_CONFIG)

    def _checked_config(self, schema: Schema[Any]) -> dict[str, Any]:
        try:
            config = json_value(text_of_file(self.config_path), finite=False)
        except (OSError, ValueError) as error:
            why = str(error) if isinstance(error, MalformedError) else "it is missing or not UTF-8"
            raise RunError(f"cannot read {self.config_path}", why=why, fix=_ANOTHER_FOLDER) from error
        found: dict[str, Any] = schema.check(config, str(self.config_path))
        return found

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace ``config.json``."""
        text = json_text(config, indent=1, sort_keys=True)
        atomic_write(self.config_path, text + "\n")

    def append(self, event: Mapping[str, Any]) -> None:
        """Append one event as one line.

        Raises:
            RunError: the file cannot be written; training must not continue silently without its log.
        """
        append_line(self.events_path, json_text(event))

    def sync_events(self) -> None:
        """Make the events so far survive a power cut; raises `RunError` if the system reports that it cannot."""
        if self.events_path.exists():
            sync_file(self.events_path)

    def events(self) -> list[dict[str, Any]]:
        """Read the events, without incomplete lines and without events superseded by a resume.

        Raises:
            RunError: an event has a value of the wrong type.
        """
        kept: list[dict[str, Any]] = []
        for number, event in _numbered_events(self.events_path):
            _check_event(event, f"line {number} of {self.events_path}")
            if "resumed_from" in event:
                kept = [e for e in kept if e.get("step", 0) <= event["resumed_from"]]
            kept.append(event)
        return kept

    @property
    def is_finished(self) -> bool:
        """Whether the training reached its end and its results are recorded, also after the latest resume."""
        events = self.events()
        return bool(self.config().get("results")) and bool(events) and events[-1].get("event") == "finished"

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all but the newest two. The events before it survive whatever it survives."""
        self.sync_events()
        write_checkpoint(self.checkpoint_folder, checkpoint)

    def checkpoint_paths(self) -> list[Path]:
        """Checkpoint files, newest first."""
        return checkpoint_paths(self.checkpoint_folder)

    def newest_checkpoint(self) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest intact checkpoint, and a sentence for each damaged one that was skipped."""
        return newest_checkpoint(self.checkpoint_folder)


def model_file_of(path: Path) -> Path:
    """The model file of a run folder; any other path is one already.

    Raises:
        RunError: it is a folder, but not a run folder.
    """
    return Run.open(path).model_path if path.is_dir() else path


def newer_names(run: Run) -> tuple[str, ...]:
    """A note on the names in ``config.json`` that this version does not know; nothing if there are none."""
    config = run.config()
    written_by = str(config.get("versions", {}).get("charloom", ""))
    return unknown_note(str(run.config_path), _CONFIG.unknown(config), written_by)


def _has_begun(events_path: Path) -> bool:
    """Whether the events of a run tell of a step."""
    return any(event.get("step", 0) for _, event in _numbered_events(events_path))


def _numbered_events(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in ``events.jsonl`` with the number of their line."""
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    for number, line in enumerate(lines, 1):
        try:
            event = json_value(line, finite=False)
        except MalformedError:  # cut off by a crash, or empty after the last newline
            continue
        if isinstance(event, dict):
            yield number, event


def _check_event(event: Mapping[str, Any], source: str) -> None:
    """Check an event of a kind that this version knows."""
    kind = event.get("event")
    if "resumed_from" in event:
        _RESUMED.check(event, source)
    elif isinstance(kind, str) and kind in _EVENTS:
        _EVENTS[kind].check(event, source)
    else:
        _OTHER_EVENT.check(event, source)


def no_checkpoint(run: Run, notes: Sequence[str] = ()) -> RunError:
    """The error for a run that has a model but no intact checkpoint to continue from; `notes` say what was skipped."""
    return RunError(
        f"{run.path} has a model but no checkpoint to continue from",
        why="; ".join([*notes, "starting again at step 0 would overwrite the model"]),
        fix=f"start a new run with the same settings: charloom train TEXT --recipe {run.path} --out NEW-FOLDER",
    )


def results_line(results: Mapping[str, Any], unit: str) -> str:
    """The bits per unit (char or byte) on held-out text, of the model and the baselines; empty without them.

    Example:
        >>> results_line({"val_bits_per_char": 1.9, "ngram_bits_per_char": 2.04, "steps": 500, "best_step": 420}, "char")
        '1.900 bits/char, n-gram 2.040; step 420 of 500'
    """
    own, ngram, xz = (results.get(f"{name}_bits_per_char") for name in ("val", "ngram", "xz"))
    if own is None:
        return ""
    baselines = [f"{name} {bits:.3f}" for name, bits in (("n-gram", ngram), ("xz", xz)) if bits is not None]
    bits = ", ".join([f"{own:.3f} bits/{unit}", *baselines])
    return f"{bits}; step {results['best_step']:,} of {results['steps']:,}"


def is_shared_folder(folder: Path) -> bool:
    """Whether a folder is a model exported for the Hugging Face Hub, with a ``config.json`` of another kind."""
    try:
        return bool(
            json_value(text_of_file(folder / "config.json"), finite=False).get("model_type") == SHARED
        )
    except (OSError, ValueError, AttributeError):
        return False


def list_runs(folder: Path) -> list[Run]:
    """The runs directly inside a folder, sorted by name."""
    try:
        folders = [path for path in sorted(Path(folder).iterdir()) if (path / "config.json").is_file()]
        return [Run(path) for path in folders if not is_shared_folder(path)]
    except OSError:
        return []


def new_run_path(folder: Path, name: str) -> Path:
    """An unused folder for a new run, named after the corpus and the time, and numbered if that is taken."""
    stem = re.sub(r"[^\w.-]+", "-", name, flags=re.UNICODE).strip("-.") or "run"
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    paths = (Path(folder) / f"{stem}-{stamp}{f'-{n}' if n > 1 else ''}" for n in range(1, 10_000))
    return next(path for path in paths if not path.exists())
