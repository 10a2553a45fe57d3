"""The folder for the Hub: three files, never over other ones, and an upload of these only."""

import inspect
import json
import sys
import types

import numpy as np
import pytest

import charloom
from charloom.config import ModelConfig, TextConfig, to_dict
from charloom.errors import MissingExtraError, RunError
from charloom.export import check_hub_folder, hub, push_hub_folder, write_hub_folder
from charloom.modelfile import ModelFile, read_model
from charloom.parameters import initial_parameters
from charloom.runs import Run, list_runs
from charloom.text import Vocabulary

CONFIG = ModelConfig(cell="lstm", hidden_size=4)
TEXT = TextConfig(documents="é")


@pytest.fixture
def file():
    vocab = Vocabulary("char", tuple(map(ord, "abc")), ("<boundary>",))
    return ModelFile(initial_parameters(CONFIG, 4, 0), CONFIG, TEXT, vocab, {"created": "today"})


def test_three_files(file, tmp_path):
    paths = write_hub_folder(tmp_path / "new" / "m", file, card="# m\n")
    assert [path.name for path in paths] == ["model.safetensors", "config.json", "README.md"]
    assert sorted(path.name for path in (tmp_path / "new" / "m").iterdir()) == sorted(p.name for p in paths)
    assert paths[2].read_text("utf-8") == "# m\n"
    about = json.loads(paths[1].read_text("ascii"))
    assert about["model_type"] == "charloom"
    assert about["model"] == to_dict(CONFIG)
    assert about["text"] == to_dict(TEXT)
    assert about["vocab"] == file.vocab.to_json()
    np.testing.assert_array_equal(read_model(paths[0]).parameters["out.bias"], file.parameters["out.bias"])


def test_charloom_reads_the_folder_and_its_file(file, tmp_path):
    write_hub_folder(tmp_path / "m", file, card="")
    for place in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
        loaded = charloom.load(place)
        assert loaded.file.model_config == CONFIG
        assert loaded.run is None


def test_the_folder_is_not_a_run(file, tmp_path):
    write_hub_folder(tmp_path / "m", file, card="")
    assert list_runs(tmp_path) == []
    with pytest.raises(RunError, match="exported for the Hugging Face Hub"):
        Run.open(tmp_path / "m")


def test_an_earlier_export_is_replaced(file, tmp_path):
    write_hub_folder(tmp_path, file, card="old")
    (tmp_path / ".git").mkdir()
    write_hub_folder(tmp_path, file, card="new")
    assert (tmp_path / "README.md").read_text("utf-8") == "new"


@pytest.mark.parametrize(
    "others", [{"a.txt": ""}, {"config.json": "{}"}, {"config.json": "[1]"}, {"config.json": "{"}]
)
def test_other_files_are_never_overwritten(file, tmp_path, others):
    for name, text in others.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="is not an exported folder"):
        write_hub_folder(tmp_path, file, card="")
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == others


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "m").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="it is a file"):
        check_hub_folder(tmp_path / "m")


class FakeHub:
    """In place of `HfApi`: notes its calls, or fails."""

    calls, error = [], None

    def create_repo(self, *args, **settings):
        if FakeHub.error is not None:
            raise FakeHub.error
        FakeHub.calls.append(("create_repo", args, settings))

    def upload_folder(self, *args, **settings):
        FakeHub.calls.append(("upload_folder", args, settings))
        return "https://huggingface.co/emma/tales/tree/main/"


@pytest.fixture
def fake_hub(monkeypatch):
    FakeHub.calls, FakeHub.error = [], None
    module = types.ModuleType("huggingface_hub")
    module.HfApi = FakeHub
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setattr(hub, "find_spec", lambda _: True)
    return FakeHub


def test_the_upload_has_the_three_files_only_and_a_new_repository_is_private(fake_hub, file, tmp_path):
    write_hub_folder(tmp_path, file, card="")
    assert push_hub_folder(tmp_path, "emma/tales") == "https://huggingface.co/emma/tales/tree/main/"
    (_, created, how), (_, _, uploaded) = fake_hub.calls
    assert (created, how) == (("emma/tales",), {"private": True, "exist_ok": True})
    assert uploaded["folder_path"] == tmp_path
    assert uploaded["allow_patterns"] == ["model.safetensors", "config.json", "README.md"]


def test_the_real_library_takes_these_arguments(fake_hub, file, tmp_path, monkeypatch):
    write_hub_folder(tmp_path, file, card="")
    push_hub_folder(tmp_path, "emma/tales")
    monkeypatch.undo()
    api = pytest.importorskip("huggingface_hub").HfApi
    for name, args, settings in fake_hub.calls:
        inspect.signature(getattr(api, name)).bind(None, *args, **settings)


def test_a_refused_upload_is_explained(fake_hub, tmp_path):
    fake_hub.error = OSError("401 Client Error\nfor url")
    with pytest.raises(RunError) as caught:
        push_hub_folder(tmp_path, "emma/tales")
    assert caught.value.what == "cannot upload to emma/tales"
    assert caught.value.why == "401 Client Error for url"
    assert "hf auth login" in caught.value.fix


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        push_hub_folder(tmp_path, "emma/tales")
    assert caught.value.fix == "pip install 'charloom[hub]'"
