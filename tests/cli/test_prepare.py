"""``charloom prepare``: a file that `train` can use, from files and from standard input."""


def test_prepare(charloom, workspace):
    result = charloom("prepare tales.txt --out tales.ids --json").json
    assert {"chars", "bytes", "vocab_size", "bytes_per_s", "peak_rss_bytes", "path"} <= set(result)
    assert result["chars"] == 12_000
    assert charloom("train tales.ids --steps 2 --hidden-size 4 --out run --quiet").code == 0


def test_prepare_from_standard_input(charloom, workspace):
    piped = charloom("prepare - --out piped.ids --json", (workspace / "tales.txt").read_bytes()).json
    assert piped["chars"] == 12_000
