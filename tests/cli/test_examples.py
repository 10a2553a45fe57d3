"""Every example in every verb's help runs, in a folder with tales.txt, names.txt, more.txt, runs/tales and runs/names.

Only slow examples and downloads are changed: `SHORTER` shortens them, the built-in text is cut, and the corpus to
download is already there.
"""

import shlex
import subprocess

import pytest

from charloom.cli.verbs import VERBS, build_app
from charloom.files import sha256_of
from charloom.text import catalogue, inputs

SHORTER = {
    "--minutes 2": "--steps 6",
    "--minutes 0.05": "--minutes 0.01",
    "--steps 40": "--steps 6",
    "--steps 20": "--steps 4",
    "reproduce all": "reproduce moliere-elman",
    "--best": "--quick",
}


def examples():
    for verb in VERBS:
        _, _, lines = build_app(verb)[verb].help_epilogue.partition("examples:")
        for line in filter(None, map(str.strip, lines.splitlines())):
            yield pytest.param(verb, line, id=line)


@pytest.fixture
def known_corpus(workspace, monkeypatch):
    """The corpus of names, as if it had been downloaded."""
    path = workspace / "corpora" / "names.txt"
    path.parent.mkdir()
    path.write_bytes((workspace / "names.txt").read_bytes())
    entry = catalogue.KNOWN["names"]._replace(sha256=sha256_of(path))
    monkeypatch.setattr(catalogue, "KNOWN", {"names": entry})
    monkeypatch.setenv("CHARLOOM_DATA", str(path.parent))


@pytest.fixture
def published_corpus(workspace, monkeypatch):
    """Every published system trains on the tales."""
    monkeypatch.setattr("charloom.reproduce.train.corpus_path", lambda _: workspace / "tales.txt")


@pytest.fixture
def short_text(monkeypatch):
    text = inputs.builtin_text()[:6000]
    monkeypatch.setattr("charloom.text.inputs.builtin_text", lambda: text)
    monkeypatch.setattr("charloom.text.load.builtin_text", lambda: text)


@pytest.mark.parametrize(("verb", "line"), [*examples()])
@pytest.mark.usefixtures("known_corpus", "published_corpus", "short_text", "quick_calibration")
def test_example(charloom, workspace, verb, line, request):
    if verb == "serve":
        request.getfixturevalue("ending_server")
    *pipes, command = line.split(" | ")
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    stdin = b""
    for pipe in pipes:
        stdin = subprocess.run(
            pipe, shell=True, check=True, capture_output=True, cwd=workspace, timeout=20
        ).stdout
    program, *words = shlex.split(command)
    assert program == "charloom"
    done = charloom(words, stdin)
    assert done.code == 0, done.err
    assert done.out
    if "--json" in words:
        assert done.json["schema"] == 1


def test_every_verb_has_examples():
    assert {param.values[0] for param in examples()} == set(VERBS)
