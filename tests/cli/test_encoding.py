"""Output is UTF-8 under ``LC_ALL=C`` and with a wrong PYTHONIOENCODING; a closed pipe is not a failure."""

import json
import os
import subprocess
import sys

import pytest

TEXT = "كان يا ما كان في قديم الزمان ملك عادل — l’été à Noël 物語。 " * 60
PROMPT = "كان "


@pytest.fixture(scope="module")
def arabic(tmp_path_factory):
    """A run on a text that needs UTF-8."""
    from charloom.cli import main

    folder = tmp_path_factory.mktemp("arabic")
    (folder / "نص.txt").write_text(TEXT, encoding="utf-8")
    words = [
        "train",
        str(folder / "نص.txt"),
        "--steps",
        "3",
        "--hidden-size",
        "4",
        "--out",
        str(folder / "run"),
        "--quiet",
    ]
    assert main(words) == 0
    return folder


def call(folder, words, stdin=b"", **environment):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))
    }
    with (folder / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "charloom", *words],
            env=kept | environment,
            input=stdin,
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=folder,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return (folder / "out").read_bytes().decode("utf-8")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    ],
    ids=["C", "both"],
)
def test_output_is_utf_8_in_every_locale(arabic, environment):
    words = ["sample", "run", "--prompt", "-", "--length", "40", "--seed", "1"]
    plain = call(arabic, words, PROMPT.encode(), **environment)
    assert plain.startswith(PROMPT)
    assert set(plain) <= set(TEXT) | {"\n"}
    sample = json.loads(call(arabic, [*words, "--json"], PROMPT.encode(), **environment))["samples"][0]
    assert sample["prompt"] + sample["text"] + "\n" == plain


def test_utf_8_arguments_work_in_the_c_locale(arabic):
    assert call(arabic, ["sample", "run", "--prompt", PROMPT, "--length", "5"], LC_ALL="C").startswith(PROMPT)
    assert "نص" in call(arabic, ["info", "run"], LC_ALL="C")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGPIPE on Windows")
def test_a_closed_pipe_is_not_a_failure(arabic):
    words = [sys.executable, "-m", "charloom", "sample", "run", "--length", "0", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=arabic) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
