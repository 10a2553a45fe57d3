"""Files written at commit 1d74118 still load, resume and sample the same bytes.

On the machine and with the versions that wrote them every bit is compared; elsewhere a resumed run's loss, within what another
processor's order of sums can move in thirty updates.
"""

import hashlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from charloom import api
from charloom.cli import main
from charloom.config import TextConfig
from charloom.modelfile import read_model
from charloom.text import read_corpus

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
SAMPLING = {"length": 120, "temperature": 0.8, "seed": 11}
OTHER_MACHINE_NATS = 1e-3


@pytest.fixture
def json_of(capsys):
    """Run a command line in this process and read the one JSON object that it prints."""

    def run(*words):
        capsys.readouterr()
        code = main([*words, "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return run


def same_machine():
    recorded = EXPECTED["machine"]
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().splitlines() if cpu.is_file() else []
    flags = next((line for line in flags if line.startswith("flags")), "")
    return (
        hashlib.sha256(flags.encode()).hexdigest() == recorded["flags_sha256"]
        and platform.python_version() == recorded["python"]
        and all(version(name) == known for name, known in recorded["versions"].items())
    )


def tensors_sha256(path):
    params = read_model(path).parameters
    return hashlib.sha256(b"".join(n.encode() + params[n].tobytes() for n in sorted(params))).hexdigest()


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_golden_model_has_the_recorded_tensors(name):
    path, expected = GOLDEN / f"{name}.safetensors", EXPECTED["models"][name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected["sha256"], "a golden file was changed"
    assert tensors_sha256(path) == expected["tensors"]


@pytest.mark.parametrize("engine", ["fused", "scratch", "torch"])
@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_golden_model_samples_the_recorded_text(name, engine):
    model = api.load(GOLDEN / f"{name}.safetensors")
    (written,) = model.sample("The ", engine=engine, **SAMPLING)
    assert written.text == EXPECTED["models"][name]["samples"][engine]


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_golden_model_samples_the_recorded_text_in_int8(name):
    model = api.load(GOLDEN / f"{name}.safetensors")
    (written,) = model.sample("The ", precision="int8", **SAMPLING)
    assert written.text == EXPECTED["models"][name]["int8"]


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_golden_model_has_the_recorded_loss(name):
    score = api.load(GOLDEN / f"{name}.safetensors").evaluate(GOLDEN / "text.txt")
    assert score.loss_nats == pytest.approx(EXPECTED["models"][name]["eval"], rel=1e-6)


@pytest.mark.parametrize("name", EXPECTED["runs"])
def test_a_golden_run_resumes_to_the_recorded_end(name, tmp_path, json_of):
    run = shutil.copytree(GOLDEN / name, tmp_path / name)
    found = json_of("train", "--resume", str(run), "--text", str(GOLDEN / "text.txt"))
    expected = EXPECTED["runs"][name]
    assert found["steps"] == expected["steps"]
    assert found["val_loss_nats"] == pytest.approx(expected["val_loss_nats"], abs=OTHER_MACHINE_NATS)
    if same_machine():
        assert tensors_sha256(run / "model.safetensors") == expected["tensors"]


def test_the_golden_prepared_corpus_is_the_text():
    path = GOLDEN / "text.chars"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == EXPECTED["prepared"]["sha256"]
    prepared, read = (read_corpus([str(p)], TextConfig()) for p in (path, GOLDEN / "text.txt"))
    assert prepared.sha256 == read.sha256
    assert prepared.vocab.decode(prepared.train) == read.vocab.decode(read.train)
    assert prepared.vocab.decode(prepared.validation) == read.vocab.decode(read.validation)


def shape(found):
    """A JSON object's keys, to any depth, and of a list those of its first element."""
    if isinstance(found, dict):
        return {key: shape(value) for key, value in found.items()}
    return [shape(found[0])] if isinstance(found, list) and found else type(found).__name__


MODEL, TEXT = str(GOLDEN / "lstm-plain.safetensors"), str(GOLDEN / "text.txt")
COMMANDS = {
    "sample": ["sample", MODEL, "--prompt", "The ", "--length", "20"],
    "eval": ["eval", MODEL, TEXT],
    "score": ["score", MODEL, TEXT],
    "info": ["info", MODEL],
    "explain": ["explain", MODEL],
    "recipes": ["recipes"],
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_json_of_a_verb_keeps_its_keys(verb, json_of):
    found, expected = shape(json_of(*COMMANDS[verb])), EXPECTED["json_keys"][verb]
    assert missing(expected, found) == []


def missing(expected, found, path="$"):
    """The JSON paths that `found` lacks; it may have more."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [path]
        return [
            gone
            for key, inner in expected.items()
            for gone in (
                [f"{path}.{key}"] if key not in found else missing(inner, found[key], f"{path}.{key}")
            )
        ]
    if isinstance(expected, list) and isinstance(found, list):
        return missing(expected[0], found[0], f"{path}[0]") if expected and found else []
    return []


def test_a_missing_key_is_found():
    assert missing({"a": {"b": "int"}}, {"a": {}}) == ["$.a.b"]
