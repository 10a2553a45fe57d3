"""The template of every HTML page: self-contained, without scripts, and with a policy against fetching anything."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charloom.generation.escape import sign, visible

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1 dir="auto">{title}</h1>
{body}</main>
</body>
</html>
"""

_STYLE = """
:root { --page: #fdfcf9; --ink: #1d1d1f; --faint: #5f5d58; --rule: #dcd8cf; --prompt: #0b5f73; }
@media (prefers-color-scheme: dark) {
  :root { --page: #17181a; --ink: #e9e7e2; --faint: #a3a09a; --rule: #3a3b3e; --prompt: #7fd0e4; }
}
@media print {
  :root { --page: #fff; --ink: #000; --faint: #444; --rule: #bbb; --prompt: #000; }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 1.05rem/1.7 system-ui, sans-serif; }
main { max-width: 42rem; margin: 0 auto; padding: 2rem 1.25rem; }
h1 { font-size: 1.5rem; line-height: 1.3; overflow-wrap: anywhere; }
a { color: var(--prompt); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; text-align: start; }
"""


def html_page(*, title: str, style: str, body: str) -> str:
    """Fill the template.

    Args:
        title: heading; plain text.
        style: CSS rules in addition to those of every page.
        body: markup, already escaped.

    Example:
        >>> "<title>R &amp; D</title>" in html_page(title="R & D", style="", body="")
        True
    """
    return _PAGE.format(title=escape(title), style=_STYLE + style, body=body)


def paragraphs(sentences: Sequence[str]) -> str:
    """One paragraph per sentence of plain text."""
    return "".join(f"<p>{escape(visible(sentence))}</p>\n" for sentence in sentences)


def char_markup(char: str) -> str:
    """A single character as a visible sign, isolated from the direction of its surroundings."""
    return f'<bdi lang="">{escape(sign(char))}</bdi>'


def json_download(numbers: Mapping[str, Any], *, name: str, packed: bool = False) -> str:
    """A link that downloads numbers as a JSON file, embedded in the page as base64 so that no text is read as markup.

    Args:
        numbers: the content; neither infinite nor NaN.
        name: of the file.
        packed: whether to compress it with gzip, for many numbers.

    Example:
        >>> json_download({"bits": 2.5}, name="s.json")
        '<p><a class="download" download="s.json" href="data:application/json;base64,eyJiaXRzIjogMi41fQ==">all numbers on this page as JSON</a></p>\\n'
    """
    data, kind, says = json.dumps(numbers, allow_nan=False, ensure_ascii=True).encode(), "json", "JSON"
    if packed:
        data, kind, says = gzip.compress(data, mtime=0), "gzip", "JSON, compressed with gzip"
    href = f"data:application/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<p><a class="download" download="{escape(name)}" href="{href}">all numbers on this page as {says}</a></p>\n'
