"""``charloom recipes``: the list, and a run printed as a recipe."""

import json


def test_recipes(charloom, shared_folder):
    result = charloom("recipes --json").json
    assert result["defaults"][0]["settings"]
    assert all(
        {"up_to_chars", "device", "settings", "reason", "measured"} <= set(row) for row in result["defaults"]
    )
    out = charloom("recipes").out
    assert "the default recipe" in out
    for row in result["defaults"]:
        assert row["reason"] in out


def test_a_run_printed_as_a_recipe_can_be_used_as_one(charloom, workspace):
    (workspace / "again.toml").write_text(charloom("recipes runs/tales").out, encoding="utf-8")
    assert charloom("train tales.txt --recipe again.toml --out run --quiet").code == 0
    models = [(workspace / run / "config.json").read_text("utf-8") for run in ("run", "runs/tales")]
    first, second = (json.loads(model)["model"] for model in models)
    assert first == second
