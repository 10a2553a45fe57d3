"""A model as a page: the image that it lays out is Python's, nothing on it is read as markup, and its size."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines.fused.image import to_image
from charloom.engines.fused.packing import pack
from charloom.errors import ConfigError
from charloom.kernels.library import FOLDER
from charloom.page import offline as module
from charloom.text.vocabulary import Vocabulary

from ..engines.cases import CASES, SHORT_CASES
from .pages import as_stored, block, described, model_of, page, unpacked

PAGE = Path(module.__file__).parent / "parts"
HERE = Path(__file__).parent

needs_module = pytest.mark.skipif(
    not (FOLDER / "charloom.wasm").is_file(),
    reason="the WebAssembly module is not built: python tools/build_kernels.py --target wasm",
)
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
pytestmark = needs_module

TIED = {
    "tied": ModelConfig(cell="lstm", hidden_size=6, embedding_size=6, tie_embeddings=True),
    "tied-residual": ModelConfig(cell="gru", hidden_size=6, block="residual", tie_embeddings=True),
    "no-mlp": ModelConfig(cell="lstm", hidden_size=20, block="residual", mlp_ratio=0.0, conv_width=1),
    "wide": ModelConfig(cell="gru", hidden_size=37, embedding_size=9, num_layers=2),
}
NETWORKS = SHORT_CASES | TIED


@needs_node
@pytest.mark.parametrize("precision", ["float16", "float32", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_page_lays_the_network_out_as_python_does(name, precision, rng, tmp_path):
    model = model_of(NETWORKS[name], rng)
    html = page(model, precision)
    (tmp_path / "model.json").write_text(block(html, "model"), encoding="utf-8")
    (tmp_path / "weights").write_bytes(unpacked(html, "weights"))
    places = [tmp_path / "model.json", tmp_path / "weights", tmp_path / "image"]
    subprocess.run(["node", HERE / "image.cjs", PAGE / "network.js", *places], check=True, timeout=60)
    stored, dtype = as_stored(model, precision), np.dtype(np.float32)
    expected = to_image(pack(stored.parameters, model.model_config, dtype=dtype, int8=precision == "int8"))
    assert (tmp_path / "image").read_bytes() == expected


def test_every_network_has_a_page(rng):
    for config in CASES.values():
        assert len(described(page(model_of(config, rng)))["tensors"]) > 0


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u202e<!--",
    '"><b>',
    "\0\x1b[31m",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_a_model_is_markup(text, rng):
    vocab = Vocabulary.from_text("".join(HOSTILE))
    model = model_of(
        ModelConfig(hidden_size=4), rng, vocab=vocab, text_config=TextConfig(replace_chars="<=>")
    )
    plain = page(model, title="t")
    html = page(model, title=text, prompt=text, facts=((text, text),))
    for tag in ("script", "img", "b", "iframe"):
        assert len(re.findall(rf"<{tag}[\s>]", html)) == len(re.findall(rf"<{tag}[\s>]", plain))
    assert described(html)["prompt"] == text
    assert "\u202e" not in html
    assert "\x1b" not in html


def test_the_policy_names_this_script_and_this_style(rng):
    html = page(model_of(ModelConfig(hidden_size=4), rng))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    for tag in ("script", "style"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL).group(1)
        digest = hashlib.sha256(content.encode()).digest()
        assert module.base64.b64encode(digest).decode() in policy


def test_the_scripts_write_text_and_never_markup():
    for path in PAGE.glob("*.js"):
        source = path.read_text("utf-8")
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert forbidden not in source, path.name
        assert ("fetch(" in source) == (path.name == "online.js")


def test_a_page_is_the_same_every_time(rng):
    model = model_of(ModelConfig(hidden_size=4), rng)
    assert page(model) == page(model)


def test_a_page_of_900_000_weights_is_small(rng):
    model = model_of(
        ModelConfig(cell="lstm", hidden_size=456), rng, vocab=Vocabulary.from_text(" abcdefghijklmnopqrst")
    )
    assert sum(p.size for p in model.parameters.values()) > 880_000
    assert len(page(model).encode()) < 2_500_000


def test_a_weight_beyond_float16_is_refused(rng):
    model = model_of(ModelConfig(hidden_size=4), rng)
    large = {name: p * 1e6 for name, p in model.parameters.items()}
    with pytest.raises(ConfigError, match="float16 ends at 65504"):
        page(replace(model, parameters=large))
    assert described(page(replace(model, parameters=large), "float32"))["precision"] == "float32"


def test_without_the_module_the_error_says_how_to_build_it(rng, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="WebAssembly module is not at"):
        page(model_of(ModelConfig(hidden_size=4), rng))
