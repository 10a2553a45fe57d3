"""``charloom score``: JSON keys, agreement with eval, unknown characters, odd texts and the page."""

import base64
import gzip
import json
import re

import pytest

import charloom as package


def test_json(charloom, shared_folder):
    result = charloom("score runs/tales more.txt --json").json
    assert set(result) == {
        *("schema", "chars", "bits_per_char", "total_bits", "predictions", "unknown_chars"),
        *("unknown_bits", "protocol", "unit", "oddities", "training_share"),
    }
    text = (shared_folder / "more.txt").read_text("utf-8")
    assert "".join(row["char"] for row in result["chars"]) == text
    assert result["chars"][0] == {"char": text[0], "surprisal_bits": None}
    bits = [row["surprisal_bits"] for row in result["chars"] if row["surprisal_bits"] is not None]
    assert result["total_bits"] == pytest.approx(sum(bits))
    assert result["bits_per_char"] == pytest.approx(sum(bits) / len(bits))
    assert result["predictions"] == len(bits) == len(text) - 1
    assert len(result["oddities"]) == 10
    first = result["oddities"][0]
    assert first["surprisal_bits"] == max(bits)
    assert set(first) == {
        *("char", "surprisal_bits", "offset", "line", "column", "before", "after"),
        *("expected", "expected_probability", "unknown"),
    }


@pytest.mark.parametrize("run", ["tales", "names"])
def test_the_mean_is_that_of_eval(charloom, shared_folder, run):
    text = "more.txt" if run == "tales" else "names.txt"
    scored = charloom(f"score runs/{run} {text} --json").json
    evaluated = charloom(f"eval runs/{run} {text} --json").json
    assert scored["bits_per_char"] == pytest.approx(evaluated["bits_per_char"], rel=1e-5)  # float32
    assert scored["predictions"] == evaluated["chars"]
    assert (scored["protocol"], scored["unit"]) == (evaluated["protocol"], evaluated["unit"])


def test_the_highest_surprisals_come_first(charloom, shared_folder):
    done = charloom("score runs/tales more.txt --top 3")
    top = charloom("score runs/tales more.txt --top 3 --json").json["oddities"]
    *summary, heading, a, b, c = done.out.splitlines()
    assert summary[0].startswith("8 characters (0.40%) are unknown")
    assert summary[1] == "stream protocol from the zero state, on more.txt: 1,999 predictions"
    assert summary[2] == "the first character is read but not charged"
    assert " bits/char, " in summary[3]
    assert heading == "most surprising:"
    for line, one in zip((a, b, c), top, strict=True):
        assert line.startswith(f"  {one['surprisal_bits']:6.2f} bits  {one['line']}:{one['column']} ")
        assert one["unknown"] is ("unknown" in line)
    assert "most surprising" not in charloom("score runs/tales more.txt --top 0").out


def test_a_text_on_standard_input(charloom, shared_folder):
    piped = charloom("score runs/tales - --json", (shared_folder / "more.txt").read_bytes()).json
    assert piped == charloom("score runs/tales more.txt --json").json


def test_unknown_characters_are_reported_first(charloom, workspace):
    (workspace / "greek.txt").write_text("the ξένος " * 20, encoding="utf-8")
    done = charloom("score runs/tales greek.txt")
    assert done.out.splitlines()[0] == (
        "100 characters (50.00%) are unknown to the model: charged 40.1 bits each"
    )
    result = charloom("score runs/tales greek.txt --json").json
    assert result["unknown_chars"] == 100
    assert result["chars"][4]["surprisal_bits"] == pytest.approx(40.08, abs=0.01)
    assert result["unknown_bits"] == pytest.approx(100 * 40.0848, rel=1e-4)
    assert result["oddities"][0]["unknown"] is True


