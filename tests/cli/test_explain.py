"""``charloom explain``: keys, texts and models, Arabic, odd texts, wrong usage."""

import base64
import json
import re
import subprocess
import sys

import pytest

import charloom as package

STATIONS = [
    "the corpus",
    "first ids",
    "one batch: lanes × time, x above y",
    "shapes and parameters",
    "one prediction",
]


def headings(out):
    return re.findall("^=== (.*) ===$", out, re.MULTILINE)


def test_json_of_a_text(charloom, shared_folder):
    result = charloom("explain tales.txt --json").json
    assert set(result) == {
        *(
            "schema",
            "trained",
            "settings_from",
            "cell",
            "corpus",
            "first_ids",
            "first_text",
            "batch",
            "stages",
            "num_params",
        ),
        "prediction",
    }
    text = (shared_folder / "tales.txt").read_text("utf-8")
    assert result["trained"] is False
    assert result["corpus"]["encodings"] == ["utf-8"]
    assert result["corpus"]["num_chars"] == len(text)
    assert result["corpus"]["num_distinct"] == len(set(text))
    assert "".join(row["char"] for row in result["first_ids"]) == text[:40]
    assert [row["id"] for row in result["first_ids"]] == [sorted(set(text)).index(char) for char in text[:40]]
    lane = result["batch"]["first"][0]
    assert len(lane["x"]) == len(lane["y_ids"]) == result["batch"]["bptt_length"]
    assert lane["x"] == list(text[lane["offset"] :][: len(lane["x"])])
    assert sum(one["num_params"] for one in result["stages"]) == result["num_params"]
    prediction = result["prediction"]
    assert [one["name"] for one in prediction["distributions"]] == [
        *("temperature 0.5", "temperature 1", "temperature 2", "top-k 5", "top-p 0.9")
    ]
    for one in prediction["distributions"]:
        assert sum(each["probability"] for each in one["chars"]) == pytest.approx(1)


def test_the_settings_are_those_of_train(charloom, workspace):
    settings = "--cell gru --hidden-size 12 --batch-size 4 --bptt-length 16"
    result = charloom(f"explain tales.txt {settings} --json").json
    trained = charloom(f"train tales.txt {settings} --steps 1 --out run --json").json
    assert result["num_params"] == trained["num_params"]
    assert (result["batch"]["batch_size"], result["batch"]["bptt_length"]) == (4, 16)
    default = charloom("explain tales.txt --json").json
    assert default["num_params"] == charloom("train tales.txt --steps 1 --out two --json").json["num_params"]


def test_a_recipe_sets_the_batching(charloom, shared_folder):
    done = charloom("explain tales.txt --recipe arabic-rnn-small")
    assert headings(done.out) == STATIONS
    assert (
        "64 lanes × 100 time steps (sliding); each lane starts 1 character after the previous one, so neighbouring lanes share 99"
        in done.out
    )
    assert "only the last y of each lane is predicted: 64 predictions per step" in done.out
    assert "where the two steps meet" not in done.out
    assert "where the two steps meet" in charloom("explain tales.txt").out
    assert re.search(r"logits +B 64 × V \d+ ", done.out)
    assert "recipe arabic-rnn-small" in done.out


def test_a_model_shows_its_own_prediction(charloom, shared_folder):
    done = charloom("explain runs/tales")
    assert headings(done.out) == STATIONS
    assert "the prediction of this trained model after 64 characters of the validation part" in done.out
    result = charloom("explain runs/tales --json").json
    assert result["trained"] is True
    model = package.load("runs/tales")
    validation = model.corpus().validation
    logits, _ = model.bound.forward(validation[None, :64].astype(int), model.bound.initial_state(1))
    import numpy as np

    probs = np.exp(logits[0, -1] - logits[0, -1].max())
    likeliest = result["prediction"]["distributions"][1]["chars"][0]
    assert likeliest["char_id"] == probs.argmax()
    assert likeliest["probability"] == pytest.approx(probs.max() / probs.sum(), rel=1e-4)  # float32
    assert result["prediction"]["actual"] == model.vocab.decode([int(validation[64])])


def test_a_model_of_documents(charloom, shared_folder):
    done = charloom("explain runs/names")
    assert done.code == 0
    assert "below, ▪ is <boundary>" in done.out
    rows = [line for line in done.out.splitlines() if line.lstrip().startswith("lane")]
    assert any(" ▪ " in line for line in rows)
    assert not any("<boundary>" in line for line in rows)
    assert "▪" not in charloom("explain runs/tales").out


