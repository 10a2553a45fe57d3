import json
import lzma
import subprocess
import sys

import numpy as np
import pytest

from charloom.config import TextConfig
from charloom.errors import DataError, RunError
from charloom.text.load import read_corpus
from charloom.text.preparation import prepare
from charloom.text.prepared import MAGIC, is_prepared, open_prepared

from .test_load import PARTS, TEXT, same, write

MIXED = "The fox\r\n\r\n e\u0301te\u0301 漢字 fox\r\nالفيل" * 9


@pytest.mark.parametrize("block_size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(
    "config",
    [
        TextConfig(),
        TextConfig(unit="byte", documents="line"),
        TextConfig(vocab_from="train", documents="fox", val_fraction=0.3),
        TextConfig(min_count=10, normalization="nfkc", take_chars=100),
        TextConfig(documents="blank-line", val_fraction=0),
        TextConfig(documents="file", val_fraction=0.4),
        TextConfig(documents="line", split="random", vocab_from="train"),
        TextConfig(documents="line", val_count=3),
    ],
    ids=lambda config: (
        f"{config.unit}-{config.documents}-{config.vocab_from}-{config.min_count}-{config.split}-{config.val_count}"
    ),
)
def test_prepared_equals_read(tmp_path, config, block_size):
    files = [write(tmp_path / "a", MIXED), write(tmp_path / "b", MIXED + "fox", "utf-16")]
    plain = read_corpus(files, config)
    report = prepare(files, tmp_path / "out.ids", config, block_size=block_size)
    opened = open_prepared(tmp_path / "out.ids")
    assert same(opened, plain)
    assert same(read_corpus([tmp_path / "out.ids"], config), plain)
    assert (report["chars"], report["vocab_size"]) == (plain.num_chars, len(plain.vocab))
    assert report["bytes_per_s"] > 0


def test_held_out_files_are_prepared_with_the_text(tmp_path):
    names = {"a": "abab\n", "v": "abc", "t": "abd"}
    text, val, test = (write(tmp_path / name, content) for name, content in names.items())
    prepare([text], tmp_path / "out", val=val, test=test)
    opened = open_prepared(tmp_path / "out")
    assert same(opened, read_corpus([text], TextConfig(), val=val, test=test))
    assert [opened.vocab.decode(getattr(opened, part)) for part in PARTS] == ["abab\n", "abc", "abd"]


def test_ids_are_memory_mapped_and_read_only(tmp_path):
    prepare([write(tmp_path / "a", TEXT)], tmp_path / "out")
    train = open_prepared(tmp_path / "out").train
    assert isinstance(train, np.memmap)
    assert train.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        train[0] = 1


def test_bytes_are_counted_after_decompression(tmp_path):
    (tmp_path / "a.xz").write_bytes(lzma.compress(TEXT.encode()))
    assert prepare([tmp_path / "a.xz"], tmp_path / "out")["bytes"] == len(TEXT)


def test_the_origin_is_recorded(tmp_path):
    path = write(tmp_path / "tale.txt", TEXT)
    prepare([path], tmp_path / "out")
    opened = open_prepared(tmp_path / "out")
    assert (opened.name, opened.sources) == ("tale", (str(tmp_path / "out"),))
    assert opened.notes == (f"prepared from {path}",)
    assert is_prepared(tmp_path / "out")
    assert not is_prepared(path)


def test_a_prepared_corpus_keeps_its_split(tmp_path):
    names = "".join(f"name{number}\n" for number in range(50))
    config = TextConfig(documents="line", split="random", split_seed=3)
    prepare([write(tmp_path / "a", names)], tmp_path / "out", config)
    assert same(open_prepared(tmp_path / "out"), read_corpus([tmp_path / "a"], config))
    with pytest.raises(DataError, match="was prepared with split_seed 3, not 4"):
        read_corpus([tmp_path / "out"], TextConfig(documents="line", split="random", split_seed=4))


