"""Samples as one HTML page, for scripts that a terminal cannot show.

The page holds everything it needs: no script, no font, no address. Its policy forbids the browser to fetch anything,
every text is escaped and its control characters are made visible first, so a hostile model can only look strange.
Each paragraph takes its direction from its own first letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from charloom.generation.visible import visible

if TYPE_CHECKING:
    from charloom.generation.writer import Sample

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
<dl>
{settings}</dl>
{legend}{samples}</main>
</body>
</html>
"""

_LEGEND = '<p class="legend"><span class="prompt">Underlined text</span> is the prompt; the model wrote the rest.</p>\n'

_STYLE = """
:root { --page: #fdfcf9; --ink: #1d1d1f; --faint: #5f5d58; --rule: #dcd8cf; --prompt: #0b5f73; }
@media (prefers-color-scheme: dark) {
  :root { --page: #17181a; --ink: #e9e7e2; --faint: #a3a09a; --rule: #3a3b3e; --prompt: #7fd0e4; }
}
@media print {
  :root { --page: #fff; --ink: #000; --faint: #444; --rule: #bbb; --prompt: #000; }
  article { break-inside: avoid-page; }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 1.05rem/1.7 system-ui, sans-serif; }
main { max-width: 42rem; margin: 0 auto; padding: 2rem 1.25rem; }
h1 { font-size: 1.5rem; line-height: 1.3; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: 0 1.5rem; color: var(--faint); font-size: 0.9rem; }
dl div { display: flex; gap: 0.4rem; }
dd { margin: 0; color: var(--ink); unicode-bidi: isolate; overflow-wrap: anywhere; }
article { border-top: 1px solid var(--rule); padding: 1rem 0; }
h2 { margin: 0 0 0.5rem; color: var(--faint); font-size: 0.85rem; font-weight: normal; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; text-align: start; }
.prompt { color: var(--prompt); text-decoration: underline dotted; text-underline-offset: 0.25em; }
.legend { color: var(--faint); font-size: 0.85rem; }
"""

_ENDINGS = {
    "length": "as long as asked",
    "stop": "ended at a stop string",
    "boundary": "ended by the model",
    "interrupted": "interrupted",
}


def samples_page(samples: Sequence[Sample], *, title: str, settings: Mapping[str, object]) -> str:
    """Draw samples as one self-contained HTML page.

    Args:
        samples: what was written, in the order to show.
        title: heading of the page.
        settings: names and values shown below the heading, such as model, temperature and top_p.

    Returns:
        The page; write it as UTF-8. It has no script, fetches nothing, and no text of a model is read as markup.

    Example:
        >>> page = samples_page([], title="R & D", settings={"temperature": 0.7})
        >>> "<title>R &amp; D</title>" in page, "<dt>temperature</dt><dd>0.7</dd>" in page
        (True, True)
    """
    return _PAGE.format(
        title=_shown(title),
        style=_STYLE,
        settings="".join(
            f"<div><dt>{_shown(str(name))}</dt><dd>{_shown(str(value))}</dd></div>\n"
            for name, value in settings.items()
        ),
        legend=_LEGEND if any(sample.prompt for sample in samples) else "",
        samples="".join(_article(sample) for sample in samples),
    )


def _article(sample: Sample) -> str:
    prompt = f'<span class="prompt">{_shown(sample.prompt)}</span>' if sample.prompt else ""
    return (
        f"<article>\n<h2>sample {sample.index} · seed {sample.seed} · {_ENDINGS[sample.finish_reason]}</h2>\n"
        f'<div class="text" lang="" dir="auto">{prompt}{_shown(sample.text)}</div>\n</article>\n'
    )


def _shown(text: str) -> str:
    """Text as HTML: control characters visible, markup escaped, quotes included."""
    return escape(visible(text))
