"""Memory: how much is free, what each verb says it needs, how close that is to measured peaks, and the refusal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charloom import memory
from charloom.cli import main
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.errors import OutOfMemoryError
from charloom.insight.need import inspecting_need
from charloom.memory import Need, free_bytes
from charloom.serve.limits import Limits
from charloom.serve.need import serving_need
from charloom.text.inputs import builtin_text
from charloom.text.reading_need import preparing_need, reading_need
from charloom.training.memory_need import training_need
from tests.golden import __file__ as golden

GOLDEN = Path(golden).parent
LOW, HIGH = 0.75, 1.5
"""A measured peak is within these multiples of the estimate, give or take `NOISE`: it is an estimate, not a bound."""

NOISE = 48_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read in /proc")


# -------------------------------------------------------------------------------------------------- what is free


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write files of /proc and /sys/fs/cgroup that the module then reads."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")

    def write(files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="ascii")

    write({"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:  8000 kB\n"})
    return write


def group(folder, most, used, inactive):
    return {
        f"{folder}/memory.max": most,
        f"{folder}/memory.current": str(used),
        f"{folder}/memory.stat": f"anon 1\ninactive_file {inactive}\n",
    }


def test_the_machine_alone(system):
    assert free_bytes() == 8000 * 1024


def test_a_control_group_leaves_less_and_files_that_were_read_do_not_count(system):
    system({"proc/self/cgroup": "0::/a/b\n", **group("cgroup/a/b", "5000000", 3_000_000, 500_000)})
    assert free_bytes() == 2_500_000


def test_the_tightest_group_on_the_way_up_counts(system):
    system({"proc/self/cgroup": "0::/a/b\n", **group("cgroup/a/b", "max", 3_000_000, 0)})
    assert free_bytes() == 8000 * 1024
    system(group("cgroup/a", "4000000", 3_000_000, 0))
    assert free_bytes() == 1_000_000


def test_control_groups_of_version_1(system):
    files = {
        "memory.limit_in_bytes": "3000000",
        "memory.usage_in_bytes": "1000000",
        "memory.stat": "total_inactive_file 5\n",
    }
    system(
        {"proc/self/cgroup": "4:cpu:/x\n7:memory:/y\n"}
        | {f"cgroup/memory/y/{k}": v for k, v in files.items()}
    )
    assert free_bytes() == 2_000_005
    system({"cgroup/memory/y/memory.limit_in_bytes": "9223372036854771712"})
    assert free_bytes() == 8000 * 1024


@linux
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_counts(limit):
    code = f"import resource; resource.setrlimit(resource.{limit}, (1 << 30, 1 << 30)); from charloom.memory import free_bytes; print(free_bytes())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(found.stdout) < 1 << 30


# -------------------------------------------------------------------------------------------------- the refusal


def test_a_refusal_has_the_arithmetic_and_the_setting_of_the_largest_part():
    need = Need(
        "the training", {"weights": 5_000_000, "window": 3_000_000_000}, {"window": "lower --batch-size"}
    )
    need.check(free=need.total)
    with pytest.raises(OutOfMemoryError) as refused:
        need.check(free=need.total - 1)
    assert refused.value.what == "the training needs about 3.0 GB of memory and 3.0 GB are free"
    assert refused.value.why == "window 3.0 GB + weights 5.0 MB"
    assert refused.value.fix == "lower --batch-size"


@pytest.fixture
def tales(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tales.txt").write_bytes((GOLDEN / "text.txt").read_bytes())
    (tmp_path / "long.txt").write_bytes(b"a line of text\n" * 300_000)


MODEL = str(GOLDEN / "lstm-plain.safetensors")
REFUSED = {
    "train": (["train", "tales.txt", "--hidden-size", "3000", "--cell", "lstm", "--steps", "1"], 300, "weights ", "--hidden-size"),
    "read": (["train", "long.txt", "--steps", "1"], 20, "texts ", "charloom prepare TEXT"),
    "prepare": (["prepare", "tales.txt", "--out", "x.ids"], 50, "fixed ", "free memory"),
    "serve": (["serve", MODEL, "--port", "0"], 50, "texts ", "--parallel"),
    "inspect": (["inspect", MODEL, "tales.txt"], 5, "gradients ", "smaller model"),
}  # fmt: skip


@pytest.mark.parametrize("verb", REFUSED)
def test_a_verb_refuses_what_does_not_fit_before_it_leaves_anything(verb, tales, monkeypatch, capsys):
    words, free_mb, part, fix = REFUSED[verb]
    monkeypatch.setattr(memory, "free_bytes", lambda: free_mb * 1_000_000)
    before = set(Path().iterdir())
    assert main([*words, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "OutOfMemoryError"
    assert f"and {free_mb}.0 MB are free" in error["what"]
    assert part in error["why"]
    assert fix in error["fix"]
    assert [path for path in set(Path().rglob("*")) - before if path.is_file()] == []


def test_a_training_says_what_it_takes(tales, capsys):
    words = [
        "train",
        "tales.txt",
        "--steps",
        "2",
        "--hidden-size",
        "8",
        "--batch-size",
        "2",
        "--bptt-length",
        "8",
    ]
    assert main([*words, "--out", "run"]) == 0
    (line,) = (one for one in capsys.readouterr().err.splitlines() if one.startswith("memory: "))
    assert "free: report " in line
    (started,) = (
        json.loads(one) for one in Path("run/events.jsonl").read_text().splitlines() if '"started"' in one
    )
    assert started["memory"]["report"] > 0


# -------------------------------------------------------------------------------------------------- estimates and peaks

PEAK = """
import sys
def sizes(): return {l.split(":")[0]: 1024 * int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(("VmRSS", "VmHWM"))}
%s
before = sizes()["VmRSS"]
open("/proc/self/clear_refs", "w").write("5")
%s
print(sizes()["VmHWM"] - before)
"""


def peak(setup, act):
    """How far the peak of a process is above what it had before an act."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK % (setup, act)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def is_close(measured, estimated):
    print(f"measured {measured / 1e6:.0f} MB, estimated {estimated / 1e6:.0f} MB")
    return LOW * estimated - NOISE <= measured <= HIGH * estimated + NOISE


