"""The report after a training: results with their baselines, verdicts and the next commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.cli.interrupt import quoted
from charloom.cli.output import Show
from charloom.progress import clock


def print_report(show: Show, results: Mapping[str, Any], *, documents: bool = False) -> None:
    """Print the report; for a model of documents, suggest sampling several."""
    show.line(
        f"{results['steps']:,} steps in {clock(results['wall_time_s'])}, {results['chars_per_s']:,.0f} chars/s, "
        f"{results['num_params']:,} parameters; the model of step {results['best_step']:,} was kept"
    )
    show.line("\n".join(figures(results)))
    for verdict in results["verdicts"]:
        show.line(f"{verdict['kind']}: {verdict['says']}\n  advice: {verdict['advice']}")
    run = quoted(results["run"])
    show.line(f"run: {results['run']}")
    show.line("next:")
    show.line(f"  charloom sample {run} {'--count 20' if documents else '--length 300'} --temperature 0.7")
    if results["val_loss_nats"] is not None:
        show.line(f"  charloom eval {run} --protocol stream")
    show.line(f"  charloom train --resume {run} --steps +{max(100, results['steps'])}")


def figures(results: Mapping[str, Any]) -> list[str]:
    """Format the bits per character on held-out text of the model, of the n-gram and of xz."""
    unit = f"bits/{results['unit']}"
    if results["val_bits_per_char"] is None:
        return ["nothing was held out, so there is no loss on new text"]
    per_byte = results.get("val_bits_per_byte")
    in_bytes = f" = {per_byte:.3f} bits/byte" if per_byte is not None and results["unit"] == "char" else ""
    nats = f"{results['val_loss_nats']:.4f} nats{in_bytes}, {results['protocol']} protocol on held-out text"
    primed = "primed with the training part"
    rows = [
        ("this model", results["val_bits_per_char"], nats),
        (f"n-gram, order {results['ngram_order']}", results["ngram_bits_per_char"], primed),
        ("xz", results["xz_bits_per_char"], primed),
    ]
    return [f"  {name:<18} {bits:6.3f} {unit}   {how}" for name, bits, how in rows if bits is not None]
