"""The explanation pages quote lines that are in the source, equations from the docstrings, and numbers that the engine computes."""

import ast
import doctest
import re
from fractions import Fraction

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines.scratch import cells, loss, network
from tests.conftest import ROOT
from tests.test_docs import generator

SOURCE = ROOT / "src" / "charloom"
FOLDER = ROOT / "docs" / "explanation"
PAGE = FOLDER / "backpropagation.md"
CELL_PAGES = {name: FOLDER / "cells" / f"{name}.md" for name in cells.CELLS}
PAGES = [PAGE, *CELL_PAGES.values()]
GENERATION = FOLDER / "generation.md"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def name_of(path):
    return path.stem


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_quoted_line_of_code_is_in_its_file(page):
    quoted = blocks(page, "python")
    assert len(quoted) >= 2
    for block in quoted:
        head, *lines = block.splitlines()
        place = re.fullmatch(r"# (\S+\.py)", head)
        assert place, f"{head!r} does not name a file"
        source = [line.strip() for line in (SOURCE / place[1]).read_text("utf-8").splitlines()]
        for line in filter(str.strip, lines):
            assert line.strip() in source, f"{page.name} quotes {line.strip()!r}, which is not in {place[1]}"


def test_the_quoted_tile_is_in_its_file():
    (quoted,) = blocks(GENERATION, "c")
    place, _, lines = quoted.partition("\n")
    assert lines.rstrip() in (SOURCE / place.strip("/* ")).read_text("utf-8")


def test_the_session_of_the_page_runs(tmp_path, monkeypatch, capsys):
    from charloom import train

    monkeypatch.chdir(tmp_path)
    model = train(text="Once upon a time there was a tale. " * 50, steps=2, out="run", batch_size=4)
    (block,) = (block for block in blocks(GENERATION, "python") if "session" in block)
    place = {"model": model}
    exec(block, place)
    assert len(capsys.readouterr().out) >= 200
    assert place["other"].generate(50) == model.session().load("tale.session").generate(50)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_prints_what_the_page_says(page):
    examples = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(examples, {}, page.name, str(page), 0)
    assert test.examples
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


def numbered(text):
    """The indented lines that carry an equation number."""
    return [line for line in text.splitlines() if re.match(r" {4}.*  \(\d+\)", line)]


@pytest.mark.parametrize("cell", CELL_PAGES)
def test_a_page_states_the_equations_of_its_cell(cell):
    docstring = ast.get_docstring(ast.parse((SOURCE / "engines/scratch" / f"{cell}.py").read_text("utf-8")))
    section = CELL_PAGES[cell].read_text("utf-8").split("\n## Equations\n")[1].split("\n## ")[0]
    assert len(numbered(docstring)) >= 2
    assert numbered(section) == numbered(docstring)


@pytest.mark.parametrize("cell", CELL_PAGES)
def test_a_cell_page_has_every_heading(cell):
    text = CELL_PAGES[cell].read_text("utf-8")
    for heading in ("Equations", "One step back", "What can go wrong", "Size and cost", "Sources"):
        assert f"\n## {heading}\n" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_has_a_target(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), f"{page.name} links to {target}"
        assert not anchor or f'<a id="{anchor}"></a>' in other.read_text("utf-8"), target


def test_the_measured_gradients_are_those_of_the_engine():
    assert generator().lag_table() in PAGE.read_text("utf-8"), "run python docs/generate.py"


# the network of "Two steps by hand"
W_IH = np.array([[1.0, 2.0], [1.0, -1.0]])
W_HH = np.array([[2.0, -2.0], [1.0, -3.0]])
OUT_WEIGHT, OUT_BIAS = np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([-1.0, 1.0])


def computed_by_hand():
    """{row of the page's tables: its vectors at t = 1 and t = 2}, computed without the engine."""
    h, rows = np.zeros(2), {}
    for char in (0, 1):
        fed = W_HH @ h
        a = W_IH[:, char] + fed
        h = np.maximum(a, 0)
        y = OUT_WEIGHT @ h + OUT_BIAS
        p = np.exp(y) / np.exp(y).sum()
        found = {"W_hh h_{t-1}": fed, "a_t": a, "h_t = relu(a_t)": h, "y_t": y, "p_t": p}
        for name, vector in found.items():
            rows.setdefault(name, []).append(vector)
    back = np.zeros(2)
    for t in (1, 0):
        own = OUT_WEIGHT.T @ (rows["p_t"][t] - np.array([0, 1]))
        d_a = (own + back) * (rows["a_t"][t] > 0)
        found = {"W_outᵀ d_y_t": own, "from the next step": back, "d_h_t, their sum": own + back}
        found |= {
            "φ′(a_t)": rows["a_t"][t] > 0,
            "d_a_t": d_a,
            "W_hhᵀ d_a_t, to the previous step": d_a @ W_HH,
        }
        for name, vector in found.items():
            rows.setdefault(name, []).insert(0, vector)
        back = d_a @ W_HH
    return rows


def spelt(vector):
    """Format (1.5, -0.5) as the page does: (3/2, −½)."""
    words = [str(Fraction(float(x)).limit_denominator(8)).replace("1/2", "½") for x in vector]
    return "(" + ", ".join(word.replace("-", "−") for word in words) + ")"


def test_the_two_steps_by_hand_are_right():
    text = PAGE.read_text("utf-8").split("## Two steps by hand")[1].split("\n## ")[0]
    rows = {
        row[0].strip(): row[1:] for row in re.findall(r"^\|([^|]+)\|([^|]+)\|([^|]+)\|$", text, re.MULTILINE)
    }
    for name, (first, second) in computed_by_hand().items():
        forward = not name.startswith(("W_outᵀ", "from", "d_", "φ", "W_hhᵀ"))
        at_1, at_2 = rows[name] if forward else rows[name][::-1]  # the backward table begins with t = 2
        assert spelt(first) in at_1, name
        assert spelt(second) in at_2, name


def gradients_by_engine(num_steps):
    """The gradients of the losses of the first steps, and the gradient in h_0."""
    params = {"layers.0.cell.w_ih": W_IH, "layers.0.cell.w_hh": W_HH, "layers.0.cell.bias": np.zeros(2)}
    params |= {"out.weight": OUT_WEIGHT, "out.bias": OUT_BIAS}
    config = ModelConfig(cell="elman", activation="relu", hidden_size=2)
    read, targets = np.array([[0], [1]])[:num_steps], np.array([[1], [1]])[:num_steps]
    y, _, tape = network.forward(config, params, read, [{"h": np.zeros((1, 2))}], record=True)
    return network.backward(config, params, tape, loss.backward(loss.log_softmax(y), targets))


def test_the_engine_agrees_with_the_hand_computation():
    (gradients, before), rows = gradients_by_engine(2), computed_by_hand()
    np.testing.assert_allclose(before[0]["h"][0], rows["W_hhᵀ d_a_t, to the previous step"][0], rtol=1e-15)
    np.testing.assert_allclose(gradients["layers.0.cell.w_ih"], np.transpose(rows["d_a_t"]), rtol=1e-15)


def test_in_windows_of_one_step_the_second_loss_does_not_reach_the_first_step():
    assert "d_a_1 = (½, ½)" in " ".join(PAGE.read_text("utf-8").split())
    np.testing.assert_allclose(gradients_by_engine(1)[0]["layers.0.cell.w_ih"][:, 0], [0.5, 0.5], rtol=1e-15)
