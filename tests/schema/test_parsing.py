"""Nothing but the schema room parses JSON or TOML, so no document is trusted by accident."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src" / "charloom"
PARSERS = {("json", "loads"), ("json", "load"), ("tomllib", "loads"), ("tomllib", "load")}
OWN = {
    "schema/plain.py": "the parser itself",
    "text/tables.py": "documents of the user's text, of any form",
    "export/torch_example.py": "a program for a stranger's computer, in plain torch",
}
FORBIDDEN = ("pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle")
"""Modules whose files are programs."""


def calls(tree):
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            yield node.func.value.id, node.func.attr


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_module_leaves_parsing_to_the_schema_and_runs_nothing_from_a_file(path):
    tree, name = ast.parse(path.read_text("utf-8")), path.relative_to(ROOT).as_posix()
    assert name in OWN or not PARSERS & set(calls(tree))
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        assert not {module.partition(".")[0] for module in modules} & set(FORBIDDEN)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__")
