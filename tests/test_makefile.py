"""The Makefile installs PyTorch's CPU build, whatever pip would take by itself; pip is replaced by a script here."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PIP = """#!/bin/sh
case "$*" in
  *--report*) {report} ;;
  *"-m pip"*) echo "$*" >> {log} ;;
  *) exec {python} "$@" ;;
esac
"""


def installed(folder, report, *words):
    """The pip commands of ``make`` that install something, if the dry run prints `report`."""
    bin_folder = folder / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    fake, log = bin_folder / "python", folder / "log"
    fake.write_text(PIP.format(report=report, log=log, python=sys.executable), encoding="utf-8")
    fake.chmod(0o755)
    command = ["make", f"VENV={folder / 'venv'}", "PYTHON=true", *words, f"{folder / 'venv'}/installed"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return [line.partition(" -c constraints.txt ")[2] for line in log.read_text("utf-8").splitlines()]


def report_of(*names):
    found = {"install": [{"metadata": {"name": name}} for name in names]}
    return f"echo '{json.dumps(found)}'"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("report", "words", "index"),
    [
        (report_of("torch", "filelock"), [], ""),
        (report_of("torch", "nvidia-cudnn-cu13"), [], " --index-url https://download.pytorch.org/whl/cpu"),
        (
            report_of("torch", "cuda-toolkit"),
            ["TORCH_INDEX=https://near/cpu"],
            " --index-url https://near/cpu",
        ),
        (report_of("torch", "filelock"), ["TORCH_INDEX=https://near/cpu"], ""),
        ("exit 1", [], ""),  # the installation itself then says what is wrong
    ],
)
def test_the_cpu_build_is_installed(tmp_path, report, words, index):
    first, *others = installed(tmp_path, report, *words)
    assert first == f"torch==2.13.0{index}"
    assert others[-1] == "--no-build-isolation -e .[all]"


def test_every_file_that_the_makefile_tests_is_there():
    """pytest runs nothing at all, and says little, if one of many paths is missing."""
    lines = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ").splitlines()
    paths = {word.rstrip(";") for line in lines for word in line.split() if word.startswith("tests/")}
    assert len(paths) > 10
    assert {path for path in paths if not (ROOT / path).exists()} == set()
