"""HTML pages about texts and models: the tour and the inspection."""

from charloom.report.inspection import inspection_page, pictures
from charloom.report.tour import tour_page

__all__ = ["inspection_page", "pictures", "tour_page"]
