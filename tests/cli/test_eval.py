"""``charloom eval``: protocols, texts and unknown characters."""

import pytest


@pytest.mark.parametrize("protocol", ["stream", "windows", "dynamic"])
def test_json(charloom, shared_folder, protocol):
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
    assert result["bits_per_byte"] == pytest.approx(result["bits_per_char"])  # the text is ASCII
    assert result["unknown_chars"] == 0
    assert charloom(line).json == result  # to the last digit


def test_another_text_and_standard_input(charloom, shared_folder):
    named = charloom("eval runs/tales more.txt --json").json
    piped = charloom("eval runs/tales - --json", (shared_folder / "more.txt").read_bytes()).json
    assert named == piped
    assert named["chars"] == 1999


def test_unknown_characters_are_charged_and_reported_first(charloom, workspace):
    (workspace / "greek.txt").write_text("the ξένος " * 20, encoding="utf-8")
    done = charloom("eval runs/tales greek.txt")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("100 characters (50.")
    assert "charged 40.1 bits each" in done.out.splitlines()[0]
    result = charloom("eval runs/tales greek.txt --json").json
    assert (result["unknown_chars"], result["chars"]) == (100, 199)
    assert result["bits_per_char"] > 100 * 40.08 / 199


def test_every_protocol_charges_unknown_characters(charloom, workspace):
    known = "the two and the other " * 20
    (workspace / "known.txt").write_text(known, encoding="utf-8")
    (workspace / "mixed.txt").write_text("".join(f"ξ{char}" for char in known), encoding="utf-8")
    for protocol in ("stream", "windows --window 32 --num-windows 50", "dynamic"):
        plain, mixed = (
            charloom(f"eval runs/tales {name}.txt --protocol {protocol} --json").json
            for name in ("known", "mixed")
        )
        num = len(known)  # each character is doubled by an unknown one, and the first is not charged
        expected = (plain["bits_per_char"] * (num - 1) + num * 40.0848) / (2 * num - 1)
        assert mixed["bits_per_char"] == pytest.approx(expected, rel=1e-4)
        assert mixed["unknown_chars"] == num


def test_a_text_without_a_known_character_costs_its_charge(charloom, workspace):
    (workspace / "greek.txt").write_text("ξένος", encoding="utf-8")
    result = charloom("eval runs/tales greek.txt --json").json
    assert result["chars"] == 5
    assert result["bits_per_char"] == pytest.approx(40.08, abs=0.01)
    assert charloom("eval runs/tales greek.txt --protocol windows").code == 1


def test_unk_in_the_runs_own_part_is_counted(charloom, workspace):
    (workspace / "rare.txt").write_text(
        "a text of some kind. " * 50 + "ξ" + " and so on" * 5, encoding="utf-8"
    )
    assert charloom("train rare.txt --min-count 2 --steps 2 --hidden-size 4 --out run --quiet").code == 0
    done = charloom("eval run")
    assert done.out.splitlines()[0].startswith("1 character (")
    assert "its own probability only, as in training" in done.out.splitlines()[0]


def test_perplexity_is_per_character(charloom, shared_folder):
    assert charloom("eval runs/names").out.splitlines()[-1].endswith(" per character")


def test_characters_charged_as_unk_are_reported_first(charloom, workspace):
    (workspace / "rare.txt").write_text(
        "a text, ξ and more text of that kind. " * 100 + "ψ", encoding="utf-8"
    )
    assert charloom("train rare.txt --min-count 2 --steps 2 --hidden-size 4 --out run --quiet").code == 0
    (workspace / "greek.txt").write_text("a ω text", encoding="utf-8")
    first = charloom("eval run greek.txt").out.splitlines()[0]
    assert "charged as <unk> and 20.1 bits each for which character it is" in first


def test_a_model_file_needs_a_text(charloom, workspace):
    done = charloom("eval runs/tales/model.safetensors --json")
    assert done.code == 1
    assert done.json["error"]["kind"] == "RunError"


def test_training_settings_apply_to_the_dynamic_protocol(charloom, shared_folder):
    slow = charloom("eval runs/tales --protocol dynamic --learning-rate 1e-6 --json").json["loss_nats"]
    fast = charloom("eval runs/tales --protocol dynamic --learning-rate 0.1 --json").json["loss_nats"]
    assert fast < slow - 0.01


def test_another_text_is_read_completely_and_in_its_own_encoding(charloom, workspace):
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
    text = (workspace / "more.txt").read_text("utf-8").replace("—", "-") * 3
    (workspace / "wide.txt").write_bytes(text.encode("utf-16"))
    scored = charloom("eval short wide.txt --json").json
    assert scored["chars"] == len(text) - 1


def test_bits_per_byte_are_printed_beside_bits_per_character(charloom, workspace):
    (workspace / "greek.txt").write_text("ξένος φίλος\n" * 300, encoding="utf-8")
    done = charloom("train greek.txt --steps 2 --hidden-size 4 --out run")
    assert " bits/byte, stream protocol" in done.out
    out = charloom("eval run").out
    (line,) = (line for line in out.splitlines() if "bits/byte" in line)
    bits, per_byte = (float(out.partition(f"bits/{unit}")[2].split()[0]) for unit in ("char", "byte"))
    assert per_byte == pytest.approx(bits / 1.833, rel=1e-3)
    assert line.endswith("(1.833 UTF-8 bytes per character, normalised)")
    assert charloom("train greek.txt --unit byte --steps 2 --hidden-size 4 --out bytes --quiet").code == 0
    assert charloom("eval bytes").out.count("bits/byte") == 1
