"""Write the generated pages and pictures: settings from their declarations, the gradient's walk from two small networks.

Run `python docs/generate.py` after a setting changes; a test fails while a page or a picture is out of date.
"""

from __future__ import annotations

import ast
import io
import sys
import tomllib
import typing
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from charloom.config import DYNAMIC_SETTINGS, ModelConfig, SampleConfig, TextConfig, TrainConfig
from charloom.insight.gradient_grid import grad_norm_by_lag, gradient_grid
from charloom.parameters import initial_parameters

DOCS = Path(__file__).parent
PAGES = DOCS / "reference"
SOURCE = DOCS.parent / "src" / "charloom"
HEADER = "<!-- written by docs/generate.py: edit the declarations, not this page -->\n"

SENTENCE = (
    "Happy families are all alike; every unhappy family is unhappy in its own way."  # Tolstoy, tr. Garnett
)
HIDDEN_SIZE = 64
PICTURED_STEPS = 30
PICTURED_WINDOW = 15
FLOOR = 1e-4
OPEN = 2.0
LAGS = (0, 1, 5, 10, 20, 50)


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


def settings_module() -> str:
    """The types of every setting as a keyword, for editors and type checkers."""
    classes = {
        "TrainSettings": (
            "charloom.train and charloom.explain",
            (TextConfig, ModelConfig, TrainConfig),
            None,
        ),
        "SampleSettings": ("Model.sample, stream, generate and session", (SampleConfig,), None),
        "LearningSettings": ("Model.evaluate with protocol dynamic", (TrainConfig,), DYNAMIC_SETTINGS),
    }
    lines = [
        '"""The keywords of functions that take settings, as types for editors and type checkers.',
        "",
        "Written by docs/generate.py: edit the declarations in `charloom.config`, not this module.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Literal, TypedDict",
    ]
    for name, (used_by, configs, only) in classes.items():
        specs = [spec for config in configs for spec in fields(config) if only is None or spec.name in only]
        lines += ["", "", f"class {name}(TypedDict, total=False):", f'    """Settings of {used_by}."""', ""]
        lines += [f"    {spec.name}: {spec.type}".replace("'", '"') for spec in specs]
    return "\n".join(lines) + "\n"


def glossary_page() -> str:
    """The project's words, from ``docs/glossary.toml``."""
    lines = [
        HEADER.replace("the declarations", "docs/glossary.toml"),
        "# Glossary\n",
        "One word, one thing: in code, on the command line and in these pages.\n",
        "| say | in code | meaning | not |",
        "|---|---|---|---|",
    ]
    for term in tomllib.loads((DOCS / "glossary.toml").read_text("utf-8"))["term"]:
        code = ", ".join(f"`{name}`" for name in term["code"].split(", "))
        lines.append(f"| {term['say']} | {code} | {term['means']} | {term['avoid']} |")
    return "\n".join(lines) + "\n"


