"""``charloom prepare``: a file that `train` can use, from files and from standard input."""


def test_prepare(charloom, workspace):
    result = charloom("prepare tales.txt --out tales.ids --json").json
    assert {"chars", "bytes", "vocab_size", "bytes_per_s", "peak_rss_bytes", "path"} <= set(result)
    assert result["chars"] == 12_000
    assert charloom("train tales.ids --steps 2 --hidden-size 4 --out run --quiet").code == 0


def test_prepare_from_standard_input(charloom, workspace):
    piped = charloom("prepare - --out piped.ids --json", (workspace / "tales.txt").read_bytes()).json
    assert piped["chars"] == 12_000


def test_a_check_compares_the_ids_and_the_sources(charloom, workspace):
    charloom("prepare tales.txt --out tales.ids")
    found = charloom("prepare tales.ids --check --json").json
    assert (found["chunks"], list(found["sources"].values())) == (1, ["unchanged"])
    assert "tales.ids: 1 checksums agree; sources unchanged: 1" in charloom("prepare tales.ids --check").out
    with (workspace / "tales.txt").open("a", encoding="utf-8") as file:
        file.write("more\n")
    changed = charloom("prepare tales.ids --check")
    assert changed.code == 1
    assert "tales.txt changed after tales.ids was prepared" in changed.err
    data = bytearray((workspace / "tales.ids").read_bytes())
    data[-1] ^= 1
    (workspace / "tales.ids").write_bytes(data)
    assert "tales.ids is damaged: bytes 0 to" in charloom("prepare tales.ids --check").err


def test_a_check_takes_one_file_and_writes_none(charloom, workspace):
    charloom("prepare tales.txt --out tales.ids")
    for line in ("prepare tales.ids --check --out x", "prepare tales.ids tales.txt --check"):
        assert charloom(line).code == 2
    assert charloom("prepare tales.txt --check").code == 1


def test_a_work_folder_is_taken_up(charloom, workspace, monkeypatch):
    from charloom.text import preparation
    from charloom.text import workspace as work

    monkeypatch.setattr(preparation, "EVERY_BYTES", 1)
    (workspace / "long.txt").write_bytes((workspace / "tales.txt").read_bytes() * 2_000)
    save = work.Workspace.save

    def interrupted(self, state):
        save(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(work.Workspace, "save", interrupted)
    assert charloom("prepare long.txt --out long.ids").code == 130
    monkeypatch.setattr(work.Workspace, "save", save)
    assert "went on after" in charloom("prepare long.txt --out long.ids").err
    assert not (workspace / ".long.ids.prepare").exists()