TRAINING = """
import torch
from pathlib import Path
from charloom.config import ModelConfig, TextConfig, TrainConfig
from charloom.runs import Run
from charloom.text import corpus_from_text
from charloom.text.inputs import builtin_text
from charloom.training import train
import tempfile
corpus = corpus_from_text(builtin_text()[:300_000])
run = Run.create(Path(tempfile.mkdtemp()) / "run", {})
"""

CASES = {
    "lstm": ({"cell": "lstm", "hidden_size": 256}, {"batch_size": 192, "bptt_length": 128}),
    "wide": ({"cell": "lstm", "hidden_size": 1200}, {"batch_size": 2, "bptt_length": 8}),
    "gru": ({"cell": "gru", "hidden_size": 256}, {"batch_size": 192, "bptt_length": 128}),
    "elman-float64": ({"cell": "elman", "hidden_size": 256}, {"batch_size": 192, "bptt_length": 128, "precision": "float64"}),
    "mingru-residual": ({"cell": "mingru", "hidden_size": 192, "block": "residual", "num_layers": 2}, {"batch_size": 64, "bptt_length": 128}),
    "lstm-residual": ({"cell": "lstm", "hidden_size": 192, "block": "residual"}, {"batch_size": 64, "bptt_length": 128, "optimizer": "muon"}),
    "scratch": ({"cell": "lstm", "hidden_size": 128}, {"batch_size": 128, "bptt_length": 64, "engine": "scratch"}),
}  # fmt: skip


def training_is_close(name):
    model, training = CASES[name]
    training = {"steps": 3, "threads": 2, "device": "cpu", **training}
    text = builtin_text()[:300_000]
    act = f"list(train(corpus, ModelConfig(**{model!r}), TrainConfig(**{training!r}), run))"
    measured = peak(TRAINING, act)
    chars, vocab_size = len(text), len(set(text))
    need = training_need(
        ModelConfig(**model),
        TrainConfig(**training),
        vocab_size=vocab_size,
        train_chars=chars,
        held_out_chars=chars // 10,
        num_threads=2,
    )
    return is_close(measured, need.total)


@linux
def test_the_peak_of_a_training_is_close_to_its_estimate():
    assert training_is_close("lstm")


@linux
@pytest.mark.reliability
def test_the_peaks_of_trainings_are_close_to_their_estimates(attacks):
    far = [name for name in CASES if not training_is_close(name)]
    attacks.count("memory estimates", len(CASES), losses=len(far))


@linux
def test_the_peaks_of_reading_and_preparing_are_close_to_their_estimates(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(
        (GOLDEN / "text.txt").read_bytes() * (20_000_000 // (GOLDEN / "text.txt").stat().st_size)
    )
    setup = "from charloom.text import read_corpus, prepare; from charloom.config import TextConfig"
    read = peak(setup, f"corpus = read_corpus([{str(text)!r}], TextConfig())")
    assert is_close(read, reading_need([text], TextConfig()).total)
    prepared = peak(setup, f"prepare([{str(text)!r}], {str(tmp_path / 'ids')!r})")
    assert is_close(prepared, preparing_need([text], TextConfig()).total)
    assert preparing_need([text], TextConfig(documents="line", split="random")).total > 100_000_000


@linux
@pytest.mark.reliability
def test_the_peaks_of_a_server_and_an_inspection_are_close_to_their_estimates(attacks):
    file = GOLDEN / "gru-residual.safetensors"
    load = f"models = load_models([{str(file)!r}])"
    need = serving_need([file], Limits())
    measured = peak("from charloom.serve.served_model import load_models", load)
    assert measured < need.parts["weights"] + need.parts["libraries"]
    setup = f"from pathlib import Path; from charloom.insight.inspection import inspect; from charloom.modelfile import read_model; model = read_model(Path({str(GOLDEN / 'lstm-plain.safetensors')!r})); text = open({str(GOLDEN / 'text.txt')!r}).read()"
    inspected = peak(setup, "inspect(model, text)")
    assert is_close(
        inspected, inspecting_need(ModelConfig(cell="lstm", hidden_size=12, num_layers=2), 60, 0).total
    )
    attacks.count("memory estimates", 2)


def test_the_rows_of_a_server_grow_with_its_limits():
    few, many = (
        serving_need([GOLDEN / "lstm-plain.safetensors"], Limits(parallel=n, queue=0)).parts["texts"]
        for n in (1, 64)
    )
    assert many == 64 * few
