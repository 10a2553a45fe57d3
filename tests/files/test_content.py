"""What is read from files and written to them, whatever its encoding."""

import codecs
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

import charloom
from charloom.files import json_text, sha256_of, text_of_file


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 3])
def test_sha256_of_hashes_the_content(size, tmp_path):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_text_file_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    (tmp_path / "a").write_bytes(mark + "naïve\n".encode(encoding))
    assert text_of_file(tmp_path / "a") == "naïve\n"


def test_nothing_but_the_helper_reads_text_from_users():
    """A file read with `Path.read_text` would be refused, or begin with U+FEFF, if it has a byte-order mark."""
    source = Path(charloom.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"\.read_text\(|open\((encoding|\"r\")", path.read_text("utf-8"))
    }
    of_the_system = {
        "files/lock.py",
        "forecast/energy.py",
        "memory.py",
        "threads.py",
        "doctor.py",
        "versions.py",
        "cli/completion.py",
        "kernels/library.py",
        "page/template.py",
        "export/torch_example.py",
        "tuning/journal_file.py",
    }  # /proc, /sys, a shell's startup file, files of our own
    assert found <= of_the_system


def test_names_that_are_not_utf_8_survive_in_json():
    value = {"name": os.fsdecode(b"caf\xe9"), "other": "قصص"}
    text = json_text(value)
    assert json.loads(text.encode("utf-8")) == value
    assert "قصص" in text


WRITES = r"\.write_text\(|\.write_bytes\(|open\(\"?[^)]*\"[wax]|open\(mode|\.rename\(|os\.replace|mkstemp|NamedTemporaryFile"
"""What makes or replaces a file."""


def test_nothing_but_the_writer_writes_files_that_a_user_would_miss():
    """What it writes survives a kill, a full disk and a power cut; anything else would not be covered by their tests."""
    source = Path(charloom.__file__).parent
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(WRITES, path.read_text("utf-8"))
    }
    assert found == {
        "files/atomic.py",
        "files/lock.py",
        "text/workspace.py",  # provisional numbers, and the result before it is renamed
        "tuning/journal_file.py",  # leases, which are links to complete files
    }


@pytest.mark.parametrize(
    "line", ["x.write_text(y)", 'path.open("w")', 'open(p, "ab")', "a.open(mode)", "os.replace(a, b)"]
)
def test_a_line_that_writes_would_be_found(line):
    assert re.search(WRITES, line)