def test_a_model_file_is_shown_on_a_text_or_on_its_prompt(charloom, shared_folder):
    done = charloom("explain runs/tales/model.safetensors")
    assert headings(done.out) == [STATIONS[1], *STATIONS[3:]]
    assert (
        "note: cannot show the corpus (name a text with --text): this model was loaded without its run"
        in done.err
    )
    assert charloom("explain runs/tales/model.safetensors --json").json["batch"] is None
    shown = charloom("explain runs/tales/model.safetensors --text more.txt")
    assert headings(shown.out) == STATIONS
    assert "note: 8 characters are unknown to the model: left out" in shown.err


@pytest.mark.parametrize("run", ["tales", "names"])
def test_the_last_character_of_a_prompt_is_read(charloom, shared_folder, run):
    import numpy as np

    model = package.load(f"runs/{run}")
    first = charloom(["explain", f"runs/{run}", "--prompt", "an", "--json"]).json["prediction"]
    prompt_ids = model.vocab.encode("an").astype(int)
    begin = [] if model.vocab.boundary_id is None else [model.vocab.boundary_id]
    ids = np.array([[*begin, *prompt_ids]])
    logits, _ = model.bound.forward(ids, model.bound.initial_state(1))
    probs = np.exp(logits[0, -1] - logits[0, -1].max())
    probs /= probs.sum()
    whole = first["distributions"][1]["chars"]
    assert [one["probability"] for one in whole] == pytest.approx(sorted(probs, reverse=True), rel=1e-3)
    assert whole[0]["char_id"] == probs.argmax()
    assert (first["part"], first["actual"], first["context_text"].strip()) == ("prompt", None, "an")
    other = charloom(["explain", f"runs/{run}", "--prompt", "ae", "--json"]).json["prediction"]
    assert other["distributions"] != first["distributions"]


def test_a_prompt_is_read_as_sample_reads_it(charloom, shared_folder):
    done = charloom("explain runs/tales --prompt - ", b"an\n")
    assert headings(done.out) == [STATIONS[1], *STATIONS[3:]]
    assert "context: …an" in done.out
    assert done.err == ""
    refused = charloom(["explain", "runs/tales", "--prompt", "aξ", "--json"])
    assert (refused.code, refused.json["error"]["kind"]) == (1, "UnknownCharacterError")
    skipped = charloom(["explain", "runs/tales", "--prompt", "aξ", "--unknown", "skip", "--json"])
    assert skipped.json["prediction"]["context_text"] == "a"
    assert "left out 'ξ'" in skipped.err
    long = charloom(["explain", "runs/tales", "--prompt", "an" * 100, "--json"]).json
    assert len(long["prediction"]["context"]) == 200


ARABIC = "كان يا ما كان، في قديم الزمان، سارقاً يسرق الخبز\n" * 40


def test_arabic_is_isolated_in_logical_order_and_without_boxes(charloom, workspace):
    (workspace / "arabic.txt").write_text(ARABIC, encoding="utf-8")
    done = charloom("explain arabic.txt --batch-size 4 --bptt-length 16 --stream-offset fixed")
    assert done.code == 0
    assert "\u2068كان يا ما كان، في" in done.out  # in logical order
    assert not set(done.out) & set("│┃┌┐└┘├┤┬┴┼─━╭╮╯╰")
    for line in done.out.splitlines():
        depth = 0
        for char in line:
            depth += {"\u2068": 1, "\u2069": -1}.get(char, 0)
            assert depth in (0, 1)
            assert depth == 1 or not "\u0621" <= char <= "\u064a", line  # every letter is isolated
        assert depth == 0
    assert "◌ً" in done.out  # a combining mark has a base
    lane = next(line for line in done.out.splitlines() if "lane 0 from 0  x" in line)
    letters = re.sub("[\u2068\u2069]", "", lane.split(" x ")[1]).split()
    assert "".join(letters) == ARABIC[:16].replace(" ", "␣")


def test_the_encoding_of_an_arabic_text_is_reported(charloom, workspace):
    (workspace / "cp.txt").write_bytes(ARABIC.encode("cp1256"))
    result = charloom("explain cp.txt --encoding cp1256 --json").json
    assert result["corpus"]["encodings"] == ["cp1256"]
    assert "encoding: cp1256" in charloom("explain cp.txt --encoding cp1256").out


