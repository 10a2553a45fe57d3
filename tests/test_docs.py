"""Generated pages are up to date, and every command of the README and of the how-to pages runs."""

import io
import lzma
import re
import shlex
import sys
import tomllib

import pytest

from charloom.files import sha256_of
from charloom.text import catalogue
from tests.conftest import ROOT
from tests.scripts import script


def generator():
    """The module ``docs/generate.py``."""
    return script("docs/generate.py")


def generated():
    return generator().pages()


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_generated_page_is_current(path):
    assert path.read_text("utf-8") == generated()[path], "run python docs/generate.py"


@pytest.mark.parametrize("path", generator().pictures(), ids=lambda path: path.name)
def test_a_generated_picture_is_current(path):
    """Its bytes are the same in every process; another version of matplotlib draws others."""
    matplotlib = pytest.importorskip("matplotlib")
    drawn = path.read_text("utf-8")
    if f"Matplotlib v{matplotlib.__version__}," not in drawn:
        pytest.skip(f"drawn by another matplotlib than {matplotlib.__version__}")
    again = generator().pictures()[path]()
    assert drawn == again, "run python docs/generate.py"  # (pytest shows no diff of half a megabyte)


def commands_of(path):
    """Every line of a page that begins with ``charloom`` inside an indented block, up to the pipe to another program."""
    lines = (ROOT / path).read_text("utf-8").splitlines()
    return [line.partition(" | ")[0].strip() for line in lines if line.startswith("    charloom ")]


SHORTER = {"demo": ["--minutes", "0.02"], "train": ["--steps", "3", "--batch-size", "2"]}
"""A test has seconds where a reader has minutes; only the budget and the batch differ."""


def shortened(command):
    words = shlex.split(command)[1:]
    if words[0] == "demo" or (words[0] == "train" and "--resume" not in words):
        budget = ("--minutes", "--steps", "--epochs")
        words = [w for i, w in enumerate(words) if w not in budget and (not i or words[i - 1] not in budget)]
        words += SHORTER[words[0]]
    return words


def pretend_fetched(folder, texts, monkeypatch):
    """Known corpora that are in the folder already, so that no command needs a network."""
    folder.mkdir()
    monkeypatch.setenv("CHARLOOM_DATA", str(folder))
    known = dict(catalogue.KNOWN)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        known[name] = known[name]._replace(sha256=sha256_of(folder / f"{name}.txt"))
    monkeypatch.setattr(catalogue, "KNOWN", known)


