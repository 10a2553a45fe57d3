"""``charloom plan``: the settings are those that ``train`` takes, and every number has its unit."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("quick_calibration")


def test_the_plan_has_the_settings_that_train_takes(charloom, workspace):
    planned = charloom("plan tales.txt --minutes 0.02 --json")
    assert planned.code == 0, planned.err
    trained = charloom("train tales.txt --minutes 0.02 --out runs/real --quiet")
    assert trained.code == 0, trained.err
    config = json.loads((workspace / "runs/real/config.json").read_text("utf-8"))
    assert planned.json["model"] == config["model"]
    assert planned.json["train"] == config["train"]
    assert planned.json["recipe"] == config["recipe"] == "default"


def test_settings_and_recipes_are_those_of_train_too(charloom, shared_folder):
    found = charloom("plan tales.txt --recipe flash --steps 30 --threads 1 --json").json
    assert (found["recipe"], found["steps"]) == ("flash", 30)
    assert (found["model"]["cell"], found["train"]["threads"]) == ("mingru", 1)
    assert found["chars_seen"] <= 30 * 32 * 64
    assert found["wall_time_s"] > 30 * 32 * 64 / found["chars_per_s"]


def test_the_plan_in_words_says_what_to_run_next(charloom, shared_folder):
    shown = charloom(["plan", "tales.txt", "--minutes", "2", "--seed", "7"])
    assert shown.code == 0, shown.err
    assert "small LSTM with heavy dropout" in shown.out
    assert "bits/char, 80 % interval" in shown.out
    assert "1 lstm layer of 256 units" in shown.out
    assert "program" in shown.out
    assert shown.out.rstrip().endswith("charloom train tales.txt --minutes 2 --seed 7")
    assert "up to 10 seconds" in shown.err


def test_the_interval_surrounds_the_expected_bits(charloom, shared_folder):
    found = charloom("plan tales.txt --minutes 0.5 --json").json
    assert found["bits_per_char_low"] < found["bits_per_char"] < found["bits_per_char_high"]
    assert found["interval_level"] == 0.8
    assert found["memory_bytes"]["total"] == sum(
        size for name, size in found["memory_bytes"].items() if name != "total"
    )
    assert found["text"]["train_chars"] == 10_800


def test_a_network_that_was_not_measured_has_no_forecast_of_its_loss(charloom, shared_folder):
    found = charloom("plan tales.txt --minutes 0.5 --cell gru --hidden-size 20 --json").json
    assert found["bits_per_char"] is None
    assert "not for this one" in found["no_estimate"]
    assert "no loss" in charloom("plan tales.txt --minutes 0.5 --cell gru --hidden-size 20").out


def test_every_device_has_a_plan(charloom, shared_folder):
    found = charloom("plan tales.txt --minutes 0.5 --devices cpu,cpu --json").json
    assert [one["device"] for one in found["plans"]] == ["cpu", "cpu"]


def test_a_text_from_a_pipe_is_read_once_for_all_devices(charloom, shared_folder):
    text = (shared_folder / "tales.txt").read_bytes()
    found = charloom("plan - --minutes 0.5 --devices cpu,cpu --json", stdin=text)
    assert found.code == 0, found.err
    assert [one["num_params"] for one in found.json["plans"]] == [found.json["num_params"]] * 2


def test_nothing_is_written(charloom, workspace):
    before = sorted(workspace.rglob("*"))
    assert charloom("plan tales.txt --minutes 0.5 --quiet").code == 0
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "kind", "part"),
    [
        ("plan empty.txt --minutes 2", "DataError", "empty"),
        ("plan short.txt --minutes 2", "DataError", "character"),
        ("plan absent.txt --minutes 2", "DataError", "absent.txt"),
        ("plan tales.txt --minutes 0", "ConfigError", "minutes"),
        ("plan tales.txt --minutes -1", "ConfigError", "minutes"),
        ("plan tales.txt --minutes nan", "ConfigError", "minutes"),
        ("plan tales.txt --devices cpu,,cuda", "UsageError", "name is empty"),
        ("plan tales.txt --devices cpu --device cpu", "UsageError", "both given"),
        ("plan tales.txt --devices abacus", "ConfigError", "abacus"),
    ],
)
def test_what_cannot_be_planned_is_explained(charloom, workspace, words, kind, part):
    (workspace / "empty.txt").write_text("", "utf-8")
    (workspace / "short.txt").write_text("a", "utf-8")
    failed = charloom([*words.split(), "--json"])
    assert failed.code in (1, 2)
    error = failed.json["error"]
    assert error["kind"] == kind
    assert part in f"{error['what']} {error['why']}"
    assert error["fix"]
