"""Phrases that were refused once do not come back: over every sentence of src/ and docs/, and the width of Markdown prose."""

import ast
import re
import tokenize

import pytest

from .conftest import ROOT

REFUSED = {
    r"is no (?:whole|toml|text|model|run|number|file|setting|engine|cell|recipe|vocabulary)\b": "is not a",
    r"\bof late\b": "recently",
    r"\bamiss\b": "wrong",
    r"\bstands? beside\b": "is next to, is compared with",
    r"\blooked at on\b": "evaluated on",
    r"\bhas not learnt\b": "was not trained on",
    r"\bmakes of (?:it|them|a|the)\b": "turns into",
    r"\bwho(?:ever)? computes\b": "the engine",
    r"\bwhoever\b": "a caller who",
    r"\bnobody (?:asks|reads|looks)\b": "not asked for, not read",
    r"\bat hand\b": "available",
    r"\bgoes? on with\b": "continue",
    r"\bto the bit\b": "bit for bit",
    r"\bis no longer than so\b": "at most",
    r"\bin one go\b": "in one call",
    r"\blest\b": "so that … not",
    r"\bthereof\b": "of it",
    r"\bpens?\b": "sampler",
    r"\bwhat stands (?:in|at|there|beside|between)\b": "the contents of",
    r"\bstands? (?:there|by itself|on its own|for itself)\b": "is there, is independent",
    r"\btells? (?:the|each|every|of) (?:norm|loss|surprisal|gradient|signals?|parameter)": "reports",
}
"""Pattern → what to say instead. Case is ignored."""

PROSE_WIDTH = 100
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"mutations.md", "settings.md", "modules.md", "glossary.md"}


def sentences_of(path):
    """(line, text) of every string and comment of a Python file."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in (tokenize.STRING, tokenize.COMMENT) or token.type == getattr(
                tokenize, "FSTRING_MIDDLE", -1
            ):
                yield token.start[0], " ".join(token.string.split())


def prose_of(path):
    """(line, text) of every paragraph of a Markdown page, code left out."""
    text = re.sub(
        r"^(?:```|~~~).*?^(?:```|~~~)",
        lambda m: "\n" * m[0].count("\n"),
        path.read_text("utf-8"),
        flags=re.S | re.M,
    )
    number = 1
    for paragraph in text.split("\n\n"):
        yield number, " ".join(line for line in paragraph.split("\n") if not line.startswith("    "))
        number += paragraph.count("\n") + 2


def found_in(path):
    pieces = sentences_of(path) if path.suffix == ".py" else prose_of(path)
    return [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r} → {instead}"
        for line, text in pieces
        for pattern, instead in REFUSED.items()
        for match in re.finditer(pattern, text, flags=re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_refused_phrase_comes_back(path):
    assert found_in(path) == []


def test_a_refused_phrase_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_plain_english.ROOT", tmp_path)
    source = tmp_path / "a.py"
    source.write_text(
        '"""A number that is no\nwhole number."""\nx = 1  # written of late\n', encoding="utf-8"
    )
    assert [re.search(r"'(.*)'", line)[1] for line in found_in(source)] == ["is no whole", "of late"]
    page = tmp_path / "a.md"
    page.write_text("# Title\n\nFix what is\namiss.\n\n    amiss in code\n", encoding="utf-8")
    assert len(found_in(page)) == 1


def is_prose(line):
    """Tables, code, links and HTML may be wider."""
    return not line.startswith(("|", "    ", "<", "!", "[")) and "](" not in line and "http" not in line


@pytest.mark.parametrize(
    "path", [p for p in PAGES if p.name not in GENERATED], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_prose_wraps_at_100_characters(path):
    inside, wide = False, []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        inside ^= line.startswith(("```", "~~~"))
        if not inside and len(line) > PROSE_WIDTH and is_prose(line):
            wide.append(f"{path.relative_to(ROOT)}:{number}: {len(line)}")
    assert wide == []


def test_every_public_docstring_begins_with_a_sentence():
    """A headline starts with a capital letter or a symbol of an equation, and ends with a full stop, a colon or a question mark."""
    bad = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                docstring = ast.get_docstring(node)
                if docstring and not docstring.split("\n\n")[0].rstrip().endswith((".", ":", "?", ")")):
                    bad.append(f"{path.relative_to(ROOT)}: {docstring.splitlines()[0]}")
    assert bad == []
