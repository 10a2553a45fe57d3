"""The page at ``/``: which models there are, and how to call the interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from types import MappingProxyType

from charloom.serve.served_model import ServedModel

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>charloom</title>
<style>
  :root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
  body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
  pre {{ overflow-x: auto }}
</style>
<h1>charloom</h1>
<p>This server continues texts with these models:</p>
<ul>
{models}
</ul>
<p>It speaks the completions interface of OpenAI; a token is one character:</p>
<pre>curl {url}/v1/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{first}", "prompt": "", "max_tokens": 200, "stream": true}}'</pre>
<p><a href="/openapi.json">Every field</a> · <a href="/v1/models">models</a> · <a href="/metrics">counters</a> ·
<a href="/health">health</a></p>
</html>
"""


def front_page(models: Iterable[ServedModel], url: str) -> str:
    """The page as HTML.

    Args:
        models: what is served.
        url: the server's address as its client wrote it, without a path.
    """
    names = [escape(model.name) for model in models]
    items = "\n".join(f"  <li><code>{name}</code></li>" for name in names)
    return _PAGE.format(models=items, url=escape(url), first=names[0])
