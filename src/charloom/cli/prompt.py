"""Read a prompt from the command line, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from charloom.cli.output import Show


def read_prompt(show: Show, prompt: str | None, prompt_file: str | None = None) -> str | None:
    """Return the prompt, without the final newline that a shell or an editor adds; None if none is given.

    Args:
        show: prints notes on how it was decoded.
        prompt: the text itself; ``-`` is standard input.
        prompt_file: the file that contains it.

    Raises:
        DataError: the file cannot be read.
    """
    from charloom.text import decode_bytes

    if prompt_file is not None:
        name, data = prompt_file, _read_bytes(prompt_file)
    elif prompt == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        return prompt
    if not data:
        return ""
    decoded = decode_bytes(data, encoding=None, source=name)
    show.notes(*decoded.notes)
    return decoded.text.removesuffix("\n").removesuffix("\r")


def _read_bytes(name: str) -> bytes:
    from charloom.errors import DataError

    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        what, why = f"cannot read {name}", getattr(error, "strerror", None) or str(error)
        fix = "name a file that contains the prompt, or pass the prompt itself with --prompt"
        raise DataError(what, why=why, fix=fix) from error