def test_lines_are_ranked_by_their_surprisal(charloom, workspace):
    (workspace / "mixed.txt").write_text("anna\nelno\nC[Xe]Q\nminas\n\njona\n", encoding="utf-8")
    shown = charloom("score runs/names mixed.txt --by line")
    heading, first, *others = shown.out.split("in total\n")[1].splitlines()
    assert heading.split() == ["bits", "bits/char", "unknown", "line", "text"]
    assert first.split()[2:] == ["5", "3", "C[Xe]Q"]
    assert len(others) == 4
    result = charloom("score runs/names mixed.txt --by line --json").json
    assert "chars" not in result
    lines = result["lines"]
    assert [one["line"] for one in lines][:1] == [3]
    assert sorted(one["line"] for one in lines) == [1, 2, 3, 4, 6]
    assert set(lines[0]) == {"line", "text", "surprisal_bits", "bits_per_char", "chars", "unknown_chars"}
    assert [one["bits_per_char"] for one in lines] == sorted(
        (o["bits_per_char"] for o in lines), reverse=True
    )
    assert sum(one["surprisal_bits"] for one in lines) == pytest.approx(result["total_bits"])
    assert sum(one["unknown_chars"] for one in lines) == result["unknown_chars"] == 5
    two = charloom("score runs/names - --by line --top 2 --json", (workspace / "mixed.txt").read_bytes()).json
    assert two["lines"] == lines[:2]
    assert charloom("score runs/names mixed.txt --by line --html page.html").code == 0
    page = (workspace / "page.html").read_text("utf-8")
    assert "The most surprising lines" in page
    assert "C[Xe]Q</td>" in page


def test_all_lines_are_ranked_in_json_and_ten_are_printed(charloom, shared_folder):
    assert len(charloom("score runs/names names.txt --by line --json").json["lines"]) == 360
    assert (
        len(charloom("score runs/names names.txt --by line").out.split("line  text\n")[1].splitlines()) == 10
    )
    assert charloom("score runs/names names.txt --by word").code == 2


def test_unknown_characters_are_charged_if_the_model_has_unk(charloom, workspace):
    (workspace / "rare.txt").write_text(
        "a text, ξ and more text of that kind. " * 100 + "ψ", encoding="utf-8"
    )
    assert charloom("train rare.txt --min-count 2 --steps 2 --hidden-size 4 --out run --quiet").code == 0
    (workspace / "greek.txt").write_text("a ω text", encoding="utf-8")
    done = charloom("score run greek.txt")
    assert "charged as <unk>" in done.out.splitlines()[0]
    result = charloom("score run greek.txt --json").json
    assert result["oddities"][0]["char"] == "ω"
    assert result["bits_per_char"] == pytest.approx(
        charloom("eval run greek.txt --json").json["bits_per_char"], rel=1e-5
    )


def test_a_text_of_one_character_and_an_empty_one(charloom, shared_folder):
    done = charloom("score runs/tales -", b"T")
    assert done.code == 0
    assert "nothing was charged" in done.out
    result = charloom("score runs/tales - --json", b"T").json
    assert result["chars"] == [{"char": "T", "surprisal_bits": None}]
    assert result["bits_per_char"] is None
    assert result["oddities"] == []
    empty = charloom("score runs/tales - --json", b"")
    assert empty.code == 1
    assert empty.json["error"]["what"] == "- is empty"


def test_a_document_is_charged_from_its_first_character(charloom, shared_folder):
    result = charloom("score runs/names - --json", b"anna\nemma\n").json
    assert [row["char"] for row in result["chars"]] == list("anna\nemma\n")
    assert [row["surprisal_bits"] is None for row in result["chars"]] == [False] * 9 + [True]
    assert "not charged" not in charloom("score runs/names -", b"anna\nemma\n").out


