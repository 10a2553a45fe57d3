"""A model file is read back exactly; a damaged, foreign or hostile one is refused with a reason."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.config import ModelConfig, TextConfig
from charloom.errors import ModelFileError, RunError
from charloom.modelfile import MAX_HEADER_BYTES, ModelFile, read_header, read_model, write_model
from charloom.parameters import initial_parameters
from charloom.text.vocabulary import BOUNDARY, UNK, Vocabulary

VOCAB = Vocabulary("char", (10, 32, 97, 1602, 0x1F600), (UNK, BOUNDARY))
CONFIG = ModelConfig(cell="lstm", hidden_size=3, embedding_size=2)


def make(dtype=np.float32, config=CONFIG, card=None):
    params = initial_parameters(config, len(VOCAB), 1)
    text = TextConfig(documents="line", normalization="nfkc", min_count=2)
    return ModelFile(
        {n: p.astype(dtype) for n, p in params.items()}, config, text, VOCAB, card or {"ق": [1, None]}
    )


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / "model.safetensors", make())
    return tmp_path / "model.safetensors"


def split(content):
    """(header, tensor bytes) of a file's content."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refuse(path, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_model(path)
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "config",
    [CONFIG, ModelConfig(block="residual", hidden_size=3, conv_width=1, tie_embeddings=True)],
    ids=["plain", "tied"],
)
def test_a_written_file_is_read_back(dtype, config, tmp_path):
    given = make(dtype, config)
    write_model(tmp_path / "m", given)
    back = read_model(tmp_path / "m")
    assert (back.model_config, back.text_config, back.card) == (config, given.text_config, given.card)
    assert (back.vocab.unit, back.vocab.symbols, back.vocab.specials) == (
        "char",
        VOCAB.symbols,
        VOCAB.specials,
    )
    assert back.parameters.keys() == given.parameters.keys()
    for name, p in given.parameters.items():
        assert back.parameters[name].dtype == dtype
        np.testing.assert_array_equal(back.parameters[name], p)


def test_rewriting_a_file_gives_the_same_header_and_tensor_bytes(path, tmp_path):
    write_model(tmp_path / "again", read_model(path))
    assert split((tmp_path / "again").read_bytes()) == split(path.read_bytes())


def test_the_header_is_as_documented(path):
    header, _ = split(path.read_bytes())
    metadata = header["__metadata__"]
    assert set(metadata) == {"format", "format_version", "config", "text", "vocab", "card"}
    assert (metadata["format"], metadata["format_version"]) == ("charloom", "1")
    assert json.loads(metadata["config"])["cell"] == "lstm"
    assert json.loads(metadata["vocab"]) == {
        "unit": "char",
        "code_points": [10, 32, 97, 1602, 0x1F600],
        "specials": [UNK, BOUNDARY],
        "labels": [],
    }


def test_views_are_written_with_their_own_values(tmp_path):
    given = make()
    turned = {
        n: np.asfortranarray(p) if p.ndim > 1 else np.repeat(p, 2)[::2] for n, p in given.parameters.items()
    }
    write_model(tmp_path / "m", ModelFile(turned, given.model_config, given.text_config, VOCAB))
    for name, p in read_model(tmp_path / "m").parameters.items():
        np.testing.assert_array_equal(p, given.parameters[name])


