"""The compiled library: its header is its contract, and a level is chosen by the processor or by hand."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

from charloom.errors import ConfigError
from charloom.kernels import library as module
from charloom.kernels.library import declarations, library, parse_header, pointer, struct

SAMPLE = """
import charloom
model = charloom.load({path!r}, {engine})
print(repr(model.sample("the", length=40, seed=5)[0].text))
"""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    import charloom

    folder = tmp_path_factory.mktemp("kernels")
    text = "the cat sat on the mat, a dog ran to the sea\n" * 40
    charloom.train(text=text, out=folder / "run", cell="gru", hidden_size=16, steps=20, quiet=True)
    return folder / "run" / "model.safetensors"


def sampled(path, level, engine=""):
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE.format(path=str(path), engine=engine)],
        capture_output=True,
        text=True,
        env={**os.environ, "CHARLOOM_CPU": level},
    )
    return done.stdout, done.stderr


def test_every_level_of_this_processor_writes_the_same_text(model_path):
    texts = {sampled(model_path, level)[0] for level in ("", *library().levels)}
    assert len(texts) == 1
    assert len(texts.pop()) > 40


def test_without_the_library_numpy_writes_the_same_text(model_path):
    text, error = sampled(model_path, "none")
    assert text == sampled(model_path, "", 'engine="scratch"')[0] == sampled(model_path, "")[0], error


def test_a_level_that_is_not_there_is_refused(model_path):
    _, error = sampled(model_path, "z80")
    assert "CHARLOOM_CPU is 'z80'" in error
    assert library().levels[0] in error


def test_a_library_of_another_header_is_refused(monkeypatch, tmp_path):
    changed = tmp_path / "charloom.h"
    changed.write_text(module.HEADER.read_text("utf-8") + "int64_t more(int64_t n);\n", encoding="utf-8")
    monkeypatch.setattr(module, "HEADER", changed)
    with pytest.raises(ConfigError, match=r"built from another charloom\.h"):
        library.__wrapped__()


def test_a_platform_without_a_library_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert library.__wrapped__() is None
    (tmp_path / "libcharloom.so").write_bytes(b"not a library")
    monkeypatch.setattr(module, "NAMES", {})
    assert library.__wrapped__() is None


def test_the_header_lists_what_the_library_has():
    for name, (_, arguments) in declarations().functions.items():
        for flavour in module.FLAVOURS:
            if flavour == "float64" and "tiles" in name:
                continue  # bfloat16 is rounded from float32 only
            assert library().function(name, flavour).argtypes == arguments


def test_the_library_was_built_from_these_sources(build_kernels):
    sources = library().handle.charloom_sources
    sources.restype = ctypes.c_char_p
    assert sources().decode() == build_kernels.source_hash(), "run python tools/build_kernels.py"


def test_a_struct_keeps_its_arrays_alive():
    made = struct("Workspace", x=np.arange(3.0))
    (array,) = made._arrays
    assert made.x == pointer(array)


def test_a_scalar_of_an_unknown_type_is_refused():
    with pytest.raises(KeyError):
        parse_header("typedef struct { long n; } Row;")
