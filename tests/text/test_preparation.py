"""A preparation that is stopped at any place goes on and ends with the same bytes; its work folder is swept."""

import io
import lzma
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from charloom.config import TextConfig
from charloom.errors import DataError, RunError
from charloom.text import preparation, workspace
from charloom.text.load import read_corpus
from charloom.text.preparation import prepare
from charloom.text.prepared import open_prepared

from .test_load import same

PIECES = [
    "the fox ",
    "e\u0301te\u0301 ",
    "漢字",
    "\r\n",
    "\n\n",
    "\n",
    "\r",
    "ﬁ ",
    "\u200d",
    "0123456789 ",
    "\ufeff",
]
CONFIGS = [
    TextConfig(),
    TextConfig(documents="line", split="random"),
    TextConfig(documents="blank-line", normalization="nfkd", replace_chars="f=ph,U+FEFF="),
    TextConfig(unit="byte"),
    TextConfig(take_chars=9_000),
]


class Stop(BaseException):
    """Something that ends a process without its consent."""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Write the state down every 1,000 bytes."""
    monkeypatch.setattr(preparation, "EVERY_BYTES", 1_000)


@pytest.fixture
def texts(tmp_path):
    """Four files, one of them compressed or in another encoding than the others, and a file to validate on."""
    drawn = random.Random(4)
    names = []
    for number, encoding in enumerate(["utf-8", "utf-16", "utf-8-sig", "utf-8"]):
        text = "".join(drawn.choice(PIECES) for _ in range(1500))
        data = text.encode(encoding)
        name = tmp_path / f"t{number}"
        name.write_bytes(lzma.compress(data) if number == 3 else data)
        names.append(name)
    return names


def stopped_after(monkeypatch, count):
    """End the preparation after that many states were written down."""
    save, left = workspace.Workspace.save, [count]

    def save_and_stop(self, state):
        save(self, state)
        left[0] -= 1
        if left[0] <= 0:
            raise Stop

    monkeypatch.setattr(workspace.Workspace, "save", save_and_stop)


def work_folders(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("config", CONFIGS, ids=["chars", "lines", "blank", "bytes", "take"])
@pytest.mark.parametrize("val", [False, True])
def test_it_goes_on_wherever_it_was_stopped(tmp_path, texts, config, val, monkeypatch):
    if val and config.split == "random":
        pytest.skip("a validation file excludes a split")
    held_out = texts.pop() if val else None
    how = {"config": config, "val": held_out, "block_size": 700}
    whole = prepare(texts, tmp_path / "whole", **how)
    assert same(open_prepared(tmp_path / "whole"), read_corpus(texts, config, val=held_out))
    for number in range(100):
        with monkeypatch.context() as patch:
            stopped_after(patch, 1 + number % 3)
            try:
                facts = prepare(texts, tmp_path / "out", **how)
                break
            except Stop:
                assert work_folders(tmp_path) == [".out.prepare"]
    assert number >= 3
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert facts["resumed_bytes"] > 0
    assert {key: facts[key] for key in ("chars", "bytes", "notes")} == {
        key: whole[key] for key in ("chars", "bytes", "notes")
    }
    assert work_folders(tmp_path) == []


def stop_once(monkeypatch, sources, out, **how):
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(Stop):
            prepare(sources, out, block_size=700, **how)


def test_a_changed_source_begins_again(tmp_path, texts, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    texts[0].write_text("another text\n" * 300, "utf-8")
    facts = prepare(texts, tmp_path / "out", block_size=700)
    assert facts["resumed_bytes"] == 0
    assert same(open_prepared(tmp_path / "out"), read_corpus(texts, TextConfig()))


def test_a_source_changed_behind_its_date_begins_again(tmp_path, texts, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    before, data = texts[0].stat(), bytearray(texts[0].read_bytes())
    data[data.index(b"fox")] = ord("b")
    texts[0].write_bytes(data)
    os.utime(texts[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    prepare(texts, tmp_path / "out", block_size=700)
    assert same(open_prepared(tmp_path / "out"), read_corpus(texts, TextConfig()))


def test_other_settings_begin_again(tmp_path, texts, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    assert (
        prepare(texts, tmp_path / "out", TextConfig(normalization="nfd"), block_size=700)["resumed_bytes"]
        == 0
    )


def test_after_a_power_cut_it_begins_again(tmp_path, texts, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    monkeypatch.setattr(workspace, "boot_id", lambda: "another boot")
    assert prepare(texts, tmp_path / "out", block_size=700)["resumed_bytes"] == 0
    assert same(open_prepared(tmp_path / "out"), read_corpus(texts, TextConfig()))


def damaged_state(folder):
    path = folder / "state.json"
    path.write_bytes(path.read_bytes().replace(b'"length": ', b'"length": 1', 1))


def short_numbers(folder):
    os.truncate(folder / "text.numbers", 10)


def no_state(folder):
    (folder / "state.json").write_bytes(b"")


@pytest.mark.parametrize("damage", [damaged_state, short_numbers, no_state])
def test_what_is_left_is_not_trusted_if_it_is_damaged(tmp_path, texts, damage, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    damage(tmp_path / ".out.prepare")
    assert prepare(texts, tmp_path / "out", block_size=700)["resumed_bytes"] == 0
    assert same(open_prepared(tmp_path / "out"), read_corpus(texts, TextConfig()))


def test_numbers_written_after_the_last_state_are_dropped(tmp_path, texts, monkeypatch):
    stop_once(monkeypatch, texts, tmp_path / "out")
    with (tmp_path / ".out.prepare" / "text.numbers").open("ab") as numbers:
        numbers.write(b"abc")
    assert prepare(texts, tmp_path / "out", block_size=700)["resumed_bytes"] > 0
    assert same(open_prepared(tmp_path / "out"), read_corpus(texts, TextConfig()))


def test_standard_input_and_a_missing_library_are_not_taken_up(tmp_path, texts, monkeypatch):
    data = texts[0].read_bytes()
    prepare(["-"], tmp_path / "out", stdin=io.BytesIO(data), block_size=700)
    assert not work_folders(tmp_path)
    for module in ("utf8", "sha256"):
        monkeypatch.setattr(f"charloom.kernels.{module}.library", lambda: None)
    prepare(texts, tmp_path / "plain", block_size=700)
    monkeypatch.undo()
    prepare(texts, tmp_path / "compiled", block_size=700)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "compiled").read_bytes()


def test_two_at_once_are_refused(tmp_path, texts):
    with workspace.Workspace(tmp_path / "out", None):
        lock = tmp_path / ".out.prepare" / "lock"
        with pytest.raises(RunError, match="is in use by process"):
            prepare(texts, tmp_path / "out")
        assert lock.exists()


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path, texts):
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "bad").write_bytes("é".encode() * 2000 + b"\xff")
    with pytest.raises(DataError):
        prepare([*texts, tmp_path / "bad"], tmp_path / "out", block_size=700)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert work_folders(tmp_path) == []


@pytest.mark.parametrize("place", [10, 70_000, 150_000, 199_999])
def test_a_file_that_is_not_utf_8_after_all_is_read_again(tmp_path, place, monkeypatch):
    data = bytearray(b"la plage en \n" * 20_000)
    data[place : place + 1] = "é".encode("cp1252")
    (tmp_path / "a").write_bytes(b"text " * 100)
    (tmp_path / "b").write_bytes(data)
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "b"]
    facts = prepare(paths, tmp_path / "out", block_size=70_000)
    assert same(open_prepared(tmp_path / "out"), read_corpus(paths, TextConfig()))
    assert sum("read as cp1252" in note for note in facts["notes"]) == 2


def test_a_long_file_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes("été à la plage\n".encode() * 20_000)
    monkeypatch.delattr("charloom.text.source_text.detect")
    for block_size in (70_000, 70_001, 70_002):
        prepare([tmp_path / "a"], tmp_path / "out", block_size=block_size)


def test_progress_rises_to_the_end(tmp_path, texts):
    shares = []
    prepare(texts, tmp_path / "out", block_size=700, report=shares.append)
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] == 1.0


def test_a_killed_process_goes_on(tmp_path):
    """`kill -9` at random moments: the file is that of an undisturbed preparation."""
    (tmp_path / "big").write_bytes(("".join(PIECES) * 3 + "\n").encode() * 12_000)
    code = (
        "import sys; from charloom.text import preparation; preparation.EVERY_BYTES = 100_000;"
        "print('begun', flush=True); preparation.prepare([sys.argv[1]], sys.argv[2], block_size=50_000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "big")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, stdout=subprocess.DEVNULL)
    num_killed, drawn = 0, random.Random(1)
    for _ in range(4):
        with subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(drawn.uniform(0.02, 0.3))
            process.send_signal(signal.SIGKILL)
        num_killed += process.returncode == -signal.SIGKILL
    subprocess.run([*command, str(tmp_path / "out")], check=True, stdout=subprocess.DEVNULL)
    assert num_killed >= 1
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert work_folders(tmp_path) == []
