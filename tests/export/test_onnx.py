"""The ONNX file, run by onnxruntime: the engine's logits and state for every cell and block, and what its metadata says."""

import json

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines import load_engine
from charloom.errors import MissingExtraError, ModelFileError
from charloom.export.onnx import file as onnx_file
from charloom.export.onnx import write_onnx
from charloom.modelfile import ModelFile
from charloom.parameters import state_shapes
from charloom.text import Vocabulary
from tests.engines.cases import CASES, random_ids, random_parameters, random_state

from .cases import MORE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5  # float32 against float64


def model_file(config, rng, dtype="f8"):
    params = {name: array.astype(dtype) for name, array in random_parameters(config, rng, scale=0.4).items()}
    return ModelFile(params, config, TextConfig(), Vocabulary.from_text("abcdefg"), {"created": "today"})


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read(session, ids, state):
    """Run the file: the logits and the new state, as an engine gives them."""
    feeds = {f"state.{i}.{key}": s.astype("f4") for i, layer in enumerate(state) for key, s in layer.items()}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"ids": ids, **feeds}), strict=True))
    after = [{key: found[f"new_state.{i}.{key}"] for key in layer} for i, layer in enumerate(state)]
    return found["logits"], after


@pytest.mark.parametrize("config", (CASES | MORE).values(), ids=CASES | MORE)
def test_onnxruntime_computes_what_the_engine_computes(config, rng, tmp_path):
    file = model_file(config, rng)
    write_onnx(tmp_path / "m.onnx", file)
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    state, ids = random_state(state_shapes(config), 3, rng), random_ids(rng, 3, 9)
    engine = load_engine("scratch").model(file.parameters, config, precision="float64")
    wanted, wanted_after = engine.forward(ids, engine.import_state(state))
    session = session_of(tmp_path / "m.onnx")
    logits, after = read(session, ids, state)
    np.testing.assert_allclose(logits, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    for layer, wanted_layer in zip(after, engine.export_state(wanted_after), strict=True):
        assert layer.keys() == wanted_layer.keys()
        for key, leaf in layer.items():
            np.testing.assert_allclose(leaf, wanted_layer[key], rtol=TOLERANCE, atol=TOLERANCE, err_msg=key)
    parts = []
    for cut in (ids[:, :1], ids[:, 1:2], ids[:, 2:]):
        part, state = read(session, cut, state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), logits, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_file_states_its_opset_and_how_text_becomes_ids(rng, tmp_path):
    text = TextConfig(normalization="nfkc", documents="line")
    vocab = Vocabulary("char", (97, 233, 0x645), ("<boundary>",))
    config = ModelConfig(cell="gru", hidden_size=4)
    file = ModelFile(random_parameters(config, rng, vocab_size=4), config, text, vocab, {"created": "today"})
    write_onnx(tmp_path / "m.onnx", file)
    session = session_of(tmp_path / "m.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert [(one.domain, one.version) for one in onnx.load(tmp_path / "m.onnx").opset_import] == [("", 18)]
    assert json.loads(about["vocab"]) == vocab.to_json()
    assert json.loads(about["text"])["normalization"] == "nfkc"
    assert json.loads(about["text"])["unit"] == "char"
    assert json.loads(about["config"])["cell"] == "gru"
    assert json.loads(about["card"]) == {"created": "today"}
    assert [(put.name, put.shape) for put in session.get_inputs()] == [
        ("ids", ["batch", "time"]),
        ("state.0.h", ["batch", 4]),
    ]
    assert [(put.name, put.shape) for put in session.get_outputs()] == [
        ("logits", ["batch", "time", 4]),
        ("new_state.0.h", ["batch", 4]),
    ]


def test_the_weights_have_the_names_and_layouts_of_the_model_file(rng, tmp_path):
    file = model_file(CASES["lstm-residual-2"], rng, "f4")
    write_onnx(tmp_path / "m.onnx", file)
    found = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "m.onnx").graph.initializer
    }
    for name, array in file.parameters.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_same_model_gives_the_same_bytes(rng, tmp_path):
    file = model_file(CASES["gru-residual-2"], rng)
    for name in ("a.onnx", "b.onnx"):
        write_onnx(tmp_path / name, file)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_weights_too_large_for_the_format_are_refused(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 1000)
    with pytest.raises(ModelFileError, match=r"one ONNX file holds at most 1,000"):
        write_onnx(tmp_path / "m.onnx", model_file(CASES["lstm-plain-one-hot-2"], rng))
    assert not list(tmp_path.iterdir())


def test_without_the_package_the_extra_is_named(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        write_onnx(tmp_path / "m.onnx", model_file(CASES["gru-plain-one-hot-1"], rng))
    assert caught.value.fix == "pip install 'charloom[onnx]'"
