"""The portable kernels everywhere: the same bits at every level here, on aarch64 in an emulator, and in WebAssembly.

The x86-64 driver has undefined-behaviour checks, and the arrays of every driver end at pages that must not be touched,
so these tests are also those of the sanitised build.
"""

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from charloom.config import ModelConfig
from charloom.engines import SamplingParams
from charloom.engines.fused.image import to_image
from charloom.engines.fused.model import FusedModel
from charloom.engines.fused.packing import pack
from charloom.generation.prefill import prefill_batch
from charloom.kernels.library import CELLS, library

from ..engines.cases import random_parameters
from .calls import Call, Struct, run_here, run_in

V, N, WINDOW = 37, 70, 5
LEVELS = library().levels if library() is not None else ()
PLACES = ["x86-64", "aarch64-base", "aarch64-dotprod", "wasm"]
HERE = "linux-aarch64" if platform.machine() == "aarch64" else "linux-x86_64"
RUN = Path(__file__).parent / "wasm" / "run.mjs"

CONFIGS = {
    "lstm": ModelConfig(cell="lstm", hidden_size=40, num_layers=2),
    "gru": ModelConfig(cell="gru", hidden_size=24, num_layers=2, embedding_size=9),
    "elman": ModelConfig(cell="elman", hidden_size=33),
    "mingru": ModelConfig(cell="mingru", block="residual", hidden_size=24, num_layers=2, conv_width=3),
    "lstm-residual": ModelConfig(cell="lstm", block="residual", hidden_size=18, mlp_ratio=0),
}
RULES = {
    "temperature": SamplingParams(5, temperature=0.8),
    "top-k": SamplingParams(2**63 + 7, top_k=5, repetition_penalty=1.3),
    "top-p": SamplingParams(6, temperature=1.2, top_p=0.9, min_p=0.01, end_id=3),
    "greedy": SamplingParams(0, temperature=0.0, repetition_penalty=1.1),
}
PROMPT = np.random.default_rng(1).integers(0, V, 40)


@pytest.fixture(scope="module")
def places(driver, wasm_module):
    """A function: the name of a place → the command line that writes text there."""

    def command(name):
        if name == "x86-64":
            return driver(HERE, "base", sanitize=True)
        if name == "wasm":
            if (node := shutil.which("node")) is None:
                pytest.skip("node is not installed, and it runs the WebAssembly module")
            return [node, str(RUN), str(wasm_module)]
        return driver("linux-aarch64", name.removeprefix("aarch64-"))

    return command


def portable_model(params, config, precision, level):
    model = FusedModel(params, config, precision=precision)
    functions = library()._replace(level=level)
    model._read_window, model._decode, model._nats = (
        functions.function(name, "portable") for name in ("read_window", "decode", "nats_of_targets")
    )
    return model


def bits(numbers):
    numbers = np.ascontiguousarray(numbers)
    return " ".join(f"{word:0{2 * numbers.itemsize}x}" for word in numbers.view(f"u{numbers.itemsize}"))


def written_here(model, rule):
    """Ids, log-probabilities, last logits and losses, as the driver prints them."""
    rows = prefill_batch(model, [PROMPT], [3], WINDOW if rule.repetition_penalty else 0)
    found = model.decode(rows, rule, N, log_probs=True)
    n = int(found.lengths[0])
    whole = np.concatenate([PROMPT, found.ids[0, :n]])
    logits, _ = model.forward(whole[None, :-1], model.initial_state(1))
    nats = np.empty(len(whole) - 1, np.float32)
    model._nats(logits.ctypes.data, whole[1:].copy().ctypes.data, nats.ctypes.data, len(nats), V)
    ids = " ".join(map(str, found.ids[0, :n]))
    return [ids, bits(found.log_probs[0, :n]), bits(found.after.logits[0]), bits(nats)]


