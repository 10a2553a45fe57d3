"""Run benchmarks by name, or list them."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "blowup": "how system A blows up: five trainings without clipping and five with, and one blow-up step by step",
    "blowup_causes": "why it blows up: curvature by epoch, and one change at a time (run blowup first)",
    "busy": "what other work on one core costs each verb, as a multiple of its idle wall time",
    "overhead": "what a training spends its time on: updates, start-up, validations, the final report",
    "training": "training speed against plain PyTorch and the matrix peak, and the time to reach a small GPT's loss",
    "gpu": "on a GPU: training speed against cuDNN, time to reach 1.4697, and the losses of the recipes",
    "generation": "sampling speed of the fused engine against plain PyTorch and the bandwidth of the caches",
    "wasm": "generation in WebAssembly under Node against the native library, one stream",
    "page": "an exported page in Chromium on one core: the speed that it shows, and its size",
    "serve": "the server: characters per second, time to the first one and memory for 1, 8 and 64 streams, and a burst",
    "attacks": "the server under attack: the p99 of honest clients as a multiple of its idle value, and memory",
    "limits": "limits of recurrent networks: a measurement for each point of system E's closing list",
    "commits": "speed of this tree against another commit of it, training and generation (--against REV)",
    "mutations": "the test that fails for each flipped sign and dropped term in the scratch engine",
    "published": "training times of the published forms of the five systems",
    "table": "four cells, plain and residual, at equal parameters and time, on four texts (hours; resumable)",
    "soak": "the reliability tests with another seed in every round, for an hour (--minutes 5): cases and losses by kind",
    "seeds": "more seeds of the two published systems that take minutes per seed",
    "makemore": "names by makemore's protocol: the default recipe beside makemore's transformer and GRU",
    "quality": "losses of a recipe, seed by seed (--recipe flash, best or record)",
    "verdicts": "whether the advice of verdicts helps when it is followed, and whether inspect distinguishes four faults",
    "signals": "the cost of recording every parameter's statistics during training",
    "scaling": "several machines: bytes a step, two hosts on three links against a simulator, 8 GPUs and 64 machines on paper",
    "corpora": "corpora of any size: speed and memory of prepare, and steps per second from 1 MB and 1 GB (--text enwik8)",
    "laws": "cost laws: speed, memory and seconds to a loss by sizes, and the law by which plan forecasts the loss",
    "forecasts": "whether what plan says holds on texts that its law was not fitted on",
    "scratch": "training speed of NumPy and of the online trainer against systems D and E as published",
}


def main(arguments: list[str]) -> int:
    """Run the named benchmarks or list all; options go to a single benchmark. An unknown name returns 2."""
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
