"""A short program that reads an exported folder and continues a text, with torch and safetensors only.

It is written for one model: only the cell and the block that it has.
"""

from __future__ import annotations

from string import Template
from textwrap import indent

from charloom.generation import encode_prompt
from charloom.generation.prefill import with_bos
from charloom.modelfile import ModelFile
from charloom.parameters import NORM_EPSILON, mlp_size, state_shapes

_BEGIN = """\
import json
from pathlib import Path
import torch
from safetensors.torch import load_file

p = {name: w.float() for name, w in load_file("model.safetensors").items()}
$chars
layers = [{n[len(b):]: w for n, w in p.items() if n.startswith(b)} for b in $beginnings]
state = [$zeros for _ in layers]
"""

_CHARS = """\
vocab = json.loads(Path("config.json").read_text())["vocab"]
chars = [chr(code) for code in vocab["code_points"]]"""

_NORM = """
def norm(x, gain):
    return gain * x / (x.square().mean() + $epsilon).sqrt()
"""

_READ = """
def read(char_id):  # returns the logits of the next character, and updates the state
    x = $input
    for w, s in zip(layers, state):
$layer
    return $out + p["out.bias"]
"""

_CONVOLVE = """\
taps = torch.cat([s["conv"], norm(x, w["norm"])[None]])
s["conv"], u = taps[1:], (taps.T * w["conv.weight"]).sum(1) + w["conv.bias"]
"""

_MLP = """\
v = norm(x, w["mlp_norm"])
x = x + w["mlp.down"] @ (torch.nn.functional.silu(w["mlp.gate"] @ v) * (w["mlp.up"] @ v))
"""

_CELLS = {
    "elman": """\
s["h"] = (a + w["cell.w_hh"] @ s["h"]).$activation()
""",
    "lstm": """\
i, f, g, o = (a + w["cell.w_hh"] @ s["h"]).chunk(4)
s["c"] = f.sigmoid() * s["c"] + i.sigmoid() * g.tanh()
s["h"] = o.sigmoid() * s["c"].tanh()
""",
    "gru": """\
(a_r, a_z, a_n), (u_r, u_z, u_n) = a.chunk(3), (w["cell.w_hh"] @ s["h"]).chunk(3)
r, z = (a_r + u_r).sigmoid(), (a_z + u_z).sigmoid()
s["h"] = (1 - z) * (a_n + r * (u_n + w["cell.bias_hn"])).tanh() + z * s["h"]
""",
    "mingru": """\
a_z, a_n = a.chunk(2)
z, n = a_z.sigmoid(), torch.where(a_n >= 0, a_n + 0.5, a_n.sigmoid())
s["h"] = (1 - z) * s["h"] + z * n
""",
}


def torch_example(file: ModelFile, *, prompt: str, temperature: float, length: int = 200) -> str:
    """The program for a model; it runs in the folder that has the model's ``model.safetensors`` and ``config.json``.

    Args:
        file: the model.
        prompt: the text that it continues; the model knows its characters.
        temperature: of the text, above 0.
        length: characters to generate.
    """
    return _loading(file) + _reading(file) + _writing(file, prompt, temperature, length)


def _loading(file: ModelFile) -> str:
    config = file.model_config
    shapes = state_shapes(config)[0].items()
    zeros = ", ".join(f'"{key}": torch.zeros({", ".join(map(str, shape))})' for key, shape in shapes)
    beginnings = repr([f"layers.{i}." for i in range(config.num_layers)])
    is_char = file.vocab.unit == "char"
    code = Template(_BEGIN).substitute(
        chars=_CHARS if is_char else "", beginnings=beginnings, zeros=f"{{{zeros}}}"
    )
    return (
        code
        if is_char
        else code.replace("import json\nfrom pathlib import Path\n", "").replace("\n\nlayers", "\nlayers")
    )


def _reading(file: ModelFile) -> str:
    config, one_hot = file.model_config, f"torch.eye({len(file.vocab)})[char_id]"
    cell = Template(_CELLS[config.cell]).substitute(activation=config.activation)
    weight, norm = 'p["embedding"]' if config.tie_embeddings else 'p["out.weight"]', ""
    if config.block == "plain":
        layer, out = f'a = w["cell.w_ih"] @ x + w["cell.bias"]\n{cell}x = s["h"]', f"{weight} @ x"
    else:
        layer = f'{_CONVOLVE}a = w["cell.w_ih"] @ u + w["cell.bias"]\n{cell}x = x + w["proj"] @ s["h"]\n'
        layer += _MLP if mlp_size(config) else ""
        out, norm = f'{weight} @ norm(x, p["norm"])', Template(_NORM).substitute(epsilon=NORM_EPSILON)
    return norm + Template(_READ).substitute(
        input='p["embedding"][char_id]' if "embedding" in file.parameters else one_hot,
        layer=indent(layer.rstrip(), " " * 8),
        out=out,
    )


def _writing(file: ModelFile, prompt: str, temperature: float, length: int) -> str:
    vocab = file.vocab
    ids, _ = encode_prompt(prompt, vocab, "error", file.text_config)
    begin = [vocab.boundary_id] if vocab.boundary_id is not None else []
    text = vocab.decode(ids if begin else with_bos(ids, vocab))
    is_char = vocab.unit == "char"
    written = f"[chars.index(char) for char in {text!r}]" if is_char else f"list({text!r}.encode())"
    lines = [
        "",
        f"ids = {begin} + {written}" if begin else f"ids = {written}",
        "for char_id in ids:",
        "    logits = read(char_id)",
        f"for _ in range({length}):",
    ]
    if vocab.unk_id is not None:
        lines.append(f"    logits[{vocab.unk_id}] = -torch.inf  # never <unk>")
    lines.append(f"    ids.append(torch.multinomial((logits / {temperature:g}).softmax(0), 1).item())")
    if begin:
        lines += [f"    if ids[-1] == {begin[0]}:  # the next document begins", "        break"]
    lines.append("    logits = read(ids[-1])")
    known = f" if i < {len(vocab.symbols)}" if vocab.specials else ""
    shown = (
        f'"".join(chars[i] for i in ids{known})'
        if is_char
        else f'bytes(i for i in ids{known}).decode("utf-8", "replace")'
    )
    return "\n".join([*lines, f"print({shown})", ""])
