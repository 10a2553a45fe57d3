"""``charloom prepare``: encode a text once, for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from charloom.cli.failures import UsageError
from charloom.cli.flags import ValidationFile, option, path_option, verb
from charloom.cli.output import Show
from charloom.config import TextConfig
from charloom.errors import DataError


def prepare(
    show: Show,
    text: Annotated[str, path_option("a file, folder or glob; - reads standard input")],
    /,
    *more: Annotated[str, path_option("more files, folders or globs", name="TEXT")],
    out: Annotated[Path | None, option("file to write")] = None,
    check: Annotated[
        bool, option("compare a prepared file with its checksums, and its sources with them")
    ] = False,
    max_expansion: Annotated[
        int, option("bytes per compressed byte above which a compressed file of more than 1 GiB is refused")
    ] = 250,
    val: ValidationFile = None,
    test: Annotated[str | None, path_option("file set aside for testing")] = None,
    **settings: Any,
) -> None:
    """Prepare a text.

    This is for texts larger than memory: the text is read in pieces, and `charloom train FILE` maps the result into
    memory. The text settings are fixed in that file. If it is killed, the same command goes on where it was.
    """
    if check:
        _check(show, [text, *more], out)
        return
    if out is None:
        raise UsageError(
            "prepare requires --out FILE",
            why="it writes the ids to a file",
            fix="add --out, such as --out tales.ids",
        )
    from charloom.text import prepare as prepare_text

    facts = prepare_text(
        [text, *more],
        out,
        TextConfig(**settings),
        val=val,
        test=test,
        max_expansion=max_expansion,
        report=show.progress("preparing"),
    )
    if facts["resumed_bytes"]:
        show.note(f"went on after {facts['resumed_bytes'] / 1e6:,.0f} MB that were read before")
    show.notes(*facts.pop("notes", []))
    show.line(
        f"{out}: {facts['chars']:,} characters, vocabulary of {facts['vocab_size']:,}, "
        f"{facts['bytes_per_s'] / 1e6:.1f} MB/s"
    )
    show.object({"path": str(out), **facts})


def _check(show: Show, paths: list[str], out: Path | None) -> None:
    """Check one prepared file; fail if it is damaged or a source has changed."""
    if out is not None or len(paths) != 1:
        raise UsageError(
            "--check takes one prepared file and nothing else",
            why="it writes nothing",
            fix="charloom prepare FILE --check",
        )
    from charloom.text import check_prepared

    (path,) = paths
    found = check_prepared(path, show.progress("checking"))
    changed = [name for name, finding in found["sources"].items() if finding == "changed"]
    missing = [name for name, finding in found["sources"].items() if finding == "missing"]
    if missing:
        show.notes(f"no longer there: {', '.join(missing)}")
    if not found["chunks"]:
        show.notes(f"{path} has no checksums: it was prepared by an earlier version")
    if changed:
        raise DataError(
            f"{', '.join(changed)} changed after {path} was prepared",
            why="its bytes are no longer those that were read, and the ids are still those of the old text",
            fix="run charloom prepare again to use the new text",
        )
    unchanged = len(found["sources"]) - len(missing)
    show.line(f"{path}: {found['chunks']:,} checksums agree; sources unchanged: {unchanged:,}")
    show.object({"path": path, **found})


app = verb(
    TextConfig,
    usage="prepare TEXT... --out FILE [settings]",
    examples="""
        charloom prepare tales.txt --out tales.ids
        charloom prepare names.txt --documents line --out names.ids --json
    """,
)(prepare)
