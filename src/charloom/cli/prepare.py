"""``charloom prepare``: encode a text once, for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from charloom.cli.flags import ValidationFile, option, path_option, verb
from charloom.cli.output import Show
from charloom.config import TextConfig


def prepare(
    show: Show,
    text: Annotated[str, path_option("a file, folder or glob; - reads standard input")],
    /,
    *more: Annotated[str, path_option("more files, folders or globs", name="TEXT")],
    out: Annotated[Path, option("file to write")],
    val: ValidationFile = None,
    test: Annotated[str | None, path_option("file set aside for testing")] = None,
    **settings: Any,
) -> None:
    """Prepare a text.

    This is for texts larger than memory: the text is read in pieces, and `charloom train FILE` maps the result into
    memory. The text settings are fixed in that file.
    """
    from charloom.text import prepare as prepare_text

    facts = prepare_text([text, *more], out, TextConfig(**settings), val=val, test=test)
    show.notes(*facts.pop("notes", []))
    show.line(
        f"{out}: {facts['chars']:,} characters, vocabulary of {facts['vocab_size']:,}, "
        f"{facts['bytes_per_s'] / 1e6:.1f} MB/s"
    )
    show.object({"path": str(out), **facts})


app = verb(
    TextConfig,
    usage="prepare TEXT... --out FILE [settings]",
    examples="""
        charloom prepare tales.txt --out tales.ids
        charloom prepare names.txt --documents line --out names.ids --json
    """,
)(prepare)