def test_a_header_without_a_split_is_contiguous(tmp_path):
    """Files of before these settings lack them."""
    prepare([write(tmp_path / "a", TEXT)], tmp_path / "out", TextConfig(documents="line"))
    content = (tmp_path / "out").read_bytes()
    settings = b', "val_count": null, "split": "contiguous", "split_seed": 0'
    assert settings in content
    (tmp_path / "out").write_bytes(content.replace(settings, b" " * len(settings)))
    opened = open_prepared(tmp_path / "out")
    assert (opened.config.split, opened.config.val_count) == ("contiguous", None)
    assert same(opened, read_corpus([tmp_path / "a"], TextConfig(documents="line")))


def test_other_settings_are_refused(tmp_path):
    prepare([write(tmp_path / "a", TEXT)], tmp_path / "out")
    with pytest.raises(DataError) as caught:
        read_corpus([tmp_path / "out"], TextConfig(documents="line"))
    assert caught.value.what == f"{tmp_path / 'out'} was prepared with documents none, not line"
    assert caught.value.fix == "omit --documents, or prepare the text again with it"


def test_a_prepared_corpus_is_refused_with_other_texts(tmp_path):
    path = write(tmp_path / "a", TEXT)
    prepare([path], tmp_path / "out")
    with pytest.raises(DataError, match=r"is a prepared corpus and .* is not part of it"):
        read_corpus([path, tmp_path / "out"], TextConfig())
    with pytest.raises(DataError, match=r"is a prepared corpus and .* is not part of it"):
        read_corpus([tmp_path / "out"], TextConfig(), val=path)


def test_a_failure_leaves_no_files(tmp_path):
    (tmp_path / "a").write_bytes("é".encode() * 200 + b"\xff")
    with pytest.raises(DataError):
        prepare([tmp_path / "a"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        prepare([write(tmp_path / "a", TEXT)], tmp_path / "nowhere" / "out")


def change_header(data, **changes):
    size = int.from_bytes(data[8:16], "little")
    header = json.dumps(json.loads(data[16 : 16 + size]) | changes).encode()
    return data[:8] + len(header).to_bytes(8, "little") + header + data[16 + size :]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda _: b"", "does not begin with CHARLOOM"),
        (lambda data: data[:-1], "bytes, but its header says"),
        (lambda data: data + b"x", "bytes, but its header says"),
        (lambda data: data[:12], "header is truncated"),
        (lambda data: MAGIC + b"\xff" * 8 + data[16:], "header is truncated"),
        (lambda _: MAGIC + b"\x02" + bytes(7) + b"[]", "format version is not"),
        (lambda data: change_header(data, format_version=2), "format version is not"),
        (lambda data: change_header(data, extents={"train": [0, 10**6]}), "are not within"),
        (lambda data: change_header(data, extents={"validation": [0, 1]}), "are not within"),
        (lambda data: change_header(data, extents={"train": [0]}), "is invalid"),
        (lambda data: change_header(data, extents=3), "is invalid"),
        (lambda data: change_header(data, text={"unit": "word"}), "is invalid"),
        (lambda data: change_header(data, text={"colour": 1}), "is invalid"),
        (lambda data: change_header(data, vocab={}), "is invalid"),
        (lambda data: change_header(data, vocab=None), "is invalid"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, why):
    prepare([write(tmp_path / "a", TEXT)], tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_bytes(damage(data))
    with pytest.raises(DataError, match="is not a readable prepared corpus") as caught:
        open_prepared(tmp_path / "out")
    assert why in caught.value.why


def test_memory_is_bounded(tmp_path):
    """Preparing 60 MB of text raises the peak memory of the process by less than that."""
    with (tmp_path / "big").open("wb") as handle:
        for _ in range(60):
            handle.write((TEXT + "e\u0301 漢字\n").encode() * 4_300)
    code = (
        "import sys; from charloom.text.preparation import prepare, peak_rss_bytes; before = peak_rss_bytes();"
        "report = prepare([sys.argv[1]], sys.argv[2]); print(report['bytes'], report['peak_rss_bytes'] - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "big"), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    num_bytes, growth = map(int, result.stdout.split())
    assert num_bytes > 55e6
    assert growth < num_bytes