def test_control_characters_are_shown_as_signs(charloom, workspace):
    text = "the \x1b[31mred\x1b[0m \u202etxet\u202c \x07 </script> كان\u2066\n"
    (workspace / "odd.txt").write_text(text * 30, encoding="utf-8")
    done = charloom("explain odd.txt --bptt-length 16")
    assert done.code == 0
    assert not set(done.out) & {"\x1b", "\x07", "\u202e", "\u2066"}
    assert "␛" in done.out
    page = charloom("explain odd.txt --bptt-length 16 --html odd.html")
    assert page.code == 0
    assert not set((workspace / "odd.html").read_text("utf-8")) & {"\x1b", "\x07", "\u202e", "\u2066"}


def test_standard_input(charloom, shared_folder):
    text = (shared_folder / "tales.txt").read_bytes()
    piped, named = charloom("explain - --json", text).json, charloom("explain tales.txt --json").json
    assert piped.pop("corpus")["most_frequent"] == named.pop("corpus")["most_frequent"]
    assert piped == named


@pytest.mark.parametrize(
    ("data", "what"), [(b"", "standard input is empty"), (b"a", "the text has 1 character")]
)
def test_too_little_text(charloom, shared_folder, data, what):
    done = charloom("explain - --json", data)
    assert done.code == 1
    assert done.json["error"]["what"] == what


def test_two_characters_are_enough(charloom, shared_folder):
    done = charloom("explain - --val-fraction 0", b"ab")
    assert done.code == 0
    assert "1 lane × 1 time step (" in done.out
    assert "bptt_length reduced from " in done.out


def test_filters_can_be_set(charloom, shared_folder):
    result = charloom("explain runs/tales --top-k 2 --top-p 0.5 --json").json
    by_k, by_p = result["prediction"]["distributions"][3:]
    assert (by_k["name"], len(by_k["chars"]), by_p["name"]) == ("top-k 2", 2, "top-p 0.5")
    assert charloom("explain runs/tales --top-k 0").code == 1
    assert charloom("explain runs/tales --top-p 1.5").code == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("explain runs/tales --recipe names", "--recipe cannot be combined with the model runs/tales"),
        ("explain runs/tales --hidden-size 4", "--hidden-size cannot be combined with the model runs/tales"),
        ("explain tales.txt --text more.txt", "tales.txt is a text and --text names another"),
        ("explain tales.txt --prompt a", "tales.txt is a text and --prompt is given"),
        ("explain runs/tales --prompt a --text more.txt", "--text and --prompt are both given"),
        ("explain runs/tales --unknown skip", "unknown is skip and there is no prompt"),
        ("explain nowhere.txt", "nowhere.txt"),
    ],
)
def test_contradictory_arguments_are_refused(charloom, shared_folder, line, says):
    done = charloom(line)
    assert done.code == 1
    assert says in done.err
    assert "fix: " in done.err
    assert charloom(line + " --json").json["error"]["what"]


def test_wrong_usage(charloom):
    assert charloom("explain").code == 2
    assert charloom("explain tales.txt --hiden-size 4").code == 2


def test_the_page_contains_the_numbers_of_json(charloom, shared_folder, tmp_path):
    page = tmp_path / "page.html"
    done = charloom(f"explain runs/tales --html {page}")
    assert done.err.endswith(f"wrote {page}\n")
    written = page.read_text("utf-8")
    assert "<title>From tales to a prediction</title>" in written
    data = re.search(r"base64,([^\"]*)\"", written).group(1)
    assert json.loads(base64.b64decode(data)) == charloom("explain runs/tales --json").json
    assert charloom(f"explain runs/tales --quiet --html {page}").err == ""


def test_neither_torch_nor_matplotlib_is_imported(shared_folder):
    script = """if True:
        import sys
        from charloom.cli import main
        assert main(["explain", "tales.txt", "--quiet"]) == 0
        assert not {"torch", "matplotlib"} & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_from_python(charloom, shared_folder):
    tour = package.explain("tales.txt", cell="elman", hidden_size=7)
    assert tour.cell == "elman"
    assert (
        tour.num_params
        == charloom("explain tales.txt --cell elman --hidden-size 7 --json").json["num_params"]
    )
