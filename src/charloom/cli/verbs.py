"""The verbs: where each lives, and the line that the list of verbs shows for it.

A verb's module is imported when the verb is called, so that ``charloom --help`` reads this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import cyclopts

from charloom import __version__

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "train": "Train a model on your own text.",
        "sample": "Write text with a trained model.",
        "eval": "Score held-out text, by a stated protocol.",
        "score": "Tell how much each character of a text surprised a model.",
        "inspect": "Find out why a model learns, and why it forgets.",
        "explain": "Take a tour from a text or a model to a prediction, step by step.",
        "info": "Describe a model: settings, parameters, vocabulary, results.",
        "runs": "List the runs in a folder.",
        "compare": "Put runs side by side, as a table or a picture.",
        "recipes": "List the named recipes and the table behind the default one.",
        "reproduce": "Repeat a published system: its figures beside ours, and its mistakes.",
        "demo": "Train on the text that every Python carries, and show what was learnt.",
        "doctor": "Check this machine, and say how to fix what is amiss.",
        "prepare": "Encode a text once, into a file that training maps into memory.",
        "corpus": "List known corpora, or fetch one.",
    }
)

EPILOGUE = """examples:

    charloom train tales.txt --minutes 2
    charloom sample runs/tales --prompt 'Once upon' --temperature 0.7
    charloom VERB --help
"""


def build_app(called: str = "") -> cyclopts.App:
    """The application, with every verb known by name and none imported.

    Args:
        called: the verb that is about to be called; it brings its own, longer help.
    """
    app = cyclopts.App(
        name="charloom",
        help="Train, understand and share character-level recurrent language models on your own text.",
        usage="Usage: charloom VERB [options]",
        help_format="plaintext",
        help_epilogue=EPILOGUE,
        version=__version__,
    )
    app["--help"].group = app["--version"].group = cyclopts.Group("Options", sort_key=2)
    for order, (name, summary) in enumerate(VERBS.items()):
        app.command(
            f"charloom.cli.{name}:app",
            name=name,
            help=None if name == called else summary,
            sort_key=order,
            group=_VERBS,
        )
    return app


_VERBS = cyclopts.Group("Verbs", sort_key=1)
