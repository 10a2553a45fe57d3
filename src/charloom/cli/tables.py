"""Format rows as a table: plain text, Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from charloom.generation.escape import visible

Rows = Sequence[Mapping[str, Any]]

_FORMULA = ("=", "+", "-", "@", "\t")
_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def text_table(rows: Rows, columns: Sequence[str]) -> str:
    """Format rows as aligned columns, numbers to the right; nothing is cut, however narrow the terminal.

    Example:
        >>> print(text_table([{"run": "a", "steps": 1200}, {"run": "b", "steps": None}], ["steps", "run"]))
        steps  run
        1,200  a
            –  b
    """
    from rich.cells import cell_len

    lines = [list(columns), *([_shown(row.get(name)) for name in columns] for row in rows)]
    right = [_is_numeric(rows, name) for name in columns]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]

    def padded(line: list[str]) -> str:
        cells = []
        for cell, width, to_the_right in zip(line, widths, right):
            space = " " * (width - cell_len(cell))
            cells.append(space + cell if to_the_right else cell + space)
        return "  ".join(cells).rstrip()

    return "\n".join(map(padded, lines))


def markdown_table(rows: Rows, columns: Sequence[str]) -> str:
    """Format rows as a Markdown table.

    Example:
        >>> print(markdown_table([{"run": "a|b", "steps": 7}], ["run", "steps"]))
        | run | steps |
        |---|--:|
        | a\\|b | 7 |
    """
    rule = "|".join("--:" if _is_numeric(rows, name) else "---" for name in columns)
    cells = [
        [_shown(row.get(name)).replace("|", "\\|").replace("\n", " ") for name in columns] for row in rows
    ]
    head, *body = ("| " + " | ".join(line) + " |" for line in [columns, *cells])
    return "\n".join([head, f"|{rule}|", *body])


def latex_table(rows: Rows, columns: Sequence[str]) -> str:
    r"""Format rows as a LaTeX table (booktabs).

    Example:
        >>> print(latex_table([{"run": "50_%", "steps": 7}], ["run", "steps"]).splitlines()[4])
        50\_\% & 7 \\
    """
    align = "".join("r" if _is_numeric(rows, name) else "l" for name in columns)
    cells = [[_shown(row.get(name)) for name in columns] for row in rows]
    head, *body = (" & ".join(cell.translate(_LATEX) for cell in line) + r" \\" for line in [columns, *cells])
    begin, end = rf"\begin{{tabular}}{{{align}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", end])


def csv_table(rows: Rows, columns: Sequence[str]) -> str:
    """Format rows as CSV, with an apostrophe before text that a spreadsheet would run as a formula.

    Example:
        >>> csv_table([{"run": "=1+1", "steps": 7}], ["run", "steps"])
        "run,steps\\n'=1+1,7"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(row.get(name)) for name in columns])
    return out.getvalue().removesuffix("\n")


FORMATS: Mapping[str, Callable[[Rows, Sequence[str]], str]] = {
    "text": text_table,
    "markdown": markdown_table,
    "latex": latex_table,
    "csv": csv_table,
}


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if _is_number(value):
        return value
    text = visible(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return visible(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric(rows: Rows, name: str) -> bool:
    return any(_is_number(row.get(name)) for row in rows)
