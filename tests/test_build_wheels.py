"""Libraries for other platforms, and what is checked in a wheel; `tools/build_wheels.py --check` builds all of them twice.

That takes minutes, so it runs before a release, not here.
"""

import base64
import hashlib
import zipfile

import pytest

from tests.scripts import script

NAME = "linux-aarch64"
WHEEL = "charloom-0.1.0-py3-none-manylinux_2_17_aarch64.whl"
RECORD = "charloom-0.1.0.dist-info/RECORD"
LIBRARY, HEADER = "charloom/kernels/libcharloom.so", "charloom/kernels/native/charloom.h"
MODULE = "charloom/kernels/charloom.wasm"
FILES = {
    MODULE: b"\0asm",
    "charloom/__init__.py": b"",
    LIBRARY: b"\x7fELF and more",
    HEADER: b"int64_t f(int64_t n);\n",
}


@pytest.fixture(scope="module")
def build_wheels():
    return script("tools/build_wheels.py")


def record_of(files):
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{RECORD},,\n"]).encode()


def wheel(folder, files, *, name=WHEEL, record=None):
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, data in {**files, RECORD: record_of(files) if record is None else record}.items():
            archive.writestr(path, data)
    return folder / name


def test_a_good_wheel_has_no_problems(build_wheels, tmp_path):
    assert build_wheels.problems_of(wheel(tmp_path, FILES), NAME) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({LIBRARY: None}, "its libraries are ['charloom/kernels/charloom.wasm']"),
        ({MODULE: None}, "its libraries are ['charloom/kernels/libcharloom.so']"),
        ({"charloom/kernels/charloom.dll": b"MZ"}, "its libraries are"),
        ({LIBRARY: b"MZ"}, "libcharloom.so is for another system"),
        ({HEADER: None}, "it should have charloom.h only, and has []"),
        ({"charloom/kernels/native/gemm.h": b""}, "it should have charloom.h only"),
        ({"charloom/noise": bytes(range(256)) * 16_000}, "more than 3,000,000"),
    ],
)
def test_a_wheel_with_wrong_contents_is_refused(build_wheels, changed, problem, tmp_path):
    files = {name: data for name, data in {**FILES, **changed}.items() if data is not None}
    (found,) = build_wheels.problems_of(wheel(tmp_path, files), NAME)
    assert problem in found


def test_a_wheel_for_another_platform_is_refused(build_wheels, tmp_path):
    (found,) = build_wheels.problems_of(wheel(tmp_path, FILES, name="charloom-0.1.0-py3-none-any.whl"), NAME)
    assert "manylinux_2_17_aarch64" in found


def test_a_record_that_lists_other_files_is_refused(build_wheels, tmp_path):
    record = record_of({**FILES, LIBRARY: b"other", "charloom/gone.py": b""})
    found = build_wheels.problems_of(wheel(tmp_path, FILES, record=record), NAME)
    assert found == ["charloom/gone.py is in RECORD only", f"RECORD does not list {LIBRARY} as it is"]


def test_two_builds_are_compared_by_name_and_bytes(build_wheels, tmp_path):
    for folder, files in (("one", {"a": "1", "b": "2"}), ("two", {"a": "1", "b": "3", "c": "4"})):
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    one, two = (list((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert build_wheels.differences(one, two) == ["b", "c"]
    assert build_wheels.differences(one, one) == []


def test_the_copy_for_a_build_has_the_tracked_files_only(build_wheels, tmp_path):
    build_wheels.copy_tracked(tmp_path / "copy")
    assert (tmp_path / "copy" / "src/charloom/kernels/native/charloom.h").is_file()
    assert not list((tmp_path / "copy").rglob("libcharloom.*"))


def test_a_library_for_another_platform_is_built_here_with_the_same_bytes(
    build_wheels, tmp_path, monkeypatch
):
    kernels = build_wheels.build_kernels
    target = kernels.TARGETS["macos-arm64"]
    monkeypatch.setitem(
        kernels.TARGETS, "macos-arm64", target._replace(levels={"base": target.levels["base"]})
    )
    one, two = (kernels.build("macos-arm64", tmp_path / folder) for folder in ("one", "another/two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.name == "libcharloom.dylib"
    assert one.read_bytes()[:4] == build_wheels.MAGIC[".dylib"][0]


def test_a_wheel_for_an_unknown_target_is_refused(monkeypatch):
    pytest.importorskip("hatchling")
    hook = script("hatch_build.py")
    monkeypatch.setenv("CHARLOOM_TARGET", "wasm")
    with pytest.raises(SystemExit, match=r"CHARLOOM_TARGET is 'wasm'; wheels are built for linux-x86_64"):
        hook.KernelHook.initialize(None, "standard", {})
