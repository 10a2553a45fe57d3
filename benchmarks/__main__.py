"""Run a benchmark by its name, or list them."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "blowup": "how system A blows up: five trainings without clipping and five with, and a microscope",
    "blowup_causes": "why it does: curvature by epoch, and one change at a time (after blowup)",
    "training": "training speed beside plain PyTorch and the matrix peak, and how long until a small GPT's loss",
    "gpu": "a GPU: training speed beside cuDNN, time until 1.4697, and what the recipes learn there",
    "generation": "writing speed of the fused engine beside plain PyTorch and beside the bandwidth of the caches",
    "limits": "what recurrent networks cannot do: a measurement for each point of system E's closing list",
    "mutations": "which test turns red for every flipped sign and dropped term of the scratch engine",
    "published": "how long the published forms of the five systems train here",
    "table": "four cells, plain and residual, at equal parameters and time, on four texts (hours; goes on where it was)",
    "seeds": "other seeds of the two published systems that take minutes each",
    "quality": "what a recipe learns, seed by seed (--recipe flash, best or record)",
    "verdicts": "whether inspect tells four faults apart on real texts, and is silent on ten healthy networks",
    "signals": "what recording every parameter's signals costs a training",
    "scratch": "training speed of NumPy and of the online trainer beside systems D and E as published",
}


def main(arguments: list[str]) -> int:
    """Run the benchmarks named; without a name, list them. An unknown name exits with 2. Options go to the one benchmark named."""
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    arguments, options = arguments[:first_option], arguments[first_option:]
    unknown = [name for name in arguments if name not in NAMES]
    if unknown or not arguments or (options and len(arguments) > 1):
        print("\n".join(f"{name:14} {about}" for name, about in NAMES.items()))
        return 2 if unknown else 0
    for name in arguments:
        run = importlib.import_module(f"benchmarks.{name}").main
        run(options) if options else run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
