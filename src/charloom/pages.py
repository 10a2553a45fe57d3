"""The shell of every HTML page: self-contained, without script, and forbidden to fetch anything."""

from __future__ import annotations

from html import escape

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
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; text-align: start; }
"""


def html_page(*, title: str, style: str, body: str) -> str:
    """Put a body into the shell.

    Args:
        title: heading of the page; plain text.
        style: rules beside those of every page.
        body: markup, its texts escaped already.

    Example:
        >>> "<title>R &amp; D</title>" in html_page(title="R & D", style="", body="")
        True
    """
    return _PAGE.format(title=escape(title), style=_STYLE + style, body=body)
