"""Write the golden files: run once, at commit 1d74118, before the modules were renamed.

    python tests/golden/make.py FOLDER

`tests/test_golden.py` reads what this wrote. Do not run it again to make a failing test pass: a file that no longer
loads, or gives other bytes, is what the test is there to find.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import charloom
from charloom import jobs
from charloom.modelfile import read_model
from charloom.text.preparation import prepare

CELLS = ("elman", "lstm", "gru", "mingru")
SMALL = {"hidden_size": 12, "embedding_size": 6, "batch_size": 4, "bptt_length": 16, "threads": 1, "seed": 7}
SAMPLE = ["--length", "120", "--temperature", "0.8", "--seed", "11", "--prompt", "The "]


def command(*words: str) -> dict:
    """What a command line printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "charloom", *words, "--json"], capture_output=True, check=True
    )
    return json.loads(done.stdout)


def digest(path: Path) -> str:
    """Of the tensors alone: a card holds times."""
    params = read_model(path).parameters
    return hashlib.sha256(
        b"".join(name.encode() + params[name].tobytes() for name in sorted(params))
    ).hexdigest()


def keys(found: object) -> object:
    """The shape of a JSON object: its keys, to any depth, and nothing of lists but their first element."""
    if isinstance(found, dict):
        return {key: keys(value) for key, value in found.items()}
    return [keys(found[0])] if isinstance(found, list) and found else type(found).__name__


def stop_at(training: object, step: int) -> None:
    """Train up to a checkpoint at or after a step, as Ctrl-C would end it."""
    events = training.events()
    for event in events:
        if getattr(event, "step", 0) >= step:
            events.close()
            return


def main(folder: Path) -> None:
    """Write everything."""
    text = folder / "text.txt"
    expected: dict = {"models": {}, "runs": {}}
    scratch = folder / "scratch"
    for cell in CELLS:
        for block in ("plain", "residual"):
            settings = SMALL | {"cell": cell, "block": block, "steps": 60, "engine": "torch"}
            if block == "residual":
                settings.pop("embedding_size")
            if cell == "lstm" and block == "plain":
                settings |= {"num_layers": 2}
            name = f"{cell}-{block}"
            charloom.train(text, out=scratch / name, **settings)
            path = folder / f"{name}.safetensors"
            shutil.copy(scratch / name / "model.safetensors", path)
            expected["models"][name] = {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "tensors": digest(path),
                "samples": {
                    engine: command("sample", str(path), *SAMPLE, "--engine", engine)["samples"][0]["text"]
                    for engine in ("fused", "scratch", "torch")
                },
                "int8": command("sample", str(path), *SAMPLE, "--precision", "int8")["samples"][0]["text"],
                "eval": command("eval", str(path), str(text))["loss_nats"],
            }
    run = folder
    for name, engine, extra in (
        ("run-torch", "torch", {"cell": "lstm", "optimizer": "adamw", "dropout_output": 0.2}),
        ("run-scratch", "scratch", {"cell": "gru", "optimizer": "adam"}),
        (
            "run-fused",
            "fused",
            {"cell": "elman", "batch_size": 1, "embedding_size": None, "optimizer": "sgd"},
        ),
    ):
        run = folder / name
        training = jobs.begin(
            text, out=run, **SMALL | extra | {"engine": engine, "steps": 60, "validate_every": 10}
        )
        stop_at(training, 30)
        copy = scratch / f"{name}-resumed"
        shutil.copytree(run, copy)
        result = command("train", "--resume", str(copy), "--text", str(text))
        expected["runs"][name] = {
            "tensors": digest(copy / "model.safetensors"),
            "steps": result["steps"],
            "val_loss_nats": result["val_loss_nats"],
        }
    config = json.loads((run / "config.json").read_text())
    expected["config_keys"] = keys(config)
    prepare([str(text)], folder / "text.chars", jobs.TextConfig())
    expected["prepared"] = {"sha256": hashlib.sha256((folder / "text.chars").read_bytes()).hexdigest()}
    model, resumed = folder / "lstm-plain.safetensors", scratch / "run-torch-resumed"
    expected["json_keys"] = {
        "train": keys(result),
        "sample": keys(command("sample", str(model), *SAMPLE)),
        "eval": keys(command("eval", str(model), str(text))),
        "score": keys(command("score", str(model), str(text))),
        "info": keys(command("info", str(model))),
        "inspect": keys(command("inspect", str(resumed), str(text))),
        "explain": keys(command("explain", str(model))),
        "runs": keys(command("runs", str(scratch))),
        "recipes": keys(command("recipes")),
        "doctor": keys(command("doctor")),
    }
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    flags = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), ""
    )
    expected["machine"] = {
        "cpu": cpu,
        "flags_sha256": hashlib.sha256(flags.encode()).hexdigest(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "torch")},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
