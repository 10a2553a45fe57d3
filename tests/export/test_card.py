"""The card: recorded facts as they are, nothing for those that are missing, and no markup from names or generated text."""

import re

import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.export import Demonstration, model_card, shareable
from charloom.export.card import inline
from charloom.modelfile import ModelFile
from charloom.parameters import count_parameters, initial_parameters
from charloom.text import Vocabulary

CONFIG = ModelConfig(cell="gru", hidden_size=4, num_layers=2)
CARD = {
    "corpus": {"name": "tales", "sha256": "12ab" * 16, "num_chars": 12_000},
    "created": "2026-11-28T12:00:00+00:00",
    "recipe": "default",
    "train": {"seed": 7, "batch_size": 4, "bptt_length": 16, "device": "auto", "threads": None},
    "versions": {"charloom": "0.1.0", "machine": "x86_64", "processor": "Some CPU"},
    "results": {
        "steps": 1200,
        "best_step": 900,
        "chars_seen": 76_800,
        "train_time_s": 4.296,
        "val_bits_per_char": 2.34567,
        "val_chars": 1199,
        "val_standard_error_nats": 0.0693147,
        "ngram_bits_per_char": 2.5,
        "ngram_order": 5,
        "xz_bits_per_char": 2.75,
        "verdicts": [{"kind": "still-improving", "says": "there is more to learn"}],
    },
}


def file_with(card, *, text=None, symbols="\nab", specials=(), config=CONFIG):
    vocab = Vocabulary("char", tuple(sorted(map(ord, symbols))), specials)
    return ModelFile(initial_parameters(config, len(vocab), 0), config, text or TextConfig(), vocab, card)


def test_every_recorded_fact_is_on_the_card():
    page = model_card(file_with(CARD), title="tales")
    num_params = count_parameters(CONFIG, 3)
    assert page.startswith("---\nlibrary_name: charloom\n")
    for fact in (
        "# tales\n",
        f"GRU, 2 layers of 4 units, {num_params} parameters",
        "trained with charloom 0.1.0",
        "| this model | 2.346 |",
        "| n-gram of order 5 (the best) | 2.500 |",
        "| xz | 2.750 |",
        "1,199 characters that it was not trained on",
        "figure: 0.100.",
        "**still-improving:** there is more to learn",
        "- tales, 12,000 characters\n",
        f"SHA-256 of its characters as UTF-8: {'12ab' * 16}",
        "Unit: character (a Unicode code point, after NFC); 3 different ones",
        "- Steps: 1,200; the weights are those of step 900",
        "- Characters read: 76,800",
        "- Batch: 4 sequences of 16 characters",
        "- Seed: 7",
        "- Processor: Some CPU",
        "- Time of the updates: 4 s",
    ):
        assert fact in page, fact


def test_what_is_not_recorded_is_left_out():
    page = model_card(file_with({}), title="tales")
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert headings == ["Training text", "Intended use", "Loading"]
    assert "None" not in page
    assert "auto" not in model_card(file_with(CARD), title="tales")
    assert "Threads" not in model_card(file_with(CARD), title="tales")


@pytest.mark.parametrize(
    "card", [{"results": 3, "corpus": [], "train": "x", "versions": None, "init_from": 1}]
)
def test_a_card_of_another_shape_is_no_failure(card):
    assert "## Intended use" in model_card(file_with(card), title="tales")


def test_a_sample_and_its_copies():
    shown = Demonstration("كان </pre><b>\n\nيا", "--count 20 --seed 1", 10_000, 20, 41, 0.0123, 0.875)
    page = model_card(file_with(CARD), title="tales", demonstration=shown)
    assert '<pre dir="auto">كان &lt;/pre&gt;&lt;b&gt;\n\nيا</pre>' in page
    assert "`charloom sample model.safetensors --count 20 --seed 1`" in page
    assert "In 10,000 characters that the model generated (20 samples, as above)" in page
    assert (
        "the training text has 41 characters. Copies of at least 30 characters make up 1.2% of the text."
        in page
    )
    assert "87.5% of the samples are not among the training documents." in page
    unknown = Demonstration("abc", "--seed 1", 10_000, 20)
    assert "Copies" not in model_card(file_with(CARD), title="tales", demonstration=unknown)


def test_names_are_no_markup():
    hostile = "x](javascript:a) <script>\n# `y` | \x1b[31m\u202e"
    facts = CARD | {"corpus": CARD["corpus"] | {"name": hostile}, "recipe": hostile}
    page = model_card(file_with(facts), title=hostile)
    assert "<script>" not in page
    assert "](javascript" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert re.findall(r"^#+ ", page, flags=re.MULTILINE).count("# ") == 1


@pytest.mark.parametrize("char", "\\`*_{}[]()<>#|!~&$")
def test_a_character_of_markup_is_escaped(char):
    assert inline(f"a{char}b") == f"a\\{char}b"


def test_documents_bytes_and_normal_forms():
    lines = file_with({}, text=TextConfig(documents="line"), specials=("<boundary>",))
    assert "- Documents: each line is one; the model knows where they end" in model_card(lines, title="x")
    parts = file_with({}, text=TextConfig(documents=r"\n%%"), specials=("<boundary>",))
    assert r"separated by \\n%%" in model_card(parts, title="x")
    vocab = Vocabulary("byte", tuple(range(256)))
    raw = ModelFile(initial_parameters(CONFIG, 256, 0), CONFIG, TextConfig(unit="byte"), vocab, CARD)
    page = model_card(raw, title="x")
    assert "Unit: byte (a byte of the text); 256 different ones" in page
    assert "bits per byte" in page
    assert "A byte-level language model" in page


def test_the_symbols_are_shown_while_they_are_few():
    assert '<code dir="ltr">↵&lt;a◌́</code>' in model_card(file_with({}, symbols="\n<a\u0301"), title="x")
    many = file_with({}, symbols="".join(map(chr, range(0x4E00, 0x4E00 + 201))))
    assert "They are" not in model_card(many, title="x")


def test_folders_are_not_shared():
    facts = {"recipe": "/home/emma/r.toml", "init_from": {"path": r"C:\emma\runs\old", "step": 3}}
    file = file_with(facts)
    assert shareable(file).card == {"recipe": "r.toml", "init_from": {"path": "old", "step": 3}}
    assert file.card == facts
    assert shareable(file_with(CARD)).card == CARD
