"""``charloom corpus``: list the known corpora, or download one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from charloom.cli.failures import UsageError
from charloom.cli.flags import option, verb
from charloom.cli.output import Show


def corpus(
    show: Show,
    action: Annotated[Literal["list", "get"], option("list the known corpora, or download one")],
    name: Annotated[str | None, option("the corpus to download")] = None,
    /,
    *,
    folder: Annotated[
        Path | None, option("where to save it [default: charloom/corpora in your cache folder]")
    ] = None,
    url: Annotated[str | None, option("a mirror with the same file")] = None,
) -> None:
    """List or download corpora.

    A download is saved under its name only if its SHA-256 is correct.
    """
    from charloom.text import corpus_parts, get_corpus, list_corpora

    if action == "list":
        rows = list_corpora(folder=folder)
        for row in rows:
            show.line(f"{row['name']:<16} {row['chars']:>10,} characters  {row['what']} ({row['licence']})")
            show.line(f"{'':<16} {row['path'] or 'not downloaded: charloom corpus get ' + row['name']}")
        show.object({"corpora": rows})
        return
    if name is None:
        raise UsageError(
            "corpus get names no corpus", why="it downloads one", fix="see `charloom corpus list`"
        )
    path = get_corpus(name, folder=folder, url=url)
    show.line(str(path))
    parts = corpus_parts(path, name)
    for part in parts.values():
        show.line(str(part))
    sizes = {"path": str(path), "bytes": path.stat().st_size}
    show.object({"name": name, **sizes, "parts": {part: str(place) for part, place in parts.items()}})


app = verb(
    usage="corpus list|get [NAME] [options]",
    examples="""
        charloom corpus list
        charloom corpus get names --folder corpora
        charloom corpus list --json
    """,
)(corpus)
