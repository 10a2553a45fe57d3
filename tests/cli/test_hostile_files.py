"""Hostile run folders, models and recipes: an explanation and exit code 1, and nothing that a terminal would obey."""

import json
import struct

import pytest

from charloom.modelfile import read_header, read_model, write_tensors

ESCAPE, OVERRIDE = "\x1b]0;owned\x07\x1b[31m", "\u202edetrevni"
DEEP = "[" * 100_000


def explained(done):
    assert done.code == 1, done.out
    assert "Traceback" not in done.err
    assert "did not expect this failure" not in done.err
    assert "error: " in done.err
    assert "  fix: " in done.err
    return done.err


def with_card(path, card):
    """Replace the card of a model file."""
    _, metadata = read_header(path)
    parameters = read_model(path).parameters
    write_tensors(path, parameters, metadata | {"card": card if isinstance(card, str) else json.dumps(card)})


@pytest.mark.parametrize(
    "card",
    [
        {"sample": "x"},
        {"sample": {"prompt": 3}},
        {"train": []},
        {"results": []},
        {"results": {"steps": "many"}},
        {"results": {"verdicts": [{"kind": 1, "says": "x"}]}},
        {"results": {"facts": {"history": [[1]]}}},
        {"corpus": {"num_chars": "x"}},
        {"created": 5},
        DEEP,
        "1" * 5000,
    ],
    ids=lambda card: str(card)[:40],
)
@pytest.mark.parametrize("verb", ["info", "sample", "eval", "inspect", "export"])
def test_a_card_of_the_wrong_types(charloom, workspace, verb, card):
    with_card(workspace / "runs" / "tales" / "model.safetensors", card)
    more = {"eval": ["more.txt"], "export": ["--card", "card.md"]}.get(verb, [])
    said = explained(charloom([verb, "runs/tales", *more, "--quiet"]))
    assert "model.safetensors" in said


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("train"),
        lambda config: config.pop("corpus"),
        lambda config: config["train"].update(bptt_length=False),
        lambda config: config["train"].update(learning_rate="none"),
        lambda config: config.update(model=[]),
        lambda config: config.update(results=[]),
        lambda config: config["results"].update(steps="4"),
        lambda config: config["results"]["verdicts"].append("well"),
        lambda config: config["corpus"].update(sources="tales.txt"),
        lambda config: config["corpus"].update(num_chars=-3),
    ],
    ids=range(10),
)
def test_a_configuration_of_the_wrong_types(charloom, workspace, change):
    path = workspace / "runs" / "tales" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")
    for words in ("train --resume runs/tales --steps +1", "train tales.txt --recipe runs/tales --out again"):
        said = explained(charloom(words))
        assert "config.json" in said or "bptt_length" in said or "learning_rate" in said


@pytest.mark.parametrize("text", ["", "{", DEEP, "[]", "null", "1" * 5000, '{"a": 1, "a": 2}'], ids=range(7))
def test_a_configuration_that_is_not_an_object(charloom, workspace, text):
    (workspace / "runs" / "tales" / "config.json").write_text(text, encoding="utf-8")
    assert "config.json" in explained(charloom("train --resume runs/tales --steps +1"))
    assert "config.json" in explained(charloom("compare runs/tales"))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "x"},
        {"loss": [1.0] * 9},
        {"grad_norm": [None]},
        {"step": "5"},
        {"step": -1},
        {"learning_rate": []},
    ],
    ids=str,
)
def test_an_event_of_the_wrong_types(charloom, workspace, change):
    path = workspace / "runs" / "tales" / "events.jsonl"
    lines = path.read_text("utf-8").splitlines()
    number = next(i for i, line in enumerate(lines) if '"progress"' in line)
    lines[number] = json.dumps(json.loads(lines[number]) | change)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for words in ("inspect runs/tales --quiet", "train --resume runs/tales --steps +1", "compare runs/tales"):
        said = explained(charloom(words))
        assert f"line {number + 1} of" in said
        assert "events.jsonl" in said


@pytest.mark.parametrize(
    "toml",
    [
        "sample = []",
        "train = 3",
        "model = 'lstm'",
        "about = 5",
        "as_published = []",
        "[sample]\nprompt = 1",
        "[sample]\ntemperature = 'x'",
        "[train]\nepochs = 1e308",
        "[train]\nsteps = 'many'",
        "[train]\nsteps = 1e308",
        "[train]\nlearning_rate = nan",
        "[train]\nsteps = " + "1" * 5000,
        "a." * 100_000 + "b = 1",
        "a = " + DEEP,
        f"'{'k' * 200_000}' = 1",
        "[model]\nhidden_size = true",
    ],
    ids=lambda toml: toml[:24],
)
def test_a_recipe_of_the_wrong_types(charloom, workspace, toml):
    (workspace / "mine.toml").write_text(toml, encoding="utf-8")
    said = explained(charloom("train tales.txt --recipe mine.toml --out again"))
    assert len(said) < 2000
    assert not (workspace / "again").exists()


@pytest.mark.parametrize(
    "name", ["r" * 300, "a\x00b", "\x1b[31m", "x/" * 3000], ids=["long", "nul", "escape", "deep"]
)
def test_a_recipe_with_a_name_that_no_file_can_have(charloom, workspace, name):
    said = explained(charloom(["train", "tales.txt", "--recipe", name]))
    assert "\x1b[31m" not in said


def test_no_text_of_a_card_reaches_the_terminal_as_it_is(charloom, workspace):
    path = workspace / "runs" / "tales" / "model.safetensors"
    with_card(
        path,
        {
            "created": ESCAPE,
            "recipe": OVERRIDE,
            "corpus": {"name": ESCAPE + OVERRIDE},
            "versions": {ESCAPE: 1},
        },
    )
    done = charloom(["info", str(path)])
    assert done.code == 0
    assert "owned" in done.out
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err)


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1])
def test_a_header_that_announces_an_impossible_length(charloom, workspace, length):
    path = workspace / "runs" / "tales" / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert "safetensors header" in explained(charloom(["info", str(path)]))


@pytest.mark.parametrize(
    "text", [DEEP, '{"pid": 1e300}', '{"pid": -1}', "", "[]", '{"pid": 99999999999999999999}']
)
def test_a_lock_that_charloom_did_not_write_is_taken_over(charloom, workspace, text):
    (workspace / "runs" / "tales" / "lock").write_text(text, encoding="utf-8")
    assert charloom("train --resume runs/tales --steps +1 --quiet").code == 0
