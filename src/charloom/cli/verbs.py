"""The verbs and their one-line summaries.

A verb's module is imported only when the verb runs, so ``charloom --help`` needs nothing but this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import cyclopts

from charloom import __version__

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "train": "Train a model on your own text.",
        "sample": "Generate text with a trained model.",
        "eval": "Measure a model's loss on held-out text.",
        "score": "Show how surprising a model finds each character of a text.",
        "inspect": "Find out why a model learns, and why it forgets.",
        "explain": "Show step by step how a text becomes a prediction.",
        "info": "Describe a model: settings, parameters, vocabulary and results.",
        "export": "Share a model: a page that writes offline, ONNX, a folder for the Hub, a card.",
        "ensemble": "Combine models into one that predicts with the mean of their probabilities.",
        "serve": "Serve models over HTTP, to programs that speak OpenAI's interface.",
        "runs": "List the runs in a folder.",
        "compare": "Compare runs in a table or a plot.",
        "plan": "Say what a training would come to, before it starts.",
        "search": "Search for the best settings on a text, with any number of workers.",
        "recipes": "List the named recipes and the table of default settings.",
        "reproduce": "Reproduce a published system, compare the figures and list its mistakes.",
        "demo": "Train on a text included with Python and show a sample.",
        "doctor": "Check this machine and suggest fixes.",
        "prepare": "Encode a text once into a file that training maps into memory.",
        "corpus": "List the known corpora or download one.",
    }
)

EPILOGUE = """examples:

    charloom train tales.txt --minutes 2
    charloom sample runs/tales --prompt 'Once upon' --temperature 0.7
    charloom VERB --help
"""

_VERBS = cyclopts.Group("Verbs", sort_key=1)


def build_app(called: str = "") -> cyclopts.App:
    """Build the application, with every verb registered by name and none imported.

    Args:
        called: the verb about to run, whose own, longer help replaces its summary.
    """
    app = cyclopts.App(
        name="charloom",
        help="Train, understand and share character-level recurrent language models on your own text.",
        usage="Usage: charloom VERB [options]",
        help_format="plaintext",
        help_epilogue=EPILOGUE,
        version=__version__,
    )
    options = app["--help"].group = app["--version"].group = cyclopts.Group("Options", sort_key=2)
    app.command(
        "charloom.cli.completion:install_completion",
        name="--install-completion",
        help="Let your shell complete verbs, flags and files (bash, zsh, fish).",
        group=options,
    )
    for order, (name, summary) in enumerate(VERBS.items()):
        shown = None if name == called else summary
        app.command(f"charloom.cli.{name}:app", name=name, help=shown, sort_key=order, group=_VERBS)
    return app
