"""Pipes, devices and links: read, or refused with the reason, and never waited for without end."""

import os
import socket
import sys
import threading

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text import pipes
from charloom.text.load import read_corpus

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
TEXT = "the quick brown fox\n" * 50


def read(*paths):
    return read_corpus(list(paths), TextConfig())


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_a_pipe_is_read_whenever_its_writer_comes(tmp_path, delay_s):
    os.mkfifo(tmp_path / "pipe")

    def write():
        with (tmp_path / "pipe").open("w", encoding="utf-8") as pipe:
            for line in TEXT.splitlines(keepends=True):
                pipe.write(line)
                pipe.flush()

    writer = threading.Timer(delay_s, write)
    writer.start()
    assert read(tmp_path / "pipe").num_chars == len(TEXT)
    writer.join()


def test_a_pipe_that_nothing_writes_to_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(pipes, "_PATIENCE_S", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="nothing was written to the pipe"):
        read(tmp_path / "pipe")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device):
    with pytest.raises(DataError, match=f"{device} is a device, not a text"):
        read(device)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(DataError, match="s is a socket"):
            read("s")


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nothing")
    for name in ("loop", "gone"):
        with pytest.raises(DataError, match=f"{name} is a link that leads to no file"):
            read(tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "self").symlink_to(".")
    (tmp_path / "folder" / "text").write_text(TEXT, "utf-8")
    os.mkfifo(tmp_path / "folder" / "pipe")
    assert read(tmp_path / "folder").num_chars == len(TEXT)
