"""The example with plain torch: it runs in the exported folder, and its logits are the engine's for every cell and block."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.engines import load_engine
from charloom.export.hub import write_hub_folder
from charloom.export.torch_example import torch_example
from charloom.generation.prefill import with_bos
from charloom.modelfile import ModelFile
from charloom.text import Vocabulary
from tests.engines.cases import CASES, random_ids, random_parameters

from .cases import MORE

torch = pytest.importorskip("torch")

TOLERANCE = 1e-5  # float32 against float64
VOCABULARIES = {
    "characters": Vocabulary.from_text("\nab`'\"é"),
    "unknown": Vocabulary("char", (97, 98, 0x645), ("<unk>",)),
    "documents": Vocabulary("char", (97, 98, 0x645), ("<boundary>",)),
    "both": Vocabulary("char", (97, 98), ("<unk>", "<boundary>")),
    "bytes": Vocabulary("byte", tuple(range(256))),
    "byte-documents": Vocabulary("byte", tuple(range(256)), ("<boundary>",)),
}


def run(file, folder, monkeypatch, capsys, prompt="", length=30):
    """Run the program in the folder; what it defines, and what it prints."""
    write_hub_folder(folder, file, card="")
    monkeypatch.chdir(folder)
    names = {}
    torch.manual_seed(0)
    exec(torch_example(file, prompt=prompt, temperature=0.7, length=length), names)
    return names, capsys.readouterr().out


@pytest.mark.parametrize("config", (CASES | MORE).values(), ids=CASES | MORE)
def test_its_logits_are_the_engines(config, rng, tmp_path, monkeypatch, capsys):
    params = random_parameters(config, rng, scale=0.4)
    file = ModelFile(params, config, TextConfig(), Vocabulary.from_text("abcdefg"))
    names, _ = run(file, tmp_path / "folder", monkeypatch, capsys, prompt="a", length=2)
    (ids,) = random_ids(rng, 1, 8)
    for layer in names["state"]:
        for leaf in layer.values():
            leaf.zero_()
    found = [names["read"](int(char_id)).numpy() for char_id in ids]
    engine = load_engine("scratch").model(params, config, precision="float64")
    wanted, _ = engine.forward(ids[None], engine.initial_state(1))
    np.testing.assert_allclose(found, wanted[0], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("vocab", VOCABULARIES.values(), ids=VOCABULARIES)
@pytest.mark.parametrize("prompt", ["", "ab"])
def test_it_writes_text_of_every_kind_of_vocabulary(vocab, prompt, rng, tmp_path, monkeypatch, capsys):
    config = ModelConfig(cell="gru", hidden_size=4)
    params = random_parameters(config, rng, vocab_size=len(vocab))
    file = ModelFile(params, config, TextConfig(), vocab)
    names, printed = run(file, tmp_path / "folder", monkeypatch, capsys, prompt=prompt)
    begin = with_bos(vocab.encode(prompt), vocab).tolist()
    assert names["ids"][: len(begin)] == begin
    generated = names["ids"][len(begin) :]
    assert 1 <= len(generated) <= 30
    assert vocab.unk_id not in generated
    assert vocab.boundary_id not in generated[:-1]
    assert printed.startswith(prompt)


@pytest.mark.parametrize("config", (CASES | MORE).values(), ids=CASES | MORE)
def test_it_is_short(config, rng):
    params = random_parameters(config, rng)
    file = ModelFile(params, config, TextConfig(), Vocabulary.from_text("abcdefg"))
    lines = torch_example(file, prompt="a", temperature=0.7).splitlines()
    assert sum(bool(line.strip()) for line in lines) <= (26 if config.block == "plain" else 33)
    assert max(map(len, lines)) <= 110
