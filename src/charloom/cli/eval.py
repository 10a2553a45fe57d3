"""``charloom eval``: measure the loss on held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.flags import Device, Engine, ModelPath, Precision, option, path_option, verb
from charloom.cli.output import Show
from charloom.config import DYNAMIC_SETTINGS, TrainConfig

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.evaluation.protocols import Score
    from charloom.text import Vocabulary


def eval_(
    show: Show,
    model: ModelPath,
    /,
    *text: Annotated[
        str, path_option("files to score; - reads standard input [default: the run's own held-out part]")
    ],
    protocol: Annotated[
        Literal["stream", "windows", "dynamic"],
        option("one pass with carried state, random windows, or training while scoring", show_default=True),
    ] = "stream",
    split: Annotated[
        Literal["validation", "test", "train"],
        option("the part to score if no text is named", show_default=True),
    ] = "validation",
    window: Annotated[int, option("characters per window (windows)", show_default=True)] = 256,
    num_windows: Annotated[int, option("number of windows (windows)", show_default=True)] = 200 * 64,
    seed: Annotated[int, option("seed of the choice of windows (windows)", show_default=True)] = 0,
    engine: Engine = "auto",
    device: Device = "cpu",
    precision: Precision = "float32",
    **settings: Any,
) -> None:
    """Evaluate a model.

    Results of different protocols cannot be compared. Characters unknown to the model are counted, and charged by the
    rule of `charloom score`. The training settings apply only to --protocol dynamic, which
    trains on each piece of text after scoring it, by default with a small learning rate.
    """
    from charloom import api
    from charloom.cli.failures import UsageError

    if settings and protocol != "dynamic":
        raise UsageError(
            f"--{next(iter(settings)).replace('_', '-')} with --protocol {protocol}",
            why="only --protocol dynamic trains while it scores",
            fix="leave it out, or add --protocol dynamic",
        )
    loaded = api.load(model, engine=engine, device=device, precision=precision)
    chosen: dict[str, Any] = (
        {"window": window, "num_windows": num_windows, "seed": seed} if protocol == "windows" else {}
    )
    score = loaded.evaluate(
        list(text) or None,
        protocol=protocol,
        split=split,
        on_note=show.notes,
        on_progress=show.progress("scoring"),
        **chosen,
        **settings,
    )
    what = "the given text" if text else f"the run's {split} part"
    _print(show, loaded, score, chosen, what, own_part=not text)
    show.object(_object(score, chosen, loaded.vocab.unit))


def _object(score: Score, chosen: dict[str, int], unit: str) -> dict[str, Any]:
    return {
        "protocol": score.protocol,
        **chosen,
        "chars": score.chars,
        "loss_nats": score.loss_nats,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "unknown_chars": score.unknown_chars,
        "unit": unit,
    }


def _unknown(score: Score, vocab: Vocabulary, *, own_part: bool) -> str:
    from charloom.cli.score import counted, unknown_sentence

    if not own_part:
        return unknown_sentence(score.unknown_chars, score.unknown_fraction, vocab)
    share = counted(score.unknown_chars, score.unknown_fraction)
    return f"{share} <unk>: charged its own probability only, as in training"


def _print(
    show: Show, loaded: Model, score: Score, chosen: dict[str, int], what: str, *, own_part: bool
) -> None:
    unit = loaded.vocab.unit
    if score.unknown_chars:
        show.line(_unknown(score, loaded.vocab, own_part=own_part))
    how = "".join(f", {name.replace('_', ' ')} {value:,}" for name, value in chosen.items())
    show.line(f"{score.protocol} protocol{how}, on {what}: {score.chars:,} predictions")
    show.line(f"  loss        {score.loss_nats:.4f} nats/{unit}")
    show.line(f"  bits/{unit}   {score.bits_per_char:.4f}")
    if unit == "char" and score.bits_per_byte is not None:
        per_char = f"{score.bytes_per_char:.3f} UTF-8 bytes per character, normalised"
        show.line(f"  bits/byte   {score.bits_per_byte:.4f}   ({per_char})")
    show.line(f"  perplexity  {score.perplexity:.3f} per {'character' if unit == 'char' else 'byte'}")


app = verb(
    TrainConfig,
    only=DYNAMIC_SETTINGS,
    computes=True,
    usage="eval MODEL [TEXT...] [--protocol stream|windows|dynamic] [options]",
    examples="""
        charloom eval runs/tales
        charloom eval runs/tales --protocol windows --window 64 --num-windows 50 --json
        charloom eval runs/tales more.txt --protocol dynamic --learning-rate 0.02
        cat more.txt | charloom eval runs/tales -
    """,
)(eval_)
