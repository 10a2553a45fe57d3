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
from charloom.pages import html_page

if TYPE_CHECKING:
    from charloom.generation.writer import Sample

_LEGEND = '<p class="legend"><span class="prompt">Underlined text</span> is the prompt; the model wrote the rest.</p>\n'

_STYLE = """
@media print { article { break-inside: avoid-page; } }
dl { display: flex; flex-wrap: wrap; gap: 0 1.5rem; color: var(--faint); font-size: 0.9rem; }
dl div { display: flex; gap: 0.4rem; }
dd { margin: 0; color: var(--ink); unicode-bidi: isolate; overflow-wrap: anywhere; }
article { border-top: 1px solid var(--rule); padding: 1rem 0; }
h2 { margin: 0 0 0.5rem; color: var(--faint); font-size: 0.85rem; font-weight: normal; }
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
    rows = "".join(
        f"<div><dt>{_shown(str(name))}</dt><dd>{_shown(str(value))}</dd></div>\n"
        for name, value in settings.items()
    )
    legend = _LEGEND if any(sample.prompt for sample in samples) else ""
    articles = "".join(_article(sample) for sample in samples)
    return html_page(title=visible(title), style=_STYLE, body=f"<dl>\n{rows}</dl>\n{legend}{articles}")


def _article(sample: Sample) -> str:
    prompt = f'<span class="prompt">{_shown(sample.prompt)}</span>' if sample.prompt else ""
    return (
        f"<article>\n<h2>sample {sample.index} · seed {sample.seed} · {_ENDINGS[sample.finish_reason]}</h2>\n"
        f'<div class="text" lang="" dir="auto">{prompt}{_shown(sample.text)}</div>\n</article>\n'
    )


def _shown(text: str) -> str:
    """Text as HTML: control characters visible, markup escaped, quotes included."""
    return escape(visible(text))
