"""Use an installed charloom as its users do; run by tests/test_wheel.py with the Python of an environment of its own.

python wheel_smoke.py GOLDEN    in an empty folder; GOLDEN has the golden files, and the checkout is not on the path
"""

import json
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

GOLDEN = Path(sys.argv[-1])
TEXT, TINY = str(GOLDEN / "text.txt"), ["--hidden-size", "12", "--bptt-length", "16", "--dropout-input", "0"]


def run(*words):
    """What a command line printed as JSON."""
    command = [str(Path(sys.executable).with_name("charloom")), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return json.loads(done.stdout)


def check_the_place():
    """The package is the installed one, with its compiled kernels and its data."""
    import charloom
    from charloom.kernels.library import library

    package = Path(charloom.__file__).resolve().parent
    assert package.is_relative_to(Path(sys.prefix).resolve()), package
    assert library() is not None, "there are no compiled kernels"
    assert (package / "py.typed").is_file()
    assert len(run("recipes")["recipes"]) == len(list((package / "recipes" / "named").glob("*.toml")))
    tomllib.loads((package / "reproduce" / "published.toml").read_text("utf-8"))
    assert not any(check["status"] == "fail" for check in run("doctor")["checks"])


def check_golden_models():
    """Old models sample the recorded texts."""
    models = json.loads((GOLDEN / "expected.json").read_text("utf-8"))["models"]
    for name in ("elman-plain", "lstm-plain", "gru-residual", "mingru-residual"):
        expected = models[name]
        words = ["--length", "120", "--temperature", "0.8", "--seed", "11", "--prompt", "The "]
        engines = ["fused", "scratch"] if name == "lstm-plain" else ["fused"]
        for engine in engines:
            found = run("sample", GOLDEN / f"{name}.safetensors", *words, "--engine", engine)
            assert found["samples"][0]["text"] == expected["samples"][engine], (name, engine)


def check_a_training():
    """Prepare, train, resume and read a run."""
    run("prepare", TEXT, "--out", "text.ids")
    how = {
        "scratch": ["--cell", "gru", "--block", "plain", "--num-layers", "1"],
        "fused": ["--cell", "elman", "--block", "plain", "--num-layers", "1", "--embedding-size", "none"],
    }
    if find_spec("torch") is not None:
        how["torch"] = ["--cell", "lstm"]
    for engine, settings in how.items():
        settings = [
            *settings,
            *TINY,
            "--engine",
            engine,
            "--steps",
            "20",
            "--out",
            engine,
            "--dropout-output",
            "0",
        ]
        settings += ["--batch-size", "1" if engine == "fused" else "4"]
        assert run("train", "text.ids", *settings)["steps"] == 20
    assert run("train", "--resume", "scratch", "--steps", "+5")["steps"] == 25
    assert run("eval", "scratch", TEXT)["loss_nats"] > 0
    assert run("score", "scratch", TEXT)
    assert run("info", "fused")["num_params"] > 0
    assert run("runs", ".")


def check_pages():
    """What is written from files of the package: a page that generates, and an inspection."""
    run("export", "scratch", "--html", "page.html")
    assert "WebAssembly" in Path("page.html").read_text("utf-8")
    assert run("inspect", "scratch/model.safetensors", TEXT)["held_out_nats"] > 0
    if find_spec("matplotlib") is not None:
        run("inspect", "scratch", TEXT, "--out", "why")
        assert Path("why/report.html").stat().st_size > 10_000


if __name__ == "__main__":
    for check in (check_the_place, check_golden_models, check_a_training, check_pages):
        check()
        print(check.__name__, flush=True)
