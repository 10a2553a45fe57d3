"""Models in other forms: one page that writes offline."""

from charloom.export.html import PagePrecision, page_of

__all__ = ["PagePrecision", "page_of"]
