"""``charloom export``: each form and several at once, what is refused, and a card that the command on it repeats."""

import json
import re
import shlex
from html import unescape

import pytest

import charloom as api
from charloom.export import hub
from charloom.export.onnx import file as onnx_file
from tests.conftest import ROOT


def test_several_forms_at_once(charloom, workspace):
    pytest.importorskip("onnx")
    done = charloom("export runs/tales --onnx t.onnx --hub hub/tales --card t.md --json")
    assert done.code == 0, done.err
    assert [one["form"] for one in done.json["files"]] == ["onnx", "hub", "card"]
    onnx, folder, card = done.json["files"]
    assert (done.json["path"], done.json["bytes"]) == ("t.onnx", (workspace / "t.onnx").stat().st_size)
    assert onnx["opset"] == 18
    assert folder["bytes"] == sum(path.stat().st_size for path in (workspace / "hub" / "tales").iterdir())
    assert card == {"form": "card", "path": "t.md", "bytes": (workspace / "t.md").stat().st_size}


def test_what_was_written_is_said(charloom, workspace):
    done = charloom("export runs/tales --card t.md")
    assert done.out == f"wrote t.md: {(workspace / 't.md').stat().st_size:,} bytes\n"
    assert done.err == ""


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("export runs/tales", 2, "nothing to export"),
        ("export runs/tales --push emma/tales --card t.md", 2, "--push emma/tales without --hub"),
        ("export runs/tales --hub runs/tales", 2, "--hub runs/tales is also the path of MODEL"),
        ("export runs/tales --hub runs", 1, "runs is not an exported folder"),
        ("export runs/tales --card runs/tales/model.safetensors", 2, "is also the path of MODEL"),
        ("export runs/tales --card t.md --onnx ./t.md", 2, "--card t.md is also the path of --onnx"),
        ("export runs/tales --card nowhere/t.md", 1, "cannot write nowhere/t.md"),
        ("export nowhere --card t.md", 1, "nowhere"),
    ],
)
def test_refused(charloom, workspace, monkeypatch, line, code, says):
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: True)
    done = charloom(line)
    assert done.code == code
    assert says in done.err
    assert not (workspace / "t.md").exists()


def test_a_missing_extra_is_found_before_anything_is_written(charloom, workspace, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: None)
    monkeypatch.setattr(hub, "find_spec", lambda _: None)
    assert "charloom[onnx]" in charloom("export runs/tales --card t.md --onnx t.onnx").err
    assert "charloom[hub]" in charloom("export runs/tales --card t.md --hub t --push a/b").err
    assert not (workspace / "t.md").exists()
    assert not (workspace / "t").exists()


def test_every_form_is_checked_before_the_first_is_written(charloom, workspace):
    pytest.importorskip("onnx")
    assert "runs is not an exported folder" in charloom("export runs/tales --onnx t.onnx --hub runs").err
    assert not (workspace / "t.onnx").exists()


def test_an_upload(charloom, workspace, monkeypatch):
    monkeypatch.setattr("charloom.export.check_hub_library", lambda: None)
    monkeypatch.setattr(
        "charloom.export.push_hub_folder", lambda folder, repo: f"https://hub/{repo}/{folder}"
    )
    done = charloom("export runs/tales --hub t --push emma/tales")
    assert done.out.splitlines()[-1] == "uploaded t: https://hub/emma/tales/t"
    assert charloom("export runs/tales --hub t --push a/b --json").json["pushed"] == "https://hub/a/b/t"


@pytest.mark.parametrize("run", ["tales", "names"])
def test_the_command_on_a_card_repeats_its_sample(charloom, workspace, run):
    assert charloom(f"export runs/{run} --hub {run}").code == 0
    page = (workspace / run / "README.md").read_text("utf-8")
    command = re.search(r"`charloom (sample model.safetensors .*)`", page)[1]
    shown = unescape(re.search(r'<pre dir="auto">(.*?)</pre>', page, flags=re.DOTALL)[1])
    words = shlex.split(command.replace("model.safetensors", f"{run}/model.safetensors"))
    texts = [one["text"] for one in charloom([*words, "--json"]).json["samples"]]
    assert "\n".join(texts).startswith(shown)
    assert len(shown) >= 400


def test_a_card_counts_copies_where_the_training_text_is(charloom, workspace):
    assert charloom("export runs/names --card n.md").code == 0
    page = (workspace / "n.md").read_text("utf-8")
    assert re.search(r"stands word for word in the training text has \d+ characters", page)
    assert re.search(r"[\d.]+% of the samples are not among the training documents", page)
    done = charloom("export runs/names/model.safetensors --card m.md")
    assert done.code == 0
    assert "note: cannot say on the card what was copied" in done.err
    assert "## Copies" not in (workspace / "m.md").read_text("utf-8")


def test_the_longest_copy_is_that_of_novelty(charloom, workspace):
    charloom("export runs/tales --card t.md")
    page = (workspace / "t.md").read_text("utf-8")
    command = re.search(r"`charloom (sample) model.safetensors (.*)`", page)
    found = charloom(f"sample runs/tales {command[2]} --novelty --json").json["novelty"]
    assert f"in the training text has {found['longest_copy_chars']:,} characters" in page
    assert f"make up {found['copied_share']:.1%}" in page


def test_the_program_on_the_card_runs(charloom, workspace, capsys, monkeypatch):
    pytest.importorskip("torch")
    charloom("export runs/tales --hub t")
    (code,) = re.findall(
        r"```python\n(.*?)```", (workspace / "t" / "README.md").read_text("utf-8"), re.DOTALL
    )
    monkeypatch.chdir(workspace / "t")
    exec(code, {})
    assert len(capsys.readouterr().out) > 200


def test_from_python(workspace):
    pytest.importorskip("onnx")
    model = api.load("runs/tales")
    model.export_onnx("t.onnx")
    model.export_card("t.md")
    assert [path.name for path in model.export_hub("t")] == ["model.safetensors", "config.json", "README.md"]
    assert (workspace / "t.md").read_text("utf-8").split("# ")[1].startswith("tales\n")
    assert json.loads((workspace / "t" / "config.json").read_text("utf-8"))["vocab"] == model.vocab.to_json()
    with pytest.warns(UserWarning, match="cannot say on the card what was copied"):
        api.load("runs/tales/model.safetensors").export_card("m.md")


def test_the_programs_of_the_page_run(charloom, workspace, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    page = (ROOT / "docs" / "how-to" / "share.md").read_text("utf-8")
    with_onnx, with_charloom = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(with_charloom, {"charloom": api})
    assert {"tales.onnx", "tales.md", "hub"} <= {path.name for path in workspace.iterdir()}
    capsys.readouterr()
    exec(with_onnx, {})
    printed = capsys.readouterr().out
    greedy = charloom("sample runs/tales --prompt Once --length 100 --temperature 0")
    assert printed == greedy.out