def modules_page() -> str:
    """Every module with the first line of its docstring."""
    lines = [HEADER.replace("the declarations", "the docstrings"), "# Modules\n"]
    lines.append("One line for each file under `src/charloom`, from its docstring.\n")
    room = None
    for path in sorted(SOURCE.rglob("*.py"), key=lambda path: (path.parent.as_posix(), path.name)):
        here = path.relative_to(SOURCE)
        if here.parent != room:
            room = here.parent
            title = "charloom" if room == Path() else f"{room.as_posix()}/"
            lines += ["", f"## {title}\n", "| module | what it is |", "|---|---|"]
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        lines.append(
            f"| `{here.as_posix()}` | {docstring.partition(chr(10))[0].replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


class Untrained(NamedTuple):
    """A network as it is before its first step."""

    what: str
    config: ModelConfig
    forget_bias: float | None = None

    def parameters(self) -> dict[str, np.ndarray]:
        """The initial parameters; the LSTM's forget bias replaced where one is named."""
        params = initial_parameters(self.config, len(set(SENTENCE)), seed=0)
        if self.forget_bias is not None:
            params["layers.0.cell.bias"][HIDDEN_SIZE : 2 * HIDDEN_SIZE] = self.forget_bias
        return params

    def walk(self, num_steps: int, bptt_length: int) -> np.ndarray:
        """The norm of each loss's gradient in the whole state behind each step, (T, T)."""
        vocab = sorted(set(SENTENCE))
        ids = np.array([vocab.index(char) for char in SENTENCE[: num_steps + 1]])
        parts = gradient_grid(self.config, self.parameters(), ids, bptt_length)
        return np.sqrt(sum(norms**2 for norms in parts.values()))


def _untrained(what: str, cell: str, init: str, forget_bias: float | None = None) -> Untrained:
    return Untrained(what, ModelConfig(cell=cell, hidden_size=HIDDEN_SIZE, init=init), forget_bias)


NETWORKS = (
    _untrained("Elman", "elman", "pytorch"),
    _untrained("Elman", "elman", "orthogonal"),
    _untrained("LSTM", "lstm", "pytorch"),
    _untrained("LSTM, forget bias 1", "lstm", "orthogonal"),
    _untrained(f"LSTM, forget bias {OPEN:g}", "lstm", "pytorch", OPEN),
    _untrained("GRU", "gru", "pytorch"),
    _untrained("GRU", "gru", "orthogonal"),
    _untrained("minGRU", "mingru", "pytorch"),
)
PICTURED = (
    ("Elman: the gradient vanishes within 15 steps", NETWORKS[0]),
    ("LSTM with open forget gates: it arrives", NETWORKS[4]),
)
READING = "one row is one loss:\nread it from right to left,\nback in time"


def lag_table() -> str:
    """How the gradient shrinks with the lag in networks before training: a table for the page on backpropagation."""
    lines = [
        "| cell | `--init` | " + " | ".join(f"lag {lag}" for lag in LAGS) + " | per step |",
        "|---|---|" + "--:|" * (len(LAGS) + 1),
    ]
    for network in NETWORKS:
        by_lag = grad_norm_by_lag(network.walk(len(SENTENCE) - 1, len(SENTENCE) - 1))
        factor = (by_lag[LAGS[-1]] / by_lag[LAGS[-3]]) ** (1 / (LAGS[-1] - LAGS[-3]))
        numbers = " | ".join(f"{by_lag[lag]:.1e}" for lag in LAGS)
        lines.append(f"| {network.what} | {network.config.init} | {numbers} | {factor:.2f} |")
    return "\n".join(lines) + "\n"


def walk_picture() -> str:
    """The gradient's walk through two untrained networks, as SVG: the same bytes in every process."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": "charloom", "font.size": 9, "hatch.linewidth": 0.6, "axes.titlesize": 11}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 7), layout="compressed")
        figure.get_layout_engine().set(wspace=0.06)
        axes = figure.subplots(2, len(PICTURED), height_ratios=(1, 5.5), sharex="col")
        for (title, network), (top, below) in zip(PICTURED, axes.T, strict=True):
            squares = _draw_walk(top, below, network.walk(PICTURED_STEPS, PICTURED_WINDOW))
            top.set_title(title, pad=8)
        axes[1, 0].text(28.5, 3, READING, ha="right", va="bottom")
        bar = figure.colorbar(squares, ax=axes, location="bottom", shrink=0.5, aspect=45, extend="min")
        bar.set_label(r"gradient norm  $\Vert\partial L_t\,/\,\partial s_k\Vert$  in nats")
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def gradient_window() -> Any:
    """The module ``docs/gradient_window.py``, which no package contains."""
    spec = spec_from_file_location("gradient_window", DOCS / "gradient_window.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _draw_walk(top: Any, below: Any, norms: np.ndarray) -> Any:
    figures = gradient_window()
    figures.gradient_triangle(norms, SENTENCE, PICTURED_WINDOW, floor=FLOOR, ax=below)
    figures.gradient_river(norms[-1], PICTURED_WINDOW, floor=FLOOR, ax=top)
    return below.collections[0]


def pages() -> dict[Path, str]:
    """Every generated page with its content."""
    return {
        PAGES / "settings.md": settings_page(),
        PAGES / "glossary.md": glossary_page(),
        PAGES / "modules.md": modules_page(),
        SOURCE / "api" / "settings.py": settings_module(),
    }


def pictures() -> dict[Path, Callable[[], str]]:
    """Every generated picture with the function that draws it."""
    return {DOCS / "explanation" / "backpropagation.svg": walk_picture}


def main() -> None:
    """Write every page, and every picture where matplotlib is installed; print the table that a page quotes."""
    contents = pages()
    if find_spec("matplotlib") is not None:
        contents |= {path: draw() for path, draw in pictures().items()}
    for path, content in contents.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
        sys.stdout.write(f"wrote {path}\n")
    sys.stdout.write(f"\nfor docs/explanation/backpropagation.md:\n\n{lag_table()}")


if __name__ == "__main__":
    main()
