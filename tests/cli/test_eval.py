"""``charloom eval``: protocols, and what the report says first."""

import pytest


@pytest.mark.parametrize("protocol", ["stream", "windows", "dynamic"])
def test_json(charloom, room, protocol):
    line = f"eval runs/tales --protocol {protocol} --json" + " --num-windows 20 --window 32" * (
        protocol == "windows"
    )
    done = charloom(line)
    assert done.code == 0
    result = done.json
    keys = {"schema", "protocol", "chars", "loss_nats", "bits_per_char", "perplexity", "unknown_chars"}
    assert keys <= set(result)
    assert ("window" in result) == (protocol == "windows")
    assert result["protocol"] == protocol
    assert result["unknown_chars"] == 0
    assert charloom(line).json == result  # to the last digit


def test_another_text_and_standard_input(charloom, room):
    named = charloom("eval runs/tales more.txt --json").json
    piped = charloom("eval runs/tales - --json", (room / "more.txt").read_bytes()).json
    assert named == piped
    assert named["chars"] + named["unknown_chars"] == 1999


def test_characters_left_out_are_told_first(charloom, place):
    (place / "greek.txt").write_text("the ξένος " * 20, encoding="utf-8")
    done = charloom("eval runs/tales greek.txt")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("100 characters (50.")
    assert "left out of the figures" in done.out.splitlines()[0]
    assert charloom("eval runs/tales greek.txt --json").json["unknown_chars"] == 100


def test_characters_charged_are_told_first(charloom, place):
    (place / "rare.txt").write_text("a text, ξ and more text of that kind. " * 100 + "ψ", encoding="utf-8")
    assert charloom("train rare.txt --min-count 2 --steps 2 --hidden-size 4 --out run --quiet").code == 0
    (place / "greek.txt").write_text("a ω text", encoding="utf-8")
    assert "charged as <unk>" in charloom("eval run greek.txt").out.splitlines()[0]


def test_a_model_file_needs_a_text(charloom, place):
    done = charloom("eval runs/tales/model.safetensors --json")
    assert done.code == 1
    assert done.json["error"]["kind"] == "RunError"


def test_learning_settings_reach_the_dynamic_protocol(charloom, room):
    slow = charloom("eval runs/tales --protocol dynamic --learning-rate 1e-6 --json").json["loss_nats"]
    fast = charloom("eval runs/tales --protocol dynamic --learning-rate 0.1 --json").json["loss_nats"]
    assert fast < slow - 0.01


def test_another_text_is_read_to_its_end_and_in_its_own_encoding(charloom, place):
    train = [
        "train",
        "tales.txt",
        "--take-chars",
        "3000",
        "--encoding",
        "utf-8",
        "--steps",
        "2",
        "--out",
        "short",
    ]
    assert charloom([*train, "--hidden-size", "8", "--batch-size", "2", "--threads", "1"]).code == 0
    text = (place / "more.txt").read_text("utf-8").replace("—", "-") * 3
    (place / "wide.txt").write_bytes(text.encode("utf-16"))
    scored = charloom("eval short wide.txt --json").json
    assert scored["chars"] + scored["unknown_chars"] == len(text) - 1
