"""The page of mutations matches the current source of the scratch engine, and no mutant survives. (The run itself takes minutes.)"""

import re

import pytest

from benchmarks import mutations
from tests.conftest import ROOT

RUN_AGAIN = "the engine changed: run python -m benchmarks.mutations"
CHANGES = {
    "a + b": ["a + b → a - b", "a + b → a", "a + b → b"],
    "a - b": ["a - b → a + b", "a - b → a", "a - b → -b"],
    "a * b": ["a * b → a", "a * b → b"],
    "a / b": ["a / b → a", "a / b → 1 / b"],
    "a ** 2": ["a ** 2 → a", "a ** 2 → a ** 3"],
    "-a": ["-a → a"],
    "a @ b": [],
    "a + [b]": [],
    "a += b": ["a += b → a -= b", "a += b → nothing"],
    "a -= b": ["a -= b → a += b", "a -= b → nothing"],
    "a *= b": ["a *= b → nothing"],
    "a += [b]": [],
}


@pytest.fixture(scope="module")
def page():
    return mutations.PAGE.read_text("utf-8")


@pytest.mark.parametrize("statement", CHANGES)
def test_signs_are_flipped_terms_and_factors_dropped_and_powers_changed(statement, tmp_path, monkeypatch):
    source = tmp_path / "src" / mutations.ENGINE / "small.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        f'"""σ before the line: columns count bytes."""\n{statement}  # (1)\n', encoding="utf-8"
    )
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    found = mutations.mutants("small")
    assert [mutant.change for mutant in found] == CHANGES[statement]
    for mutant in found:
        compile(mutant.source, "small", "exec")
        assert mutant.line == statement
        assert mutant.source.decode().endswith("  # (1)\n")


@pytest.mark.parametrize("module", mutations.GUARDS)
def test_every_mutant_of_the_source_is_on_the_page_and_no_other(module, page):
    expected = sorted(mutant.key for mutant in mutations.mutants(module))
    assert expected
    assert sorted(key for key in mutations.listed(page).elements() if key[0] == module) == expected, RUN_AGAIN


def test_every_module_with_arithmetic_is_mutated():
    here = {path.stem for path in (ROOT / "src" / mutations.ENGINE).glob("*.py")}
    assert {module for module in here if mutations.mutants(module)} == set(mutations.GUARDS) - {
        "gradient_grid"
    }


def test_no_mutant_survives(page):
    assert "SURVIVED" not in page
    num_equivalent = sum(mutations.listed(page)[key] for key in mutations.EQUIVALENT)
    total, found, same = map(int, re.search(r"\*\*(\d+) mutants: (\d+) found .*, (\d+) that", page).groups())
    assert (total, found, same) == (
        mutations.listed(page).total(),
        mutations.listed(page).total() - num_equivalent,
        num_equivalent,
    )


def test_every_explained_mutant_exists():
    keys = {mutant.key for module in mutations.GUARDS for mutant in mutations.mutants(module)}
    assert set(mutations.EQUIVALENT) <= keys


def test_every_red_test_on_the_page_exists(page):
    names = set(re.findall(r"`([\w/]+\.py)::(\w+)", page))
    assert names
    for path, test in names:
        assert f"def {test}(" in (ROOT / "tests" / path).read_text("utf-8"), (path, test)
