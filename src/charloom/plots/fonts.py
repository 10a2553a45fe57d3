"""Fonts for characters that matplotlib's own does not have: an installed one that does, else their code points."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

_PLACEHOLDERS = ("Last Resort", "LastResort", ".LastResort", "Adobe Blank", "Adobe NotDef")
"""Fonts that have a box, or nothing, for every character; matplotlib comes with the first."""

_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "KANGXI")


def use_installed_fonts(figure: Figure) -> tuple[str, ...]:
    """Give every text of a figure fonts for all its characters; code points replace those that no font has.

    Returns:
        A note on the characters that no installed font has, and what to install; empty if there are none.
    """
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.draw_without_rendering()  # creates the labels of ticks
    missing: set[str] = set()
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families, absent = _fonts_for(frozenset(text.get_text()))
        if families:
            text.set_fontfamily(["DejaVu Sans", *families])
        if absent:
            missing |= absent
            text.set_text(_with_code_points(text.get_text(), absent))
    if not missing:
        return ()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            _replace_in_tick_labels(axis, frozenset(missing))
    return (_note(sorted(missing)),)


def _replace_in_tick_labels(axis: Any, missing: frozenset[str]) -> None:
    """Tick labels come from a formatter, which writes them again at each drawing."""
    from matplotlib.ticker import FuncFormatter

    labels, formatter = axis.get_ticklabels(), axis.get_major_formatter()
    if any(missing.intersection(label.get_text()) for label in labels):
        axis.set_major_formatter(
            FuncFormatter(lambda value, position: _with_code_points(formatter(value, position), missing))
        )


def _with_code_points(text: str, missing: Iterable[str]) -> str:
    return text.translate({ord(char): f"U+{ord(char):04X}" for char in missing})


def _note(missing: Sequence[str]) -> str:
    name = unicodedata.name(missing[0], "")
    package = "fonts-noto-cjk" if name.startswith(_CJK) else "fonts-noto-core"
    some = ", ".join(f"U+{ord(char):04X}" for char in missing[:3]) + (", …" if len(missing) > 3 else "")
    number = (
        f"{len(missing)} characters of the pictures" if len(missing) > 1 else "a character of the pictures"
    )
    return (
        f"no installed font has {number}: code points stand for them ({some}); "
        f"install a font for them, such as the package {package} of Debian and Ubuntu"
    )


@lru_cache(maxsize=4096)
def _fonts_for(chars: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The families, besides matplotlib's own, that together have these characters; the characters that none has."""
    wanted = {char for char in chars if not char.isspace() and not _has(_own_font(), char)}
    families: list[str] = []
    for family, font in _installed() if wanted else ():
        had = {char for char in wanted if _has(font, char)}
        if had:
            families.append(family)
            wanted -= had
        if not wanted:
            break
    return tuple(families), frozenset(wanted)


def _has(font: FT2Font, char: str) -> bool:
    return bool(font.get_char_index(ord(char)))


@lru_cache(maxsize=1)
def _own_font() -> FT2Font:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return FT2Font(findfont("DejaVu Sans"))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, FT2Font], ...]:
    """One upright font of normal weight per installed family: Noto's sans-serif ones first."""
    from matplotlib.font_manager import fontManager

    entries = [
        entry
        for entry in fontManager.ttflist
        if entry.style == "normal"
        and entry.weight in (400, "normal")
        and not entry.name.startswith(_PLACEHOLDERS)
    ]
    entries.sort(key=lambda entry: (not entry.name.startswith("Noto Sans"), entry.name))
    fonts = {entry.name: _opened(entry) for entry in reversed(entries)}
    return tuple((name, font) for name, font in reversed(fonts.items()) if font is not None)


def _opened(entry: Any) -> FT2Font | None:
    """The font of an entry; None if matplotlib cannot draw with it, as with bitmaps of emoji."""
    from matplotlib.ft2font import FT2Font

    face = getattr(entry, "index", 0)
    try:
        font = FT2Font(entry.fname, face_index=face) if face else FT2Font(entry.fname)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable else None
