"""``charloom info``: what it prints about a model."""


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


def test_info_of_bytes(charloom, workspace):
    assert charloom("train tales.txt --unit byte --steps 2 --hidden-size 4 --out run --quiet").code == 0
    result = charloom("info run --json").json
    assert (result["unit"], result["vocab"], result["vocab_size"]) == ("byte", None, 256)
