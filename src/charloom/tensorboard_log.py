"""TensorBoard: the events of a training as event files in its run folder, beside the run's own record.

``tensorboard --logdir runs`` shows the curves of all runs, each under the name of its folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from importlib.util import find_spec
from typing import Any

from charloom.errors import missing_extra
from charloom.runs import Run
from charloom.training import Event, Finished, Progress, Sampled, Validation, Watched
from charloom.training.events import EpochEnd, UpdateStats


def check_tensorboard() -> None:
    """Raise `MissingExtraError` unless TensorBoard's files can be written."""
    for package, extra in (("torch", "train"), ("tensorboard", "tensorboard")):
        if find_spec(package) is None:
            raise missing_extra(package, extra, "--log tensorboard")


def logged(events: Generator[Event, None, None], run: Run) -> Generator[Event, None, None]:
    """Yield every event after writing its numbers and texts to the run folder; a resume replaces later steps."""
    from torch.utils.tensorboard import SummaryWriter

    writer = None
    try:
        for event in events:
            if writer is None:
                writer = SummaryWriter(run.path, purge_step=event.step + 1)
                writer.add_text("settings", _as_code(_settings(run)), event.step)
            _write(writer, event)
            yield event
    finally:
        events.close()  # the loop saves a checkpoint
        if writer is not None:
            writer.close()


def _write(writer: Any, event: Event) -> None:
    for tag, value in _scalars(event).items():
        if value is not None:
            writer.add_scalar(tag, value, event.step)
    if isinstance(event, Sampled):
        writer.add_text("sample", _as_code(event.text), event.step)
    elif isinstance(event, Finished) and event.verdicts:
        lines = [f"{verdict.kind}: {verdict.says}; advice: {verdict.advice}" for verdict in event.verdicts]
        writer.add_text("verdicts", "\n\n".join(lines), event.step)


def _scalars(event: Event) -> dict[str, float | None]:
    """The numbers of an event under TensorBoard's tags; losses are in nats."""
    if isinstance(event, Progress):
        return {
            "loss/train": sum(event.loss) / max(1, len(event.loss)),
            "grad_norm/mean": sum(event.grad_norm) / max(1, len(event.grad_norm)),
            "grad_norm/max": max(event.grad_norm, default=None),
            "training/learning_rate": event.learning_rate,
            "training/chars_per_s": event.chars_per_s,
        }
    if isinstance(event, Validation):
        return {"loss/validation": event.loss, "bits_per_char/validation": event.loss / math.log(2)}
    if isinstance(event, EpochEnd):
        return {"loss/epoch": event.loss}
    if isinstance(event, UpdateStats):
        ratios = {f"update_ratio/{name}": stats.update_ratio for name, stats in event.parameters.items()}
        norms = {f"parameter_grad_norm/{name}": stats.grad_norm for name, stats in event.parameters.items()}
        return {"training/clip_rate": event.clip_rate, **ratios, **norms}
    if isinstance(event, Watched):
        shares = event.numbers["saturation"]
        gates = {f"saturation/{gate.replace(' ', '_')}": share for gate, share in shares.items()}
        return {"memory/horizon_chars": event.numbers["memory_horizon_chars"], **gates}
    return _final_scalars(event) if isinstance(event, Finished) else {}


def _final_scalars(event: Finished) -> dict[str, float | None]:
    loss = event.val_loss_nats
    return {
        "loss/held_out": loss,
        "bits_per_char/held_out": None if loss is None else loss / math.log(2),
        "bits_per_char/ngram": event.ngram_bits_per_char,
        "bits_per_char/xz": event.xz_bits_per_char,
    }


def _settings(run: Run) -> str:
    config = run.config()
    return json.dumps(
        {part: config[part] for part in ("text", "model", "train")}, ensure_ascii=False, indent=1
    )


def _as_code(text: str) -> str:
    """Indent a text, so that TensorBoard, which reads Markdown, shows it as it stands."""
    return "\n".join(f"    {line}" for line in text.splitlines())
