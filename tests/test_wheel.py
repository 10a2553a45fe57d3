"""The wheel is tested, not the checkout: its list of files, and an installation of it under each Python that is here.

The Python of these tests borrows the libraries beside it; others install the wheel with its dependencies, by pip. Both
run `tests/wheel_smoke.py` in a folder of their own.
"""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.scripts import script

pytestmark = pytest.mark.reliability

OLDEST, BEYOND = 11, 20  # minor versions of Python 3
GENERATED = {"charloom/kernels/charloom.wasm"}
INFO = "charloom-0.1.0.dist-info"


@pytest.fixture(scope="module")
def tools():
    return script("tools/build_wheels.py")


@pytest.fixture(scope="module")
def wheel(tools, tmp_path_factory):
    """A wheel for this machine, built from the tracked files alone."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    tools.copy_tracked(folder / "checkout")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    done = subprocess.run(
        command, cwd=folder / "checkout", env=without_checkout(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "dist").glob("*.whl")
    return found


def without_checkout():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_a_wheel_has_exactly_the_files_of_the_package(tools, wheel, attacks):
    source = ROOT / "src"
    listed = subprocess.run(["git", "ls-files", "-z", "src"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("the tracked files are known in a checkout only")
    tracked = {Path(name).relative_to("src").as_posix() for name in listed.stdout.split("\0") if name}
    tracked = {name for name in tracked if (source / name).is_file()}
    native = {name for name in tracked if name.startswith(tools.NATIVE)}
    library = {f"charloom/kernels/{tools.build_kernels.TARGETS[tools.build_kernels.this_target()].library}"}
    about = {
        f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    expected = tracked - native | {f"{tools.NATIVE}charloom.h"} | GENERATED | library | about
    found = set(zipfile.ZipFile(wheel).namelist())
    assert (sorted(found - expected), sorted(expected - found)) == ([], [])
    attacks.count("files of the wheel", len(expected))


def interpreter(minor):
    """A Python 3.`minor` of this machine, or None: this one, one on the path, or the newest of pyenv."""
    if sys.version_info[:2] == (3, minor):
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(
        versions.glob(f"3.{minor}.*/bin/python"), key=lambda path: int(path.parts[-3].split(".")[2])
    )
    return str(found[-1]) if found else shutil.which(f"python3.{minor}")


def installed(wheel, minor, folder):
    """The Python of a new environment with the wheel, and with its dependencies."""
    subprocess.run([interpreter(minor), "-m", "venv", str(folder)], check=True, env=without_checkout())
    own = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if sys.version_info[:2] == (3, minor):
        command = [*pip, "--no-deps", "--no-index", str(wheel)]
        packages = subprocess.run(
            [str(own), "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True
        )  # fmt: skip
        Path(packages.stdout.strip(), "beside.pth").write_text("\n".join(site.getsitepackages()), "utf-8")
    else:
        command = [*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, env=without_checkout())
    if done.returncode != 0 and "--no-index" not in command:
        pytest.skip(f"pip finds no dependencies for Python 3.{minor}: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return own


@pytest.mark.parametrize("minor", range(OLDEST, BEYOND))
def test_an_installed_wheel_works_without_the_checkout(minor, wheel, tmp_path, attacks):
    if interpreter(minor) is None:
        pytest.skip(f"there is no Python 3.{minor} here")
    own = installed(wheel, minor, tmp_path / "environment")
    golden = shutil.copytree(ROOT / "tests" / "golden", tmp_path / "golden")
    shutil.copy(ROOT / "tests" / "wheel_smoke.py", tmp_path)
    (tmp_path / "work").mkdir()
    command = [str(own), str(tmp_path / "wheel_smoke.py"), str(golden)]
    done = subprocess.run(
        command, cwd=tmp_path / "work", env=without_checkout(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    attacks.count("installations of the wheel", 1)
