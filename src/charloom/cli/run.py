"""From a command line to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from charloom.cli.failures import DONE, fail
from charloom.cli.flags import STDIN
from charloom.cli.output import prepare_streams
from charloom.cli.verbs import build_app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: its words without the program's name; None takes the process's.

    Returns:
        The exit code: 0 done, 1 failed as explained, 2 wrong usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def _run(words: list[str]) -> int:
    try:
        return _dispatch(words)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        return fail(error, words)


def _dispatch(words: list[str]) -> int:
    """Read the words and call the verb. The word ``-`` travels under another name, for cyclopts takes it for an option."""
    hidden = [STDIN if word == "-" else word for word in words]
    command, bound, _ = build_app(words[0] if words else "").parse_args(
        hidden, exit_on_error=False, print_error=False
    )
    args = [_restored(value) for value in bound.args]
    keywords = {name: _restored(value) for name, value in bound.kwargs.items()}
    code = command(*args, **keywords)
    return code if isinstance(code, int) else DONE


def _restored(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value)(_restored(inner) for inner in value)
    return "-" if value == STDIN else value
