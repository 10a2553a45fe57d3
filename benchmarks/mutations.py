"""Which test fails when a sign is flipped or a term dropped in the scratch engine, one change at a time.

python -m benchmarks.mutations           runs every mutant and writes docs/reference/mutations.md; minutes
python -m benchmarks.mutations lstm gru  runs the mutants of those modules and rewrites their tables

Each mutant is written into a copy of the package and tested in a fork of this process, which has already
loaded the libraries. torch is not importable there: the scratch engine's tests do not need it. Requires fork.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = Path("charloom") / "engines" / "scratch"
PAGE = ROOT / "docs" / "reference" / "mutations.md"
TIMEOUT_S = 60

_SCRATCH = "tests/engines/scratch/"
_LEARNERS = tuple(
    f"tests/engines/test_learner_{theme}.py" for theme in ("updates", "batching", "bias_pair", "checkpoints")
)
_WHOLE = (f"{_SCRATCH}test_cells.py", f"{_SCRATCH}test_network.py")

GUARDS = {
    "elman": (f"{_SCRATCH}test_elman.py", *_WHOLE),
    "lstm": (f"{_SCRATCH}test_lstm.py", *_WHOLE),
    "gru": (f"{_SCRATCH}test_gru.py", *_WHOLE),
    "mingru": (f"{_SCRATCH}test_mingru.py", *_WHOLE),
    "activations": (f"{_SCRATCH}test_activations.py", *_WHOLE),
    "loss": (f"{_SCRATCH}test_loss.py", *_LEARNERS),
    "inputs": (f"{_SCRATCH}test_inputs.py", *_WHOLE),
    "cells": (*_WHOLE, "tests/engines/test_contract.py"),
    "network": (f"{_SCRATCH}test_network.py", "tests/engines/test_contract.py"),
    "residual": (f"{_SCRATCH}test_residual.py", "tests/engines/test_contract.py"),
    "optimisers": (f"{_SCRATCH}test_optimisers.py", *_LEARNERS),
    "learner": (*_LEARNERS, "tests/engines/test_learner_dropout.py"),
    "gradient_grid": ("tests/insight/test_gradient_grid.py",),
}
"""The tests that guard each module, most specific first."""


def path_of(module: str) -> Path:
    """The module's path in ``src``: in the scratch engine, or in the package that measures with it."""
    folder = Path("charloom") / "insight" if module == "gradient_grid" else ENGINE
    return folder / f"{module}.py"


EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "cells",
        "outputs = np.empty((*a_x.shape[:2], now.h.shape[-1]), a_x.dtype)",
        "-1 → 1",
    ): "the same: a state has two axes, so its last is axis 1",
    (
        "learner",
        "for name in self.params.keys() - params.keys():",
        "self.params.keys() - params.keys() → self.params.keys()",
    ): "the same: a parameter without a pair is given the gradient that it has",
    (
        "gradient_grid",
        "norms[:, k] = np.linalg.norm(d_s[0][key] + d_loss.get(key, 0), axis=1)",
        "d_s[0][key] + d_loss.get(key, 0) → d_s[0][key] - d_loss.get(key, 0)",
    ): "the same: every row has one loss, so one of the two terms is zero, and a norm has no sign",
}
"""(module, line, change) of mutants that compute the same result, with the reason."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one line.

    Attributes:
        module: name of the mutated module.
        line: the source line without its comment.
        change: old → new.
        source: the complete mutated module.
    """

    module: str
    line: str
    change: str
    source: bytes

    @property
    def key(self) -> tuple[str, str, str]:
        return self.module, self.line, self.change


