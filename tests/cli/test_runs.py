"""``charloom runs``: finished, unfinished and damaged runs."""


def test_runs(charloom, workspace):
    (workspace / "runs/names/events.jsonl").write_text(
        '{"event": "validation", "step": 7, "loss": 2.0, "train_loss": 1.0, "best": true}\n', encoding="utf-8"
    )
    (workspace / "runs/broken").mkdir()
    (workspace / "runs/broken/config.json").write_text("{}", encoding="utf-8")
    result = charloom("runs --json").json
    states = {row["name"]: (row["state"], row.get("steps")) for row in result["runs"]}
    assert states == {"tales": ("finished", 24), "names": ("unfinished", 7), "broken": ("damaged", None)}
    listed = charloom("runs").out.splitlines()
    assert len(listed) == 4
    assert charloom(f"runs {workspace / 'runs'}").out.splitlines() == listed


def test_no_runs(charloom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = charloom("runs")
    assert (done.code, done.out) == (0, "")
    assert "no runs in runs" in done.err
    assert charloom("runs --json").json["runs"] == []
