"""``charloom eval``: score held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from charloom.cli.flags import option, verb
from charloom.cli.output import Show
from charloom.config import TrainConfig

if TYPE_CHECKING:
    from charloom.api import Model
    from charloom.evaluation.protocols import Score


def eval_(
    show: Show,
    model: Annotated[str, option("a run folder or a model file")],
    /,
    *text: Annotated[
        str, option("files to score; - is standard input; none takes the run's own held-out part")
    ],
    protocol: Annotated[
        Literal["stream", "windows", "dynamic"],
        option("one pass with carried state, random windows, or learning while scoring", show_default=True),
    ] = "stream",
    split: Annotated[
        Literal["validation", "test", "train"],
        option("the part to score where no text is named", show_default=True),
    ] = "validation",
    window: Annotated[int, option("characters of a window (windows)", show_default=True)] = 256,
    num_windows: Annotated[int, option("how many windows (windows)", show_default=True)] = 200 * 64,
    seed: Annotated[int, option("chooses the windows (windows)", show_default=True)] = 0,
    engine: Annotated[str, option("who computes: auto, torch, scratch or fused", show_default=True)] = "auto",
    device: Annotated[str, option("auto, cpu, cuda, cuda:N or mps", show_default=True)] = "cpu",
    precision: Annotated[Literal["float32", "float64"], option("arithmetic", show_default=True)] = "float32",
    **settings: Any,
) -> None:
    """Score.

    Figures of different protocols are different measurements: never put them in one column. The settings of training are
    for --protocol dynamic, which learns from each
    piece after it has scored it, gently where they say nothing.
    """
    from charloom import api
    from charloom.cli.failures import UsageError

    if settings and protocol != "dynamic":
        raise UsageError(
            f"--{next(iter(settings)).replace('_', '-')} with --protocol {protocol}",
            why="only --protocol dynamic learns",
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
        on_note=lambda note: show.note(f"note: {note}"),
        **chosen,
        **settings,
    )
    unit = loaded.vocab.unit
    _print(show, loaded, score, chosen, "the named text" if text else f"the run's {split} part")
    show.object(
        {
            "protocol": score.protocol,
            **chosen,
            "chars": score.chars,
            "loss_nats": score.loss_nats,
            "bits_per_char": score.bits_per_char,
            "perplexity": score.perplexity,
            "unknown_chars": score.unknown_chars,
            "unit": unit,
        }
    )


def _print(show: Show, loaded: Model, score: Score, chosen: dict[str, int], what: str) -> None:
    unit = loaded.vocab.unit
    if score.unknown_chars:
        share = score.unknown_chars / max(1, score.chars + score.unknown_chars)
        left_out = loaded.vocab.unk_id is None
        treated = "left out of the figures below" if left_out else "charged as <unk> and a uniform choice"
        show.line(f"{score.unknown_chars:,} characters ({share:.2%}) are unknown to the model: {treated}")
    how = "".join(f", {name.replace('_', ' ')} {value:,}" for name, value in chosen.items())
    show.line(f"{score.protocol} protocol{how}, on {what}: {score.chars:,} predictions")
    show.line(f"  loss        {score.loss_nats:.4f} nats/{unit}")
    show.line(f"  bits/{unit}   {score.bits_per_char:.4f}")
    show.line(f"  perplexity  {score.perplexity:.3f}")


app = verb(
    TrainConfig,
    only=("optimizer", "learning_rate", "clip_norm", "bptt_length"),
    usage="eval MODEL [TEXT...] [--protocol stream|windows|dynamic] [options]",
    examples="""
        charloom eval runs/tales
        charloom eval runs/tales --protocol windows --window 64 --num-windows 50 --json
        charloom eval runs/tales more.txt --protocol dynamic --learning-rate 0.02
        cat more.txt | charloom eval runs/tales -
    """,
)(eval_)