# ------------------------------------------------------------------------------------------------ making mutants


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module, in line order."""
    source = (ROOT / "src" / path_of(module)).read_bytes()
    tree, lines = ast.parse(source), source.splitlines(keepends=True)
    found = []
    for node in ast.walk(tree):
        for new in changes(node):
            text = ast.unparse(new) if isinstance(new, ast.stmt) else f"({ast.unparse(new)})"
            change = (
                f"{ast.unparse(node)} → {ast.unparse(new) if not isinstance(new, ast.Pass) else 'nothing'}"
            )
            line = lines[node.lineno - 1].decode().split("  #")[0].strip()
            mutant = Mutant(module, line, change, replaced(lines, node, text))
            found.append(((node.lineno, node.col_offset), mutant))
    return [mutant for _, mutant in sorted(found, key=lambda pair: pair[0])]


def replaced(lines: list[bytes], node: ast.expr | ast.stmt, text: str) -> bytes:
    """The source with one node replaced by `text`; columns count bytes."""
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    source = b"".join(lines)
    return source[:start] + text.encode() + source[end:]


def changes(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """The mutations of one node: the other sign, a term or factor dropped, another power."""
    if isinstance(node, ast.BinOp) and not _joins(node.left, node.right):
        yield from _binary(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.AugAssign) and not _joins(node.value):
        if isinstance(node.op, ast.Add | ast.Sub):
            yield ast.AugAssign(node.target, _other_sign(node.op), node.value)
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
            yield ast.Pass()


def _binary(node: ast.BinOp) -> Iterator[ast.expr]:
    left, right = node.left, node.right
    if isinstance(node.op, ast.Add | ast.Sub):
        yield ast.BinOp(left, _other_sign(node.op), right)
        yield left
        yield right if isinstance(node.op, ast.Add) else ast.UnaryOp(ast.USub(), right)
    elif isinstance(node.op, ast.Mult):
        yield left
        yield right
    elif isinstance(node.op, ast.Div | ast.FloorDiv):
        yield left
        yield ast.BinOp(ast.Constant(1), node.op, right)
    elif isinstance(node.op, ast.Pow):
        yield left
        yield ast.BinOp(left, ast.Pow(), _one_more(right))


def _one_more(power: ast.expr) -> ast.expr:
    whole = isinstance(power, ast.Constant) and isinstance(power.value, int)
    return ast.Constant(power.value + 1) if whole else ast.BinOp(power, ast.Add(), ast.Constant(1))


def _other_sign(sign: ast.operator) -> ast.operator:
    return ast.Sub() if isinstance(sign, ast.Add) else ast.Add()


def _joins(*operands: ast.expr) -> bool:
    """Whether + concatenates lists or strings here."""
    kinds = (ast.List, ast.ListComp, ast.JoinedStr, ast.IfExp)
    return any(
        isinstance(x, kinds) or (isinstance(x, ast.Constant) and isinstance(x.value, str)) for x in operands
    )


# ----------------------------------------------------------------------------------------------- running mutants


class _FirstRed:
    """A pytest plugin that records the first failure."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        self._note(report)

    def pytest_collectreport(self, report: object) -> None:
        self._note(report)

    def _note(self, report: object) -> None:
        if report.failed and not self.name:  # type: ignore[attr-defined]
            self.name = report.nodeid  # type: ignore[attr-defined]