def case(rule):
    """A line of a file of cases."""
    numbers = [
        rule.seed & 0xFFFFFFFF,
        rule.seed >> 32,
        rule.temperature,
        rule.top_k or V,
        rule.top_p or 1.0,
        rule.min_p or 0.0,
        rule.repetition_penalty or 1.0,
        -1 if rule.end_id is None else rule.end_id,
        3,
        WINDOW if rule.repetition_penalty else 0,
        N,
    ]
    return " ".join(map(repr, [*numbers, *PROMPT.tolist()]))


def written_there(command, image, folder):
    write_files(image, folder)
    done = subprocess.run(
        [*command, "write", folder / "image", folder / "cases"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {name: lines[4 * i : 4 * i + 4] for i, name in enumerate(RULES)}


def write_files(image, folder):
    (folder / "cases").write_text("".join(f"{case(rule)}\n" for rule in RULES.values()))
    (folder / "image").write_bytes(image)


def network(name, precision):
    config = CONFIGS[name]
    params = random_parameters(config, np.random.default_rng(0), V, scale=0.3)
    return params, config, pack(params, config, dtype=np.dtype(np.float32), int8=precision == "int8")


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("place", PLACES)
def test_text_is_the_same_bit_for_bit(place, name, precision, places, tmp_path):
    command = places(place)
    params, config, net = network(name, precision)
    there = written_there(command, to_image(net), tmp_path)
    for level in LEVELS:
        model = portable_model(params, config, precision, level)
        for rule in RULES:
            assert written_here(model, RULES[rule]) == there[rule], (level, rule)
    assert len({tuple(lines) for lines in there.values()}) == len(RULES)


def window_of(cell, rng, T=4, B=3, H=18):
    """Forward and backward passes of a recurrent cell, with resets."""

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    gates = {"elman": 1, "lstm": 4, "gru": 3}[cell] * H
    shape = {"cell": CELLS[cell], "activation": 0, "T": T, "B": B, "H": H, "gates": gates, "gemm": True}
    inputs = {
        "x": draw(7, gates),
        "bias": draw(gates),
        "bias_hn": draw(H),
        "rows": rng.integers(0, 7, (T, B)),
        "resets": (rng.random((T, B)) < 0.3).view(np.uint8),
    }
    states = {"h": draw(T + 1, B, H), "c": draw(T + 1, B, H), "reset_h": draw(B, H), "reset_c": draw(B, H)}
    kept = {name: np.zeros((T, B, H), np.float32) for name in ("read_h", "read_c", "m")}
    kept["kept"] = np.zeros((T, B, gates), np.float32)
    w = draw(gates, H) * np.float32(0.3)
    both = shape | {key: inputs[key] for key in ("rows", "resets")} | states | kept
    room = np.zeros((B, gates), np.float32)
    forward = both | inputs | {"w": w.T.copy(), "w_stride": gates, "room": room}
    backward = both | {
        "w": w,
        "w_stride": H,
        "room": room,
        "d_h": draw(T, B, H),
        "carried": draw(B, H),
        "d_c": draw(B, H),
        "d_a": np.zeros((T, B, gates), np.float32),
        "d_u": np.zeros((T, B, gates), np.float32),
        "d_bias": draw(gates),
        "d_x": draw(7, gates),
    }
    if cell != "gru":
        backward["d_u"] = backward["d_a"]
    return [
        Call("rnn_forward", (Struct("Window", forward),)),
        Call("rnn_backward", (Struct("Window", backward),)),
    ]


def residual_block(rng, T=5, B=3, D=37, K=3):
    """Norm, convolution, gated MLP and minGRU, forward and backward."""

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def zeros(*shape):
        return np.zeros(shape, np.float32)

    resets = (rng.random((T, B)) < 0.3).view(np.uint8)
    both = {"T": T, "B": B, "D": D, "K": K, "resets": resets, "age": np.full(B, K - 1)}
    both |= {"x": draw(T, B, D), "gain": draw(D), "taps": draw(K, D), "v": draw(K - 1 + T, B, D)}
    both |= {"scales": zeros(T, B)}
    forward = Struct("Convolution", both | {"bias": draw(D), "u": zeros(T, B, D)})
    gradients = {"d_u": draw(T, B, D), "d_v": draw(K - 1 + T, B, D), "d_x": zeros(T, B, D)}
    gradients |= {"d_gain": draw(D), "d_taps": draw(K, D), "d_bias": draw(D)}
    scan = {"T": T, "B": B, "H": D, "resets": resets, "h0": draw(B, D), "reset_state": draw(B, D)}
    scan |= {name: zeros(T, B, D) for name in ("z", "n", "h")}
    back = {"d_h": draw(T, B, D), "carried": draw(B, D), "d_a": zeros(T, B, 2 * D), "d_bias": draw(2 * D)}
    x, gain, scales = draw(T, D), draw(D), zeros(T)
    return [
        Call("norm_conv_forward", (forward,)),
        Call("norm_conv_backward", (Struct("Convolution", both | gradients),)),
        Call("mingru_forward", (Struct("Scan", scan | {"a": draw(T, B, 2 * D), "bias": draw(2 * D)}),)),
        Call("mingru_backward", (Struct("Scan", scan | back | {"room": zeros(2 * D)}),)),
        Call("norm_forward", (x, gain, zeros(T, D), scales, T, D)),
        Call("norm_backward", (x, gain, scales, draw(T, D), zeros(T, D), draw(D), zeros(D), T, D)),
        Call("swiglu_forward", (draw(50), draw(50), zeros(50), 50)),
        Call("swiglu_backward", (draw(50), draw(50), draw(50), zeros(50), zeros(50), 50)),
    ]


def scan_and_masks(rng, B=2, T=6, H=19):
    """The linear recurrence, random words and dropout, and φ."""
    keep, update, d_h, h, d_keep, d_update = rng.normal(size=(6, B, T, H)).astype(np.float32)
    h0, d_h0 = rng.normal(size=(2, B, H)).astype(np.float32)
    x, y = rng.normal(size=(T, B, H)).astype(np.float32), np.zeros((T, B, H), np.float32)
    halves = rng.integers(0, 65536, (B, T * H)).astype(np.uint16)
    words, lanes = np.zeros((B, 16), np.uint32), np.arange(B, dtype=np.uint32)
    return [
        Call("scan_forward", (keep, update, h0, h, B, T, H)),
        Call("scan_backward", (keep, h0, h, d_h, d_keep, d_update, d_h0, B, T, H)),
        Call("random_words", (words, 2**32 - 1, 7, lanes, B, 2**31 + 5, 1, 16)),
        Call("drop", (x, halves, T * H, H, 30000, 1.8, y, T, B, H)),
        Call("drop", (x, halves, T * H, 1, 30000, 1.8, y, T, B, H)),
        *(Call("activate", (code, keep, np.zeros_like(keep), keep.size)) for code in range(4)),
    ]


def automaton(rng, n=60, symbols=3):
    """The suffix automaton of a short text, and a long one read by it."""
    short, long = (rng.integers(0, symbols, size).astype(np.int32) for size in (n, 200))
    long[::17] = -1
    states = 2 * n + 1
    length, link = np.zeros((2, states), np.int32)
    edges, prefix = np.full(states * symbols, -1, np.int32), np.zeros(n, np.int32)
    best, end, seen = np.zeros(states, np.int32), np.zeros(states, np.int64), np.full(states, 2**63 - 1)
    at = np.zeros(3, np.int64)
    build = Call("automaton_build", (short, n, symbols, length, link, edges, prefix))
    found = dict(zip(map(id, (length,)), run_here([build], LEVELS[0])[1:2], strict=True))[id(length)]
    used = int((found[1:] > 0).sum())  # every state except the root has a length
    order = (np.argsort(-found[1 : used + 1]) + 1).astype(np.int32)
    return [
        build,
        Call("automaton_read", (long, len(long), symbols, length, link, edges, best, end, seen, at)),
        Call("automaton_spread", (order, used, length, link, best, end, seen)),
    ]


CALLS = {
    **{cell: lambda rng, cell=cell: window_of(cell, rng) for cell in ("elman", "lstm", "gru")},
    "residual": residual_block,
    "scan-and-masks": scan_and_masks,
    "automaton": automaton,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("wasm", "aarch64-dotprod")])
def test_training_kernels_compute_the_same_bits(place, name, places, rng, tmp_path):
    calls = CALLS[name](rng)
    there = run_in(places(place), calls, tmp_path)
    for level in LEVELS:
        for ours, theirs in zip(run_here(calls, level), there, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["lstm", "mingru"])
def test_a_damaged_image_is_refused_or_read_within_its_bounds(name, precision, places, tmp_path):
    command = places("x86-64")
    (tmp_path / "image").write_bytes(to_image(network(name, precision)[2]))
    done = subprocess.run(
        [*command, "damage", tmp_path / "image", "1", "3000"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    opened = int(done.stdout.split()[0])
    assert 0 < opened < 3000


@pytest.mark.parametrize(
    ("word", "value", "reason"),
    [
        (0, 0, "not an image"),
        (1, 2, "another version"),
        (2, 64, "cut off"),
        (3, 8, "numbers of another size"),
        (8, 0, "describes no network"),
        (15, 32, "a section lies outside"),
        (20, 64, "a parameter of a layer lies outside"),
    ],
)
@pytest.mark.parametrize("place", ["x86-64", "wasm"])
def test_a_refused_image_is_told_why(place, word, value, reason, places, tmp_path):
    command = places(place)
    image = np.frombuffer(to_image(network("lstm", "float32")[2]), np.int64).copy()
    image[word] = value
    (tmp_path / "image").write_bytes(image.tobytes())
    (tmp_path / "cases").write_text(case(RULES["greedy"]))
    done = subprocess.run(
        [*command, "write", tmp_path / "image", tmp_path / "cases"], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert reason in done.stdout


def test_a_number_that_is_not_finite_is_refused(places, tmp_path):
    _, _, net = network("elman", "float32")
    net.numbers[5] = np.nan
    (tmp_path / "image").write_bytes(to_image(net))
    (tmp_path / "cases").write_text(case(RULES["greedy"]))
    command = [*places("x86-64"), "write", tmp_path / "image", tmp_path / "cases"]
    assert "not finite" in subprocess.run(command, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def watched(driver):
    """The command line of the driver under Valgrind."""
    if (valgrind := shutil.which("valgrind")) is None:
        pytest.skip("valgrind is not installed, and it watches every access")
    return [valgrind, "-q", "--error-exitcode=9", *driver(HERE, "base", defines=("ON_HEAP",))]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", CONFIGS)
def test_valgrind_finds_nothing_in_generation(name, precision, watched, tmp_path):
    write_files(to_image(network(name, precision)[2]), tmp_path)
    for verb in (
        ["write", tmp_path / "image", tmp_path / "cases"],
        ["damage", tmp_path / "image", "1", "300"],
    ):
        done = subprocess.run([*watched, *verb], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_valgrind_finds_nothing_in_training(watched, rng, tmp_path):
    run_in(watched, [call for calls in CALLS.values() for call in calls(rng)], tmp_path)


def test_the_module_imports_nothing(wasm_module):
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed, and it reads the WebAssembly module")
    code = "console.log(WebAssembly.Module.imports(new WebAssembly.Module(require('fs').readFileSync(process.argv[1]))).length)"
    assert (
        subprocess.run([node, "-e", code, str(wasm_module)], capture_output=True, text=True).stdout == "0\n"
    )
