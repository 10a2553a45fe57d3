"""``charloom inspect``: the JSON keys, the location of the page, and missing texts."""

import dataclasses
import html
import itertools
import json

import pytest

from charloom.errors import RunError
from charloom.modelfile import read_model, write_model
from charloom.runs import Run

from .conftest import TINY

pytest.importorskip("matplotlib")


def test_json_of_a_run(charloom, workspace):
    result = charloom("inspect runs/tales --json").json
    assert {"schema", "gradient_flow", "memory_horizon_chars", "context_curve", "gates", "verdicts"} <= set(
        result
    )
    assert result["written"] == ["runs/tales/report.html", "runs/tales/inspection.json"]
    assert result["train_nats"] is not None
    saved = json.loads((workspace / "runs/tales/inspection.json").read_text("utf-8"))
    assert saved == {key: value for key, value in result.items() if key != "written"}
    assert "gradient" in (workspace / "runs/tales/report.html").read_text("utf-8")


def test_verdicts_come_first(charloom, workspace):
    done = charloom("inspect runs/tales more.txt --out why --png")
    assert done.code == 0
    first, *rest = done.out.splitlines()
    assert first.partition(":")[0] in ("too-short", "vanishing", "exploding", "silent")
    assert rest[0].startswith("  advice: ")
    assert sum("advice: " in line for line in rest) == 1
    assert any(line.startswith("memory horizon: ") for line in rest)
    assert "unknown to the model" in done.err
    assert {path.name for path in (workspace / "why").iterdir()} >= {
        *("report.html", "inspection.json", "gradient-flow.png", "connectivity-map.png", "errors-class.png")
    }
    assert not (workspace / "runs/tales/report.html").exists()


def test_a_model_file_needs_a_text(charloom, workspace):
    (workspace / "alone.safetensors").write_bytes((workspace / "runs/tales/model.safetensors").read_bytes())
    refused = charloom("inspect alone.safetensors")
    assert refused.code == 1
    assert "name a text" in refused.err
    done = charloom("inspect alone.safetensors more.txt --json")
    assert done.json["written"] == []
    assert done.json["train_nats"] is None
    assert "cannot compare with n-grams or check for memorisation" in done.err


def test_a_model_of_documents_can_be_inspected(charloom, workspace):
    result = charloom("inspect runs/names --json").json
    assert result["context_curve"]["far"] is None


def test_a_run_without_its_text_can_be_inspected_on_another(charloom, workspace, monkeypatch):
    def gone(_run):
        raise RunError("the corpus is gone", why="a test", fix="none")

    monkeypatch.setattr("charloom.api.bound_model.corpus_of", gone)
    assert charloom("inspect runs/tales").code == 1
    assert charloom("inspect runs/tales more.txt --json").json["train_nats"] is None


def test_without_matplotlib_nothing_is_computed(charloom, workspace, monkeypatch):
    monkeypatch.setattr("charloom.plots.figures.find_spec", lambda _: None)
    monkeypatch.setattr("charloom.api.inspect", lambda *_, **__: pytest.fail("computed"))
    refused = charloom("inspect runs/tales")
    assert refused.code == 1
    assert "charloom[plot]" in refused.err


def test_a_folder_that_cannot_be_created(charloom, workspace):
    (workspace / "file").write_text("x")
    refused = charloom("inspect runs/tales --out file/why")
    assert refused.code == 1
    assert "cannot write" in refused.err


def test_train_and_inspect_say_the_same(charloom, workspace):
    """One verdict, one advice, one loss and one command, in the terminal, in the results and on the page."""
    train = ["train", "tales.txt", "--steps", "30", "--out", "run", *TINY]
    trained = charloom([*train, "--block", "plain", "--cell", "gru", "--num-layers", "1"]).out
    inspected = charloom("inspect run").out
    verdict, advice = next((a, b) for a, b in itertools.pairwise(trained.splitlines()) if "advice:" in b)
    assert [verdict, advice] == inspected.splitlines()[:2]
    assert [verdict.partition(":")[0]] == ["too-short"]
    command = trained.splitlines()[-1]
    assert command.strip().startswith("charloom train --resume run --steps +")
    assert inspected.splitlines()[-1] == command
    results = Run(workspace / "run").config()["results"]
    found = json.loads((workspace / "run/inspection.json").read_text("utf-8"))
    assert found["held_out_nats"] == pytest.approx(results["val_loss_nats"], rel=1e-5)
    assert f"{results['val_loss_nats']:.4f} nats, stream protocol" in inspected
    evaluated = charloom("eval run --protocol stream --json").json
    assert evaluated["loss_nats"] == pytest.approx(results["val_loss_nats"], rel=1e-5)
    page = (workspace / "run/report.html").read_text("utf-8")
    assert page.count("Advice: ") == 1
    assert html.escape(advice.strip().removeprefix("advice: ")) in page


def test_a_run_recorded_before_facts_were_is_judged_from_its_files(charloom, workspace):
    run = Run(workspace / "runs/tales")
    before = charloom("inspect runs/tales --json").json
    file = read_model(run.model_path)
    results = {key: value for key, value in file.card["results"].items() if key not in ("facts",)}
    write_model(run.model_path, dataclasses.replace(file, card=file.card | {"results": results}))
    after = charloom("inspect runs/tales --json").json
    assert after["verdicts"] == before["verdicts"]
