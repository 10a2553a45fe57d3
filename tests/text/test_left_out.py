"""Run folders, checkpoints, caches, version control and hidden files are never text, and what was left out is said."""

import os

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import read_corpus

POEM = "roses are red\nviolets are blue\n" * 9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a poem, a run, version control and caches, as the current one."""
    files = {
        "poem.txt": POEM,
        "runs/a/config.json": "{}",
        "runs/a/events.jsonl": '{"step": 1}\n' * 9,
        "runs/a/checkpoints/step-000000001.safetensors": "readable",
        "CVS/Entries": "/poem.txt/1.1//",
        ".git/HEAD": "ref: refs/heads/main",
        "cache/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55",
        "cache/page.txt": "cached",
        "node_modules/x/readme.md": "a package",
        "env/pyvenv.cfg": "home = /usr/bin",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_of(corpus):
    return corpus.vocab.decode(corpus.train)


WHOLE = TextConfig(val_fraction=0)


def test_a_folder_is_read_without_them_and_they_are_named(folder):
    corpus = read_corpus(["."], WHOLE)
    assert text_of(corpus) == POEM
    (note,) = corpus.notes
    assert "version control (.git, CVS)" in note
    assert "caches (cache, env, node_modules)" in note
    assert "run folders (runs/a)" in note


def test_a_run_made_later_does_not_change_the_corpus(folder):
    before = read_corpus(["."], WHOLE).sha256
    (folder / "runs" / "b" / "checkpoints").mkdir(parents=True)
    (folder / "runs" / "b" / "config.json").write_text("{}")
    assert read_corpus(["."], WHOLE).sha256 == before


@pytest.mark.parametrize(
    "names", [["**/*"], ["*"], ["poem.txt", "runs"], ["poem.txt", "runs/a/events.jsonl"]]
)
def test_patterns_and_what_a_shell_makes_of_them_leave_runs_out(folder, names):
    corpus = read_corpus(names, WHOLE)
    assert text_of(corpus) == POEM
    assert "run" in " ".join(corpus.notes)


def test_a_pattern_below_a_folder_that_it_names_is_followed(folder):
    assert text_of(read_corpus(["cache/*.txt"], WHOLE)) == "cached"


@pytest.mark.parametrize("name", ["runs", "runs/a", "runs/a/events.jsonl", "runs/a/checkpoints"])
def test_a_run_alone_is_refused(folder, name):
    with pytest.raises(DataError, match=r"contains no text.*files of runs|contains no text.*run folders"):
        read_corpus([name], WHOLE)


def test_a_folder_with_a_configuration_but_no_run_is_text(folder):
    (folder / "site").mkdir()
    (folder / "site" / "config.json").write_text('{"title": "poems"}')
    assert text_of(read_corpus(["site"], WHOLE)) == '{"title": "poems"}'


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="this system has no links")
def test_linked_folders_are_not_followed_and_named(folder, tmp_path_factory):
    (folder / "linked").symlink_to(tmp_path_factory.mktemp("elsewhere"), target_is_directory=True)
    assert "links to folders (linked)" in read_corpus(["."], WHOLE).notes[0]
