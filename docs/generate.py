"""Write the generated reference pages: settings from their declarations, formats from their docstrings.

Run `python docs/generate.py` after a setting changes; a test fails while a page is out of date.
"""

from __future__ import annotations

import sys
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from charloom.config import ModelConfig, SampleConfig, TextConfig, TrainConfig

PAGES = Path(__file__).parent / "reference"
HEADER = "<!-- written by docs/generate.py: edit the declarations, not this page -->\n"


def settings_page() -> str:
    """Every setting: flag, type, default, bounds and meaning."""
    parts = [
        HEADER,
        "# Settings\n",
        "Every setting is a flag, a key of a recipe and a keyword of `charloom.train`.\n",
    ]
    for title, cls in (
        ("Text", TextConfig),
        ("Model", ModelConfig),
        ("Training", TrainConfig),
        ("Sampling", SampleConfig),
    ):
        parts += [f"## {title}\n", "| flag | values | default | meaning |", "|---|---|---|---|"]
        hints = typing.get_type_hints(cls)
        parts += [_row(spec, hints[spec.name]) for spec in fields(cls)]
        parts.append("")
    return "\n".join(parts)


def _row(spec: Any, hint: Any) -> str:
    flag = f"`--{spec.name.replace('_', '-')}`"
    default = "none" if spec.default is None else spec.default
    return f"| {flag} | {_values(hint, spec.metadata['bounds'])} | `{default}` | {spec.metadata['help']} |"


def _values(hint: Any, bounds: dict[str, float]) -> str:
    options = [o for o in (typing.get_args(hint) or (hint,)) if o is not type(None)]
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    signs = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
    limits = ", ".join(f"{signs[name]} {bound:,g}" for name, bound in bounds.items())
    return f"{options[0].__name__} {limits}".strip()


def pages() -> dict[Path, str]:
    """Every generated page with its content."""
    return {PAGES / "settings.md": settings_page()}


def main() -> None:
    """Write every page."""
    PAGES.mkdir(exist_ok=True)
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8", newline="\n")
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