def test_a_file_that_cannot_be_written_is_explained(tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        write_model(tmp_path / "nowhere" / "m", make())


# ---------------------------------------------------------------------------------------------- damaged files


def test_a_missing_file_and_a_folder_are_explained(tmp_path):
    refuse(tmp_path / "none", r"cannot read .*none.*No such file")
    refuse(tmp_path, r"cannot read .*Is a directory")


@pytest.mark.parametrize(
    "content", [b"", b"\x02", b"\x00" * 8, b"\xff" * 8, b"\x02" + b"\x00" * 7, b"not a model" * 9]
)
def test_a_file_of_another_kind_is_refused(content, path):
    path.write_bytes(content)
    refuse(path, "not a usable model file")


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refuse(path, "not a usable model file")
    path.write_bytes(content[:-1])
    refuse(path, "bytes and")
    path.write_bytes(content + b"\x00")
    refuse(path, "bytes and")


def read_or_refuse(path):
    try:
        return read_model(path)
    except ModelFileError:
        return None


def test_no_flipped_bit_of_the_header_crashes_the_reader(path, rng):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    for place in [*range(64), *(8 * rng.integers(0, 8 + length, 700) + rng.integers(0, 8, 700)).tolist()]:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(bytes(flipped))
        model = read_or_refuse(path)  # a digit of a seed or a letter of the card may change unnoticed
        if model is not None:
            assert all(np.isfinite(p).all() for p in model.parameters.values())


def test_a_flipped_bit_that_makes_a_number_non_finite_is_found(path):
    content = path.read_bytes()
    _, data = split(content)
    first = len(content) - len(data)
    for place in range(first, len(content), 4):
        broken = bytearray(content)
        broken[place + 2 : place + 4] = b"\xc0\x7f"  # not a number, little-endian
        path.write_bytes(bytes(broken))
        refuse(path, "non-finite")


def test_flipped_bits_of_tensors_load_or_are_refused(path, rng):
    content = path.read_bytes()
    _, data = split(content)
    first = len(content) - len(data)
    for place in rng.integers(first, len(content), 100):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
        model = read_or_refuse(path)
        assert model is None or all(np.isfinite(p).all() for p in model.parameters.values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_bytes_in_the_header_crash_the_reader(tmp_path, text):
    path = tmp_path / "m"
    path.write_bytes(join(text, b"\x00" * 16))
    refuse(path, "not a usable model file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    part=st.sampled_from(["config", "text", "vocab", "card"]),
    key=st.integers(0, 40),
    value=JSON,
    whole=st.booleans(),
)
def test_no_json_in_the_metadata_crashes_the_reader(tmp_path, part, key, value, whole):
    path = tmp_path / "m"
    write_model(path, make())
    header, data = split(path.read_bytes())
    document = json.loads(header["__metadata__"][part])
    document = value if whole or not document else document | {sorted(document)[key % len(document)]: value}
    header["__metadata__"][part] = json.dumps(document)
    path.write_bytes(join(header, data))
    read_or_refuse(path)


# ---------------------------------------------------------------------------------------------- hostile files


def change(path, edit):
    """Rewrite the file with an edited header (and tensor bytes)."""
    header, data = split(path.read_bytes())
    path.write_bytes(join(*(edit(header, data) or (header, data))))


def metadata(**changes):
    return lambda header, _: header["__metadata__"].update(changes)


def entry(**changes):
    return lambda header, _: header["out.bias"].update(changes)


def drop(name):
    return lambda header, _: header.pop(name) and None


def swap_offsets(header, _):
    header["out.bias"]["data_offsets"] = header["layers.0.cell.bias"]["data_offsets"][:1] * 2


def overlap(header, _):
    begin, end = header["out.bias"]["data_offsets"]
    header["extra"] = {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}


def rename(header, _):
    header["out.bios"] = header.pop("out.bias")


def gap(header, data):
    last = max(header.keys() - {"__metadata__"}, key=lambda n: header[n]["data_offsets"][1])
    header[last]["data_offsets"] = [n + 4 for n in header[last]["data_offsets"]]
    return header, data + b"\x00" * 4


def transpose(header, _):
    header["out.weight"]["shape"].reverse()


def whole_config(**changes):
    def edit(header, _):
        config = json.loads(header["__metadata__"]["config"])
        header["__metadata__"]["config"] = json.dumps(config | changes)

    return edit


DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE = {
    "format": (metadata(format="other"), "does not name the charloom format"),
    "version": (metadata(format_version="2"), "format version is '2'"),
    "no-metadata": (drop("__metadata__"), "does not name the charloom format"),
    "metadata-null": (lambda h, _: h.update(__metadata__=None), "not in the safetensors format"),
    "metadata-list": (lambda h, _: h.update(__metadata__=[1]), "not in the safetensors format"),
    "metadata-number": (metadata(card=1), "not in the safetensors format"),
    "config-list": (metadata(config="[]"), "not a JSON object"),
    "config-torn": (metadata(config='{"cell"'), "not a JSON object"),
    "config-deep": (metadata(config=DEEP), "not a JSON object"),
    "card-deep": (metadata(card='{"a":' * 50_000 + "1" + "}" * 50_000), "not a JSON object"),
    "config-key": (whole_config(seed=1), "invalid setting or vocabulary"),
    "config-wide": (whole_config(hidden_size=10**9), "invalid setting or vocabulary"),
    "config-huge-integer": (whole_config(forget_bias=10**400), "invalid setting or vocabulary"),
    "config-nan": (whole_config(expansion=float("nan")), "invalid setting or vocabulary"),
    "config-list-value": (whole_config(cell=["lstm"]), "invalid setting or vocabulary"),
    "config-other-cell": (whole_config(cell="gru"), "its configuration requires"),
    "config-other-width": (whole_config(hidden_size=4), "its configuration requires"),
    "config-many-layers": (whole_config(num_layers=64, hidden_size=65_536), "its configuration requires"),
    "vocab-empty": (metadata(vocab="{}"), "invalid setting or vocabulary"),
    "vocab-text": (
        metadata(vocab='{"unit":"char","code_points":["a"],"specials":[],"labels":[]}'),
        "invalid",
    ),
    "vocab-order": (
        metadata(vocab='{"unit":"char","code_points":[9,8],"specials":[],"labels":[]}'),
        "invalid",
    ),
    "vocab-nested": (
        metadata(vocab='{"unit":"char","code_points":[[]],"specials":[[]],"labels":[{}]}'),
        "invalid",
    ),
    "vocab-size": (metadata(vocab='{"unit":"char","code_points":[9],"specials":[],"labels":[]}'), "requires"),
    "missing-tensor": (drop("out.bias"), "overlap or leave gaps|bytes and"),
    "foreign-tensor": (rename, "its configuration requires"),
    "transposed": (transpose, "its configuration requires"),
    "dtype-unknown": (entry(dtype="U8"), "impossible dtype, shape or position"),
    "dtype-half": (entry(dtype="F16"), "impossible dtype, shape or position"),
    "dtype-wide": (entry(dtype="F64"), "impossible dtype, shape or position"),
    "dtype-list": (entry(dtype=["F32"]), "impossible dtype, shape or position"),
    "shape-negative": (entry(shape=[-7]), "impossible dtype, shape or position"),
    "shape-huge": (entry(shape=[2**62, 2**62]), "impossible dtype, shape or position"),
    "shape-float": (entry(shape=[7.0]), "impossible dtype, shape or position"),
    "shape-bool": (entry(shape=[True]), "impossible dtype, shape or position"),
    "shape-text": (entry(shape="7"), "impossible dtype, shape or position"),
    "offsets-back": (entry(data_offsets=[28, 0]), "impossible dtype, shape or position"),
    "offsets-one": (entry(data_offsets=[0]), "impossible dtype, shape or position"),
    "offsets-none": (
        lambda h, _: h["out.bias"].pop("data_offsets") and None,
        "impossible dtype, shape or position",
    ),
    "offsets-empty": (swap_offsets, "impossible dtype, shape or position"),
    "entry-number": (lambda h, _: h.update({"out.bias": 7}), "impossible dtype, shape or position"),
    "overlap": (overlap, "overlap or leave gaps"),
    "gap": (gap, "overlap or leave gaps"),
    "list": (lambda _, d: ([1, 2], d), "not in the safetensors format"),
    "deep": (lambda _, d: (DEEP.encode(), d), "nested too deeply"),
    "utf-16": (lambda h, d: (json.dumps(h).encode("utf-16"), d), "not a usable model file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_with_a_reason(name, path):
    edit, reason = HOSTILE[name]
    change(path, edit)
    refuse(path, reason)


def test_a_duplicate_name_is_refused(path):
    content = path.read_bytes()
    header, data = split(content)
    text = json.dumps(header)
    twice = text[:-1] + ', "out.bias": ' + json.dumps(header["out.bias"]) + "}"
    path.write_bytes(join(twice.encode(), data))
    refuse(path, "twice")


def test_a_header_over_the_limit_is_not_read(path, monkeypatch):
    from charloom import modelfile

    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert MAX_HEADER_BYTES > 1 << 20
    monkeypatch.setattr(modelfile, "MAX_HEADER_BYTES", length - 1)
    refuse(path, "does not begin with a safetensors header")


def test_a_huge_header_length_allocates_nothing(path):
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**63) + content[8:])
    refuse(path, "does not begin with a safetensors header")


def test_read_header_reads_names_and_shapes_but_no_tensors(path, monkeypatch):
    import safetensors.numpy

    monkeypatch.setattr(safetensors.numpy, "load_file", lambda _: pytest.fail("tensors were read"))
    header, meta = read_header(path)
    assert {name: tuple(entry["shape"]) for name, entry in header.items()} == {
        name: p.shape for name, p in make().parameters.items()
    }
    assert meta["format"] == "charloom"
