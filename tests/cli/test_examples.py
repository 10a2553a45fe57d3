"""Every example of every verb's help runs, in a folder that holds what they name: tales.txt, names.txt, more.txt, runs/tales, runs/names.

Only what would take long or needs a network is changed: `SHORTER` below, the built-in text is cut, and a corpus to be
fetched lies there already.
"""

import shlex
import subprocess

import pytest

from charloom.cli.verbs import VERBS, build_app
from charloom.files import sha256_of
from charloom.text import catalogue, readings

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
def known_corpus(place, monkeypatch):
    """The names of the catalogue as if they had been fetched."""
    path = place / "corpora" / "names.txt"
    path.parent.mkdir()
    path.write_bytes((place / "names.txt").read_bytes())
    entry = catalogue.KNOWN["names"]._replace(sha256=sha256_of(path))
    monkeypatch.setattr(catalogue, "KNOWN", {"names": entry})


@pytest.fixture
def published_corpus(place, monkeypatch):
    """Every published system reads the tales."""
    monkeypatch.setattr("charloom.reproduce.rehearse.corpus_path", lambda _: place / "tales.txt")


@pytest.fixture
def short_text(monkeypatch):
    text = readings.builtin_text()[:6000]
    monkeypatch.setattr("charloom.text.readings.builtin_text", lambda: text)
    monkeypatch.setattr("charloom.text.corpus.builtin_text", lambda: text)


@pytest.mark.parametrize(("verb", "line"), [*examples()])
@pytest.mark.usefixtures("known_corpus", "published_corpus", "short_text")
def test_example(charloom, place, verb, line):
    *feeders, command = line.split(" | ")
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    stdin = b""
    for feeder in feeders:
        stdin = subprocess.run(
            feeder, shell=True, check=True, capture_output=True, cwd=place, timeout=20
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
