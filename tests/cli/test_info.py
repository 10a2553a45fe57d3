"""``charloom info``: what it prints about a model."""

from dataclasses import replace

from charloom.modelfile import read_model, write_model


def test_info_json(charloom, shared_folder):
    result = charloom("info runs/tales --json").json
    assert result["config"]["hidden_size"] == 12
    assert result["num_params"] == charloom("compare runs/tales --json").json["runs"][0]["num_params"]
    assert result["vocab_size"] == len(result["vocab"])
    assert result["parameters"]["out.bias"] == [result["vocab_size"]]
    assert result["card"]["results"]["steps"] == 24
    assert charloom("info runs/names --json").json["specials"] == ["<boundary>"]


def test_info_text(charloom, shared_folder):
    out = charloom("info runs/tales").out
    for words in ("hidden_size", "layers.0.cell.w_hh", "vocabulary: ", "normalization", "val_bits_per_char"):
        assert words in out


def test_info_begins_with_the_five_lines_that_matter(charloom, shared_folder):
    facts = charloom("info runs/tales --json").json
    results = facts["card"]["results"]
    figures = [f"{results[f'{name}_bits_per_char']:.3f}" for name in ("val", "ngram", "xz")]
    model, text, size, held_out, sample, nothing, *_ = charloom("info runs/tales").out.splitlines()
    assert model.startswith(f"model:    {facts['config']['cell']}, ")
    assert text.startswith("text:     tales, 12,000 characters, in 24 steps (")
    assert size.endswith(f"{facts['bytes']:,} bytes, vocabulary of {facts['vocab_size']}")
    assert held_out == "held out: {} bits/char (n-gram {}, xz {})".format(*figures)
    assert (sample, nothing) == ("sample:   charloom sample runs/tales --length 300 --temperature 0.7", "")
    assert "charloom sample runs/names --count 20" in charloom("info runs/names").out


def test_info_of_a_model_without_a_card(charloom, shared_folder, tmp_path):
    file = read_model(shared_folder / "runs/tales/model.safetensors")
    write_model(tmp_path / "bare.safetensors", replace(file, card={}))
    lines = charloom(["info", str(tmp_path / "bare.safetensors")]).out.splitlines()
    assert lines[1] == "text:     unknown, its card does not say"
    assert lines[3] == "held out: not measured"


def test_info_of_bytes(charloom, workspace):
    assert charloom("train tales.txt --unit byte --steps 2 --hidden-size 4 --out run --quiet").code == 0
    result = charloom("info run --json").json
    assert (result["unit"], result["vocab"], result["vocab_size"]) == ("byte", None, 256)