@pytest.mark.usefixtures("quick_calibration")
@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("README.md", 14),
        ("docs/tutorial/first-model.md", 6),
        ("docs/tutorial/why-does-my-rnn-forget.md", 8),
        ("docs/how-to/compare-runs.md", 3),
        ("docs/how-to/copied-text.md", 1),
        ("docs/how-to/ensembles.md", 4),
        ("docs/how-to/find-typos.md", 3),
        ("docs/how-to/fine-tune.md", 2),
        ("docs/how-to/large-texts.md", 3),
        ("docs/how-to/many-samples.md", 4),
        ("docs/how-to/own-text.md", 6),
        ("docs/how-to/plan.md", 2),
        ("docs/how-to/several-machines.md", 4),
        ("docs/how-to/share.md", 5),
        ("docs/how-to/search.md", 5),
        ("docs/how-to/serve.md", 4),
        ("docs/how-to/take-the-tour.md", 6),
        ("docs/how-to/write-together.md", 1),
    ],
)
def test_every_command_of_a_page_runs_in_the_order_given(page, least, tmp_path, monkeypatch, request):
    from charloom.cli import main

    if page.endswith("/serve.md"):
        request.getfixturevalue("ending_server")
    pytest.importorskip("matplotlib")
    needed = {"docs/how-to/share.md": "onnx", "docs/how-to/search.md": "optuna"}
    if page in needed:
        pytest.importorskip(needed[page])
    tale = "Once upon a time there was a tale. The end. " * 160
    (tmp_path / "tales.txt").write_text(tale, encoding="utf-8")
    (tmp_path / "more.txt").write_text(tale[:500], encoding="utf-8")
    (tmp_path / "poems.txt").write_text("Twice upon a rhyme there was a time. " * 90, encoding="utf-8")
    (tmp_path / "huge.txt.xz").write_bytes(lzma.compress(tale.encode()))
    for folder, name in (("dumps", "a.txt.xz"), ("more", "b.txt")):
        (tmp_path / folder).mkdir()
        data = tale.encode()
        (tmp_path / folder / name).write_bytes(lzma.compress(data) if name.endswith("xz") else data)
    (tmp_path / "names.txt").write_text("emma\nolivia\nava\nisabella\nsophia\n" * 100, encoding="utf-8")
    rows = "".join(f'{number},"Once upon a time, ""{number}"" of us"\n' for number in range(200))
    (tmp_path / "reviews.csv").write_text(f"id,text\n{rows}", encoding="utf-8")
    (tmp_path / "games.pgn").write_text('[Event "a"]\n1. e4 e5\n\n' * 200, encoding="utf-8")
    (tmp_path / "pages.txt").write_text("l\u2019\u00e9t\u00e9 \ufffd est\u00ad long\n" * 80, encoding="utf-8")
    (tmp_path / "page.txt").write_text("كان يا ما كان، في قديم الزمان، ولد فقير.\n" * 80, encoding="utf-8")
    (tmp_path / "letter.txt").write_text("The tale was tlod once upon a time.\n", encoding="utf-8")
    pretend_fetched(
        tmp_path / "corpora",
        {"tinyshakespeare": "ROMEO:\n" + tale, "names": "emma\nolivia\nava\n" * 100},
        monkeypatch,
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))  # a dialogue ends at once
    if page.startswith("docs/how-to/"):  # they begin where the first tutorial ends
        assert main(shortened("charloom train tales.txt --out runs/tales")) == 0
        assert main(shortened("charloom train names.txt --documents line --out runs/names")) == 0
    commands = commands_of(page)
    assert len(commands) >= least
    for command in commands:
        assert main(shortened(command)) == 0, command


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-model.md"])
def test_what_a_page_installs_draws_and_trains(page):
    (extras,) = re.findall(r"^    pip install '\.\[(.*)\]'$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    wanted = {
        extra
        for named in extras.split(",")
        for extra in {"all": ["train", "plot", "serve", "search"]}.get(named, [named])
    }
    libraries = {re.match(r"\w+", library)[0] for extra in wanted for library in offered[extra]}
    assert {"torch", "matplotlib"} <= libraries
    assert offered["all"] == ["charloom[train,plot,serve,search]"]


def test_the_index_of_the_lab_log_has_every_experiment():
    log, index = (
        (ROOT / "docs" / "lab-log" / name).read_text("utf-8") for name in ("2026-11.md", "index.md")
    )
    listed = sorted(map(int, re.findall(r"2026-11\.md#e(\d+)\)", index)))
    assert listed == sorted(map(int, re.findall(r'<a id="e(\d+)"></a>', log)))
    assert listed == sorted(map(int, re.findall(r"^## (\d+)\.", log, re.MULTILINE)))


def test_every_tutorial_and_how_to_with_commands_is_tested():
    tested = test_every_command_of_a_page_runs_in_the_order_given.pytestmark[0].args[1]
    folders = (ROOT / "docs" / "tutorial", ROOT / "docs" / "how-to")
    pages = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.glob("*.md")}
    assert {page for page in pages if commands_of(page)} <= {page for page, _ in tested}


def test_the_code_of_the_page_on_python_runs(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "how-to" / "python-and-notebooks.md").read_text("utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert "minutes=2" in code
    (tmp_path / "tales.txt").write_text(
        "Once upon a time there was a tale. The end. " * 160, encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("minutes=2", "steps=3, batch_size=2, threads=1"), names)
    assert names["module"].state_dict()
