"""Results show themselves in at most three lines, and escaped in a notebook."""

import dataclasses
import html

import numpy as np
import pytest

import charloom
from charloom.insight import Sizes
from charloom.runs import Run
from charloom.summary import MAX_WIDTH, Summarised, Summary, short_fields

from .training.small import bigram_source, bigram_text

TEXT = bigram_text(bigram_source(), 3000)
SIZES = Sizes(
    num_lags=20, num_passages=1, reach=20, targets=16, stretches=1, unit_passages=1, error_chars=200
)
PARTS_WIDTH = 1500  # a tuple of parts, each one short


class Hostile(Summarised):
    def summary(self):
        rows = (("<b>", "a\nb\x1b[2J\u202e" + "long " * 100), ("two", "2"), ("three", "<script>"))
        return Summary("<title> & more", rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    settings = {
        "cell": "lstm",
        "hidden_size": 8,
        "batch_size": 4,
        "bptt_length": 8,
        "steps": 20,
        "threads": 1,
    }
    out = tmp_path_factory.mktemp("runs") / "run"
    return charloom.train(text=TEXT, out=out, quiet=True, **settings)


@pytest.fixture(scope="module")
def results(model):
    (sample,) = model.sample("ab", length=300, seed=1, log_probs=True)
    inspection = charloom.inspect(model, sizes=SIZES)
    tour = charloom.explain(model.run.path)
    found = [model, model.run, model.evaluate(), model.score(TEXT), sample, inspection, tour]
    return [*found, inspection.gradient_flow]


def is_short(shown):
    return shown.count("\n") <= 2 and all(len(line) <= MAX_WIDTH for line in shown.splitlines())


def test_every_result_is_at_most_three_lines(results):
    for result in results:
        assert isinstance(result, Summarised), type(result)
        assert is_short(repr(result)), repr(result)
        assert type(result).__name__ in repr(result)
        assert result._repr_html_().startswith("<div>")


def test_the_parts_of_results_show_their_arrays_as_shapes(model, results):
    parts = [model.file, model.vocab, model.corpus(), *model.novelty(TEXT[:50])]
    for result in results[-3:]:
        parts += [getattr(result, spec.name) for spec in dataclasses.fields(result)]
    for part in parts:
        assert len(repr(part)) <= PARTS_WIDTH, repr(part)
        assert "array(" not in repr(part)


def test_a_model_names_its_network_its_results_and_its_run(model):
    title, held_out, run = repr(model).splitlines()
    num_params = sum(p.size for p in model.file.parameters.values())
    assert title == f"Model: 1 x lstm of 8, plain, {num_params:,} parameters, vocabulary of 8"
    bits = model.card["results"]["val_bits_per_char"]
    assert held_out.startswith(f"  held out: {bits:.3f} bits/char, n-gram ")
    assert held_out.endswith("; step 20 of 20")
    assert run.startswith("  run: ")
    verdict = model.card["results"]["verdicts"][0]
    assert html.escape(verdict["says"]) in model._repr_html_()
    assert repr(charloom.from_torch(model.torch_module(), model.vocab)) == title


def test_a_run_without_results_or_without_a_configuration_is_shown_too(tmp_path):
    assert "cannot read" in repr(Run(tmp_path / "nothing"))
    run = Run.create(tmp_path / "run", {"model": {"num_layers": 2, "cell": "gru", "hidden_size": 16}})
    assert repr(run).splitlines()[0].endswith("run: 2 x gru of 16")
    assert "held out: not finished" in repr(run)


def test_a_text_is_one_printable_line():
    title, first, second = repr(Hostile()).splitlines()
    assert title == "<title> & more"
    assert first.startswith(r"  <b>: a\nb\x1b[2J\u202elong")
    assert len(first) == MAX_WIDTH
    assert first.endswith("…")
    assert second == "  two: 2"


def test_a_notebook_shows_every_row_escaped():
    page = Hostile()._repr_html_()
    assert "&lt;title&gt; &amp; more" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert page.count("<tr>") == 3


def test_fields_are_cut_and_arrays_shown_as_shapes():
    @dataclasses.dataclass
    class Losses:
        nats: np.ndarray
        chars: tuple
        hidden: int = dataclasses.field(default=0, repr=False)
        __repr__ = short_fields

    shown = repr(Losses(np.ones((3, 4)), ("a",) * 1000))
    assert shown == "Losses(nats=<float64 (3, 4)>, chars=('a', 'a', 'a', ...))"