def test_control_characters_are_shown_as_signs(charloom, workspace):
    text = "the \x1b[31mred\x1b[0m \u202etxet\u202c \x07 </script> كان"
    (workspace / "odd.txt").write_text(text * 30, encoding="utf-8")
    assert charloom("train odd.txt --steps 2 --hidden-size 4 --out run --quiet").code == 0
    done = charloom("score run odd.txt --top 2000")
    assert done.code == 0
    assert not set(done.out) & {"\x1b", "\x07", "\u202e"}
    assert "␛" in done.out
    isolates = re.findall("[\u2068\u2069]", done.out)
    assert isolates[::2] == ["\u2068"] * (len(isolates) // 2)  # each is closed before the next begins
    assert isolates[1::2] == ["\u2069"] * (len(isolates) // 2)


def test_the_page_contains_the_numbers_of_json(charloom, shared_folder, tmp_path):
    page = tmp_path / "page.html"
    done = charloom(f"score runs/tales more.txt --html {page}")
    assert "most surprising:" in done.out
    assert done.err.endswith(f"wrote {page}\n")
    written = page.read_text("utf-8")
    assert "<title>What surprised tales in more.txt</title>" in written
    data = re.search(r"base64,([^\"]*)\"", written).group(1)
    found = json.loads(gzip.decompress(base64.b64decode(data)))
    expected = charloom("score runs/tales more.txt --json").json
    chars = expected.pop("chars")
    assert found.pop("characters") == [one["char"] for one in chars]
    bits = [one["surprisal_bits"] for one in chars]
    assert found.pop("surprisal_bits") == [None if one is None else round(one, 2) for one in bits]
    assert found == expected


def test_training_text_is_called_that(charloom, workspace):
    (workspace / "part.txt").write_text(
        (workspace / "tales.txt").read_text("utf-8")[200:900], encoding="utf-8"
    )
    part = charloom(["score", "runs/tales", "part.txt", "--html", "part.html"])
    assert part.out.startswith("this is training text of the model: ")
    assert "this is training text" in (workspace / "part.html").read_text("utf-8")
    assert charloom("score runs/tales tales.txt").out.startswith(
        "90% of this is training text of the model: "
    )
    assert "training text" not in charloom("score runs/tales more.txt").out
    assert charloom("score runs/tales more.txt --json").json["training_share"] < 0.1
    model = "runs/tales/model.safetensors"
    assert charloom(f"score {model} tales.txt --json").json["training_share"] == 1.0
    assert charloom(f"score {model} more.txt --json").json["training_share"] is None
    config = json.loads((workspace / "runs/tales/config.json").read_text("utf-8"))
    config["corpus"]["sources"] = ["/nowhere/tales.txt"]
    (workspace / "runs/tales/config.json").write_text(json.dumps(config), encoding="utf-8")
    assert charloom("score runs/tales more.txt --json").json["training_share"] is None


def test_wrong_usage(charloom, shared_folder):
    assert charloom("score runs/tales").code == 2
    assert charloom("score runs/tales more.txt --top -1").code == 2
    missing = charloom("score runs/tales nowhere.txt --json")
    assert (missing.code, missing.json["error"]["kind"]) == (1, "DataError")


def test_quiet(charloom, shared_folder, tmp_path):
    assert charloom(f"score runs/tales more.txt --quiet --html {tmp_path / 'p.html'}").err == ""


def test_from_python(charloom, shared_folder):
    text = (shared_folder / "more.txt").read_text("utf-8")
    found = package.load("runs/tales").score(text)
    result = charloom("score runs/tales more.txt --json").json
    assert "".join(found.chars) == text
    assert found.bits_per_char == result["bits_per_char"]
    assert [one.offset for one in found.oddities(10)] == [one["offset"] for one in result["oddities"]]


def test_the_text_is_read_completely_and_in_its_own_encoding(charloom, workspace):
    text = "كان يا ما كان في قديم الزمان\n" * 50
    (workspace / "old.txt").write_bytes(text.encode("cp1256"))
    (workspace / "new.txt").write_text(text, encoding="utf-8")
    train = "train old.txt --encoding cp1256 --take-chars 600 --steps 2 --hidden-size 4 --out run --quiet"
    assert charloom(train).code == 0
    new = charloom("score run new.txt --json").json
    assert new["predictions"] == len(text) - 1  # not cut, as the training text was
    assert new["unknown_chars"] == 0  # not read as cp1256
    assert charloom("score run old.txt --encoding cp1256 --json").json == new
    shown = charloom("explain run/model.safetensors --text new.txt --json").json
    assert shown["corpus"]["num_chars"] == len(text)
    assert shown["first_text"] == text[:40]
