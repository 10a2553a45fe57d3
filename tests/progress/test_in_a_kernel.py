"""A notebook cell that trains, run in a real kernel: it shows progress and a result of at most three lines."""

import re

import pytest

from ..training.small import bigram_source, bigram_text

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELL = 'import charloom\ncharloom.train("tales.txt", minutes={minutes}, threads=1)'


def outputs_of(cell, folder):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return book.cells[0].outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the client's own libraries
def test_a_cell_shows_progress_and_a_result_of_three_lines(tmp_path):
    (tmp_path / "tales.txt").write_text(bigram_text(bigram_source(), 5000), encoding="utf-8")
    progress, result = outputs_of(CELL.format(minutes=0.05), tmp_path)
    assert progress.output_type == "display_data"
    shown = progress.data["text/html"]
    assert "<progress value='1.0000'" in shown
    assert re.search(r"steps in \d+ s", shown)
    assert "bits/char on held-out text" in shown
    assert "text: tales, 5,000 characters" in shown
    assert result.output_type == "execute_result"
    lines = result.data["text/plain"].splitlines()
    assert lines[0].startswith("Model: ")
    assert len(lines) <= 3
    assert "<table>" in result.data["text/html"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_quiet_cell_has_no_output_but_its_result(tmp_path):
    (tmp_path / "tales.txt").write_text(bigram_text(bigram_source(), 5000), encoding="utf-8")
    cell = 'import charloom\ncharloom.train("tales.txt", steps=2, hidden_size=8, threads=1, quiet=True)'
    (result,) = outputs_of(cell, tmp_path)
    assert result.output_type == "execute_result"
