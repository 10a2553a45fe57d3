"""``charloom inspect``: the JSON keys, the location of the page, and missing texts."""

import json

import pytest

from charloom.errors import RunError

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
    assert first.partition(":")[0] in ("healthy", "vanishing", "exploding", "memorised", "silent")
    assert rest[0].startswith("  advice: ")
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
