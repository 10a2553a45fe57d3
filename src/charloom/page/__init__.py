"""The page that writes text in a browser: with a model inside (`charloom export --html`), or fed by a server.

    parts/page.html, page.css, page.js      what the reader sees and does, the same for both
    parts/offline.js, network.js, writer.js the model inside: unpacked, laid out, and run in a worker
    parts/online.js                         a model on a server that speaks the completions interface

A page has a policy that lets it fetch nothing, or only from its own server, and its script writes text, never markup.
"""

from charloom.page.offline import PagePrecision, check_page, page_of
from charloom.page.playground import PlaygroundModel, playground_of
from charloom.page.template import PageText, facts_of

__all__ = [
    "PagePrecision",
    "PageText",
    "PlaygroundModel",
    "check_page",
    "facts_of",
    "page_of",
    "playground_of",
]