def first_red(tests: tuple[str, ...]) -> str:
    """The name of the first of these tests that fails in a fork of this process; empty if all pass."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        signal.alarm(TIMEOUT_S)
        _test(tests, into)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"{tests[0]} (ended by signal {os.WTERMSIG(status)})"
    assert answer, "pytest itself failed"
    return answer.removeprefix("passed")


def _test(tests: tuple[str, ...], into: int) -> None:
    """Run tests, write the result and exit the fork."""
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    red, codes = _FirstRed(), [3]
    quiet = ["-x", "-q", "--assert=plain", "-k", "scratch or gradient_grid"]
    with contextlib.suppress(BaseException):
        codes = [int(pytest.main([*quiet, path], plugins=[red])) for path in tests if not red.name]
    if red.name or not any(codes):
        os.write(into, (red.name or "passed").encode())
    os._exit(0)


@contextlib.contextmanager
def copied_package() -> Iterator[Path]:
    """A copy of the package, imported instead of the installed one, with loops compiled and torch blocked."""
    assert not any(name.partition(".")[0] == "charloom" for name in sys.modules)
    with tempfile.TemporaryDirectory(prefix="charloom-mutations-") as folder:
        shutil.copytree(
            ROOT / "src" / "charloom", Path(folder) / "charloom", ignore=shutil.ignore_patterns("__pycache__")
        )
        os.environ |= {
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/hypothesis",
            "OMP_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        sys.dont_write_bytecode = True
        sys.modules["torch"] = None  # type: ignore[assignment]
        sys.path.insert(0, folder)
        os.chdir(ROOT)
        _warm_up()
        yield Path(folder)


def _warm_up() -> None:
    """Import and compile everything the forks need, except the mutated modules."""
    import hypothesis.strategies  # noqa: F401 - loaded once, here
    import numpy as np

    from charloom.kernels import linear_scan, masks
    from charloom.kernels.library import library

    assert library() is not None
    masks.random_halves(0, 0, 0, range(1), 8)
    for kind in ("float32", "float64", "complex128"):
        x = np.zeros((1, 2, 3), kind)
        linear_scan.backward(x, x[:, 0].copy(), linear_scan.forward(x, x, x[:, 0].copy()), x)
    assert not any("scratch" in name for name in sys.modules)


def run(module: str, folder: Path) -> Iterator[tuple[Mutant, str]]:
    """Each mutant of a module with the test that fails."""
    path = folder / path_of(module)
    original = path.read_bytes()
    red = first_red(GUARDS[module])
    assert not red, f"{red} fails without any mutation"
    try:
        for mutant in mutants(module):
            path.write_bytes(mutant.source)
            yield mutant, "" if mutant.key in EQUIVALENT else first_red(GUARDS[module])
    finally:
        path.write_bytes(original)


# --------------------------------------------------------------------------------------------------------- page


def page(tables: dict[str, str], date: str) -> str:
    """The reference page: a table per module of mutants and the tests that failed."""
    body = "\n".join(f"## {module}\n\n{tables[module]}" for module in GUARDS if module in tables)
    rows = listed(body)
    equivalent = sum(rows[key] for key in EQUIVALENT)
    return f"""<!-- written by python -m benchmarks.mutations: run it again after a change of the scratch engine -->

# Mutations of the scratch engine

Every sign of the engine's arithmetic is flipped, every term and factor dropped and every power
changed, one at a time; the tables list the first test that failed. A mutant that no test detects
would be a line that no test guards.

**{rows.total()} mutants: {rows.total() - equivalent} found by a test, {equivalent} that compute the same.** {date}.

{body}"""


def table(rows: list[tuple[Mutant, str]]) -> str:
    """The table of one module's mutants."""
    head = "| line | mutation | red test |\n|---|---|---|\n"
    return head + "".join(
        f"| {_code(mutant.line)} | {_code(mutant.change)} | {_verdict(mutant, red)} |\n"
        for mutant, red in rows
    )


def tables_of(text: str) -> dict[str, str]:
    """The tables on a page, by module."""
    sections = (section.partition("\n\n") for section in text.split("\n## ")[1:])
    return {module: rows.rstrip("\n") + "\n" for module, _, rows in sections}


def _verdict(mutant: Mutant, red: str) -> str:
    return EQUIVALENT.get(mutant.key, "") or (_code(red.removeprefix("tests/")) if red else "SURVIVED")


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def listed(text: str) -> Counter[tuple[str, str, str]]:
    """Count (module, line, change) over the rows of the page."""
    rows: Counter[tuple[str, str, str]] = Counter()
    module = ""
    for row in text.replace("\\|", "\0").splitlines():
        if row.startswith("## "):
            module = row.removeprefix("## ")
        elif row.startswith("| `"):
            line, change = (cell.strip(" `").replace("\0", "|") for cell in row.split("|")[1:3])
            rows[module, line, change] += 1
    return rows


def main(names: Sequence[str] = ()) -> int:
    """Run the mutants of the named modules, or of all, and write the page; return 1 if one survives."""
    began, num_survived = time.monotonic(), 0
    tables = tables_of(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    with copied_package() as folder:
        for module in names or GUARDS:
            rows = list(run(module, folder))
            survived = [mutant for mutant, red in rows if not red and mutant.key not in EQUIVALENT]
            for mutant in survived:
                print(f"survived: {mutant.line}   {mutant.change}", flush=True)
            num_survived += len(survived)
            tables[module] = table(rows)
            PAGE.write_text(page(tables, datetime.date.today().isoformat()), encoding="utf-8", newline="\n")
            print(f"{module}: {len(rows)} mutants, {time.monotonic() - began:.0f} s", flush=True)
    print(f"wrote {PAGE}")
    return 1 if num_survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
