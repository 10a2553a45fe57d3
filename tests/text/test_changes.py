"""What cleaning changed, and what is invisible, is counted and shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.text import changes, corpus_from_text, read_corpus, read_text
from charloom.text.changes import Changes
from charloom.text.mojibake import is_invisible

ALL_OF_UNICODE = range(0x110000)
HEBREW = "\u05e9\u05bc\u05c1"  # shin, dagesh, shin dot: in canonical order after normalisation
NUKTA = "\u0958"  # excluded from composition: becomes two code points
JAMO = "\u1112\u1161\u11ab"


def notes_of(text, **settings):
    return corpus_from_text(text, TextConfig(val_fraction=0, **settings), name="t").notes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (HEBREW, "U+05E9 U+05BC U+05C1 → "),
        (NUKTA, "U+0958 → U+0915 U+093C"),
        (JAMO, "U+1112 U+1161 U+11AB → U+D55C"),
        ("e\u0301", "U+0065 U+0301 → U+00E9"),
        ("a\u0323\u0302\u0301", "U+0061 U+0323 U+0302 U+0301 → "),
    ],
)
def test_what_normalisation_changes_is_counted_and_shown(text, codes):
    if unicodedata.is_normalized("NFC", text):
        pytest.skip("this Python's Unicode has another canonical order")
    (note,) = notes_of(f"x {text} y\n" * 1234)
    assert note.startswith("t: normalisation nfc changed 1,234 places: ")
    assert codes in note
    assert ", 1,234 times" in note
    assert "--normalization none" in note
    assert notes_of(f"x {text} y\n" * 9, normalization="none") == ()


@pytest.mark.parametrize(
    ("form", "text", "expected"), [("nfd", "é", "e\u0301"), ("nfkd", "ﬁé", "fie\u0301"), ("nfkc", "ﬁ", "fi")]
)
def test_other_normal_forms(form, text, expected):
    corpus = corpus_from_text(text * 2, TextConfig(normalization=form, val_fraction=0))
    assert corpus.vocab.decode(corpus.train) == expected * 2
    assert f"normalisation {form} changed" in corpus.notes[0]


def test_a_mark_at_the_beginning_of_a_text_counts():
    (note,) = notes_of("\u0344")  # a mark that becomes two, with no character before it
    assert "U+0344 → U+0308 U+0301" in note


def test_normal_text_gives_no_note():
    assert notes_of("déjà vu, 한글 漢字\n" * 9) == ()


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
)
def test_a_text_that_is_not_normal_has_changed_places(text, form):
    changes = Changes()
    changes.add_normalised(text, form)
    assert bool(changes.notes()) == (unicodedata.normalize(form, text) != text)


def test_changes_of_several_files_are_one_note(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("cafe\u0301\n", "utf-8")
    (note,) = read_corpus([tmp_path / "a", tmp_path / "b"], TextConfig(val_fraction=0)).notes
    assert "changed 2 places" in note
    _, (note,) = read_text([tmp_path / "a", tmp_path / "b"], TextConfig())
    assert "changed 2 places" in note


def test_invisible_characters_are_counted_named_and_located():
    (note,) = notes_of("one\ntw\ufeffo\u200b\nth\u00adree\u200b\n")
    assert note == (
        "4 invisible characters, learnt like any other: U+00AD (1, first in line 3 of t), "
        "U+200B (2, first in line 2 of t), U+FEFF (1, first in line 2 of t); "
        "--replace-chars U+00AD=,U+200B=,U+FEFF= leaves out what is not wanted"
    )
    notes = notes_of("tw\ufeffo\u200b th\u00adree", replace_chars="U+00AD=,U+200B=,U+FEFF=")
    assert notes == tuple(
        f"t: 1 {code} was left out (replace_chars)" for code in ("U+00AD", "U+200B", "U+FEFF")
    )


@pytest.mark.parametrize(
    "char", "\ufeff\u200b\u00ad\u2060\u200e\u202e\u2066\ufe0f\u034f\u3164\u180e\U000e0041"
)
def test_invisible_characters_are_known(char):
    assert is_invisible(ord(char))
    assert any(f"U+{ord(char):04X} (2" in note for note in notes_of(f"a{char}b" * 2))


@pytest.mark.parametrize("char", "a \n\té漢\u0600\u06dd\u0301")
def test_visible_characters_are_known(char):
    assert not is_invisible(ord(char))


def test_the_first_place_among_documents_is_the_number_of_the_document(tmp_path):
    for name, texts in (("a.csv", ["x", "y"]), ("b.csv", ["z\nz", "w", "\u00ad"])):
        (tmp_path / name).write_text("text\n" + "".join(f'"{text}"\n' for text in texts), "utf-8")
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    (note,) = read_corpus(files, TextConfig(column="text", val_fraction=0)).notes
    assert f"first in document 3 of {files[1]}" in note


def test_joiners_are_counted_but_never_to_be_left_out():
    (note,) = notes_of("\u0645\u06cc\u200c\u0631\u0648\u062f\n" * 3)
    assert note.startswith("3 invisible characters, learnt like any other: U+200C (3")
    assert "--replace-chars" not in note


def test_no_composed_character_is_outside_the_ranges_searched():
    composed = [
        code
        for code in ALL_OF_UNICODE
        if (parts := unicodedata.decomposition(chr(code)).split())
        and len(parts) == 2
        and not parts[0].startswith("<")
    ]
    assert all(any(code in found for found in changes._COMPOSED) for code in composed)
    assert len(composed) > 900
