"""The report after a training: results with their baselines, verdicts and the next commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charloom.cli.output import Show, quoted
from charloom.progress import clock


def print_report(
    show: Show, results: Mapping[str, Any], *, command: str | None = None, documents: bool = False
) -> None:
    """Print the report, with the command that follows its advice; for documents, suggest sampling several."""
    show.line(
        f"{results['steps']:,} steps in {clock(results['wall_time_s'])}, {results['chars_per_s']:,.0f} chars/s, "
        f"{results['num_params']:,} parameters; the model of step {results['best_step']:,} was kept"
    )
    show.line("\n".join(figures(results)))
    for line in verdict_lines(results):
        show.line(line)
    run = quoted(results["run"])
    show.line(f"run: {results['run']}")
    show.line("next:")
    show.line(f"  charloom sample {run} {'--count 20' if documents else '--length 300'} --temperature 0.7")
    if results["val_loss_nats"] is not None:
        show.line(f"  charloom eval {run} --protocol stream")
    if command is not None:
        show.line(f"  {command}")


def verdict_lines(results: Mapping[str, Any]) -> list[str]:
    """Format the verdict and its advice."""
    return [f"{one['kind']}: {one['says']}\n  advice: {one['advice']}" for one in results["verdicts"]]


def next_command(
    verdicts: Sequence[Mapping[str, Any]], run: str | Path, corpus: Mapping[str, Any]
) -> str | None:
    """Write the command that follows the advice of the first verdict; None if there is nothing to run.

    Args:
        verdicts: as in the results of a run.
        run: the run folder.
        corpus: the corpus as recorded in the run's ``config.json``.
    """
    verdict: Mapping[str, Any] = verdicts[0] if verdicts else {}
    if verdict.get("more_steps"):
        return f"charloom train --resume {quoted(run)} --steps +{verdict['more_steps']}"
    if not verdict.get("settings") and not verdict.get("text"):
        return None
    words = ["charloom train", *(quoted(source) for source in corpus["sources"] or ["TEXT"])]
    if verdict["text"] == "more":
        words.append("MORE-TEXT.txt")
    words += ["--recipe", quoted(run)]
    if verdict["text"] == "other":
        words += ["--val", "OTHER-TEXT.txt"]
    elif corpus["val"] is not None:
        words += ["--val", quoted(corpus["val"])]
    return " ".join([*words, *(_flag(name, value) for name, value in verdict["settings"].items())])


def _flag(name: str, value: object) -> str:
    return f"--{name.replace('_', '-')} {'none' if value is None else value}"


def figures(results: Mapping[str, Any]) -> list[str]:
    """Format the bits per character on held-out text of the model, of the n-gram and of xz."""
    unit = f"bits/{results['unit']}"
    if results["val_bits_per_char"] is None:
        return ["nothing was held out, so there is no loss on new text"]
    per_byte = results.get("val_bits_per_byte")
    in_bytes = f" = {per_byte:.3f} bits/byte" if per_byte is not None and results["unit"] == "char" else ""
    nats = f"{results['val_loss_nats']:.4f} nats/{results['unit']}{in_bytes}, {results['protocol']} protocol on held-out text"
    primed = "primed with the training part"
    rows = [
        ("this model", results["val_bits_per_char"], nats),
        (f"n-gram, order {results['ngram_order']}", results["ngram_bits_per_char"], primed),
        ("xz", results["xz_bits_per_char"], primed),
    ]
    late = [f"  {name:<18} not measured: the minutes were over" for name in missing_baselines(results)]
    return [f"  {name:<18} {bits:6.3f} {unit}   {how}" for name, bits, how in rows if bits is not None] + late


def missing_baselines(results: Mapping[str, Any]) -> list[str]:
    """The baselines that a run in minutes had no time for, although it held text out."""
    keys = {"n-gram": "ngram_bits_per_char", "xz": "xz_bits_per_char"}
    return [name for name, key in keys.items() if results[key] is None]
