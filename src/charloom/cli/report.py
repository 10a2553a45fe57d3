"""The end of a training, in words: figures beside their baselines, verdicts, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.cli.output import Show
from charloom.cli.signals import quoted


def print_report(show: Show, results: Mapping[str, Any], *, documents: bool = False) -> None:
    """Print how a training went; a model of documents is asked for several."""
    show.line(
        f"{results['steps']:,} steps in {clock(results['wall_time_s'])}, {results['chars_per_s']:,.0f} chars/s, "
        f"{results['num_params']:,} parameters; the model of step {results['best_step']:,} was kept"
    )
    for line in figures(results):
        show.line(line)
    for verdict in results["verdicts"]:
        show.line(f"{verdict['kind']}: {verdict['says']}")
        show.line(f"  advice: {verdict['advice']}")
    run = quoted(results["run"])
    show.line(f"run: {results['run']}")
    show.line("next:")
    show.line(f"  charloom sample {run} {'--count 20' if documents else '--length 300'} --temperature 0.7")
    if results["val_loss_nats"] is not None:
        show.line(f"  charloom eval {run} --protocol stream")
    show.line(f"  charloom train --resume {run} --steps +{max(100, results['steps'])}")


def figures(results: Mapping[str, Any]) -> list[str]:
    """The model's bits per character on held-out text, above those of the n-gram and of xz."""
    unit = f"bits/{results['unit']}"
    if results["val_bits_per_char"] is None:
        return ["nothing was held out, so there is no figure on new text"]
    nats = f"{results['val_loss_nats']:.4f} nats, {results['protocol']} protocol on held-out text"
    rows = [("this model", results["val_bits_per_char"], nats)]
    rows.append(
        (
            f"n-gram, order {results['ngram_order']}",
            results["ngram_bits_per_char"],
            "primed with the training part",
        )
    )
    rows.append(("xz", results["xz_bits_per_char"], "primed with the training part"))
    return [f"  {name:<18} {bits:6.3f} {unit}   {says}" for name, bits, says in rows if bits is not None]


def clock(seconds: float) -> str:
    """Seconds as a person reads them.

    Example:
        >>> clock(7.4), clock(75), clock(7300)
        ('7 s', '1:15 min', '2:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small = divmod(whole, 60) if whole < 3600 else divmod(whole // 60, 60)
    return f"{large}:{small:02d} {'min' if whole < 3600 else 'h'}"
