"""A folder like a user's, with two texts and a run of each; the command line is called in this process."""

import io
import itertools
import json
import shutil
import sys
from typing import NamedTuple

import pytest

from charloom.cli import main
from charloom.text.inputs import builtin_text

TINY = ["--hidden-size", "12", "--batch-size", "4", "--bptt-length", "16", "--threads", "1"]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        (line,) = self.out.splitlines()  # exactly one object, on one line
        return json.loads(line)


@pytest.fixture
def charloom(capsys, monkeypatch):
    """Call the command line with the words of a string or of a list."""

    def call(words, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main(words.split() if isinstance(words, str) else words)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory):
    """The folder, created once per session; tests must not change it."""
    folder = tmp_path_factory.mktemp("prepared_folder")
    text = builtin_text()
    (folder / "tales.txt").write_text(text[:12_000], encoding="utf-8")
    (folder / "more.txt").write_text(text[12_000:14_000], encoding="utf-8")
    names = [
        "".join(parts)
        for parts in itertools.product(("an", "el", "mi", "jo"), ("na", "la", "ri"), ("", "s", "no"))
    ]
    (folder / "names.txt").write_text("\n".join(names * 10), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, extra in (("tales", []), ("names", ["--documents", "line"])):
            train = [
                "train",
                f"{name}.txt",
                "--steps",
                "24",
                "--out",
                f"runs/{name}",
                "--quiet",
                *TINY,
                *extra,
            ]
            assert main(train) == 0
    return folder


@pytest.fixture
def workspace(prepared_folder, tmp_path, monkeypatch):
    """A copy of the folder, as the current folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(prepared_folder, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def shared_folder(prepared_folder, monkeypatch):
    """The folder itself as the current folder, for tests that only read."""
    monkeypatch.chdir(prepared_folder)
    return prepared_folder
