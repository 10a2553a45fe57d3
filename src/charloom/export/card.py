"""The model card: what the model file and the run record, and what was measured for the card, in Markdown.

A fact that is not recorded is left out. Names and generated text are untrusted: they are escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from charloom.evaluation.memorisation import COPY_FROM_CHARS
from charloom.generation import sign, visible
from charloom.modelfile import ModelFile

_KINDS = {"elman": "Elman", "lstm": "LSTM", "gru": "GRU", "mingru": "minGRU"}
_DOCUMENTS = {"line": "line", "blank-line": "paragraph between blank lines", "file": "file or row of a table"}
_MOST_SYMBOLS = 200

_FRONT = """\
---
library_name: charloom
pipeline_tag: text-generation
tags:
- character-level
- recurrent-neural-network
- {cell}
---
"""

_USE = """\
It continues a text, one {unit} at a time, in the manner of the text it was trained on: for play, for teaching, and as a
baseline for other models of the same text. What it writes is not information about the world. Nothing is
filtered: it writes in the manner of its training text, whatever that says, and can repeat passages of it.
"""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Text that the model generated for its card.

    Attributes:
        text: what to show.
        settings: the flags of ``charloom sample`` that generate it.
        num_chars: characters generated in all, without prompts.
        num_samples: the samples that they are in.
        longest_copy_chars: the longest passage from the training text; None if that text is not available.
        copied_share: the share of the characters in copies of at least `COPY_FROM_CHARS`, as for the longest.
        unseen_share: the share of generated documents that are not training documents; None without documents.
    """

    text: str
    settings: str
    num_chars: int
    num_samples: int
    longest_copy_chars: int | None = None
    copied_share: float | None = None
    unseen_share: float | None = None


def model_card(
    file: ModelFile, *, title: str, demonstration: Demonstration | None = None, example: str | None = None
) -> str:
    """Write the card.

    Args:
        file: the model.
        title: its name.
        demonstration: what it generated.
        example: a program that loads the exported folder, from `torch_example`.
    """
    sections = {
        "": _introduction(file),
        "Held-out text": _quality(file),
        "Training text": _text(file),
        "A sample": _sample(demonstration),
        "Copies of the training text": _copies(demonstration),
        "Training": _training(file),
        "Intended use": [_USE.format(unit=_unit(file)).rstrip()],
        "Loading": _loading(file, example),
    }
    parts = [f"{_FRONT.format(cell=file.model_config.cell)}\n# {inline(title)}\n"]
    for heading, lines in sections.items():
        if body := "\n".join(lines):
            parts.append(f"## {heading}\n\n{body}\n" if heading else f"{body}\n")
    return "\n".join(parts)


def inline(text: object) -> str:
    r"""A text as part of a line of Markdown, where none of its characters is markup.

    Example:
        >>> print(inline("a_b <i>\n[c](d)"))
        a\_b \<i\> \[c\]\(d\)
    """
    words = " ".join(visible(str(text)).split())
    return re.sub(r"([\\`*_{}\[\]<>()#|!~&$])", r"\\\1", words)


def _unit(file: ModelFile) -> str:
    return "byte" if file.vocab.unit == "byte" else "character"


def _introduction(file: ModelFile) -> Iterator[str]:
    config, card = file.model_config, file.card
    num_params = sum(array.size for array in file.parameters.values())
    layers = f"{config.num_layers} layer{'s' * (config.num_layers > 1)} of {config.hidden_size:,} units"
    blocks = ", in residual blocks" if config.block == "residual" else ""
    version = _of(card, "versions", "charloom")
    made = "" if version is None else f" It was trained with charloom {inline(version)}."
    yield (
        f"A {_unit(file)}-level language model: {_KINDS[config.cell]}, {layers}{blocks}, {num_params:,} parameters.{made}"
    )


def _quality(file: ModelFile) -> Iterator[str]:
    results = _of(file.card, "results")
    own = _number(results, "val_bits_per_char")
    if own is None:
        return
    yield from (f"| | bits per {_unit(file)} |", "|---|--:|", f"| this model | {own:.3f} |")
    order = _number(results, "ngram_order")
    ngram = "n-gram" if order is None else f"n-gram of order {order:.0f} (the best)"
    for name, key in ((ngram, "ngram_bits_per_char"), ("xz", "xz_bits_per_char")):
        if (bits := _number(results, key)) is not None:
            yield f"| {name} | {bits:.3f} |"
    chars, error = _number(results, "val_chars"), _number(results, "val_standard_error_nats")
    yield ""
    yield "Less is better." + (
        ""
        if chars is None
        else f" Measured in one pass over {chars:,.0f} {_unit(file)}s that it was not trained on."
    )
    if error is not None:
        yield f"Standard error of the model's figure: {error / math.log(2):.3f}."
    if (primed := _number(results, "baseline_train_chars")) is not None:
        yield f"The n-gram and xz had read {primed:,.0f} {_unit(file)}s of the training text."
    verdicts = results.get("verdicts") if isinstance(results, Mapping) else None
    for verdict in verdicts if isinstance(verdicts, list) else []:
        if isinstance(verdict, Mapping) and "says" in verdict:
            yield f"\n**{inline(verdict.get('kind', 'verdict'))}:** {inline(verdict['says'])}"


def _text(file: ModelFile) -> Iterator[str]:
    corpus, config, vocab = _of(file.card, "corpus"), file.text_config, file.vocab
    if (name := _of(corpus, "name")) is not None:
        num_chars = _number(corpus, "num_chars")
        yield f"- {inline(name)}" + ("" if num_chars is None else f", {num_chars:,.0f} characters")
    if (sha256 := _of(corpus, "sha256")) is not None:
        yield f"- SHA-256 of its characters as UTF-8: {inline(sha256)}"
    normal = (
        "" if config.is_raw or config.normalization == "none" else f", after {config.normalization.upper()}"
    )
    point = "a byte of the text" if vocab.unit == "byte" else "a Unicode code point"
    yield f"- Unit: {_unit(file)} ({point}{normal}); {len(vocab.symbols):,} different ones"
    if vocab.unit == "char" and len(vocab.symbols) <= _MOST_SYMBOLS:
        signs = "".join(escape(sign(chr(code))) for code in vocab.symbols)
        yield f'- They are <code dir="ltr">{signs}</code>'
    if config.documents != "none":
        separator = _DOCUMENTS.get(config.documents)
        each = f"each {separator} is one" if separator else f"separated by {inline(config.documents)}"
        yield f"- Documents: {each}; the model knows where they end"


def _sample(demonstration: Demonstration | None) -> Iterator[str]:
    if demonstration is None:
        return
    yield f"`charloom sample model.safetensors {demonstration.settings}` begins with"
    yield ""
    yield f'<pre dir="auto">{escape(visible(demonstration.text))}</pre>'


def _copies(demonstration: Demonstration | None) -> Iterator[str]:
    if demonstration is None or demonstration.longest_copy_chars is None:
        return
    yield (
        f"In {demonstration.num_chars:,} characters that the model generated ({demonstration.num_samples} samples, as "
        f"above), the longest passage that stands word for word in the training text has "
        f"{demonstration.longest_copy_chars:,} characters. Copies of at least {COPY_FROM_CHARS} characters make up "
        f"{demonstration.copied_share:.1%} of the text."
    )
    if demonstration.unseen_share is not None:
        yield f"{demonstration.unseen_share:.1%} of the samples are not among the training documents."


def _training(file: ModelFile) -> Iterator[str]:
    card = file.card
    results, train, versions = (_of(card, key) for key in ("results", "train", "versions"))
    if (steps := _number(results, "steps")) is not None:
        best = _number(results, "best_step")
        kept = "" if best is None or best == steps else f"; the weights are those of step {best:,.0f}"
        yield f"- Steps: {steps:,.0f}{kept}"
    if (chars := _number(results, "chars_seen")) is not None:
        yield f"- {_unit(file).capitalize()}s read: {chars:,.0f}"
    batch, window = _number(train, "batch_size"), _number(train, "bptt_length")
    if batch is not None and window is not None:
        yield f"- Batch: {batch:,.0f} sequences of {window:,.0f} {_unit(file)}s"
    for label, part, key in (
        ("Seed", train, "seed"),
        ("Optimiser", train, "optimizer"),
        ("Learning rate", train, "learning_rate"),
        ("Engine", train, "engine"),
        ("Device", train, "device"),
        ("Threads", train, "threads"),
        ("Recipe", card, "recipe"),
        ("Processor", versions, "processor"),
        ("Machine", versions, "machine"),
        ("Python", versions, "python"),
        ("NumPy", versions, "numpy"),
        ("PyTorch", versions, "torch"),
        ("Begun", card, "created"),
    ):
        if (value := _of(part, key)) not in (None, "auto"):
            yield f"- {label}: {inline(value)}"
    for label, key in (("Time of the updates", "train_time_s"), ("Time in all", "wall_time_s")):
        if (seconds := _number(results, key)) is not None:
            yield f"- {label}: {seconds:,.0f} s"
    if (start := _of(card, "init_from")) is not None:
        yield f"- Started from the weights of: {inline(_of(start, 'path') or 'another model')}"
    if (start := _of(card, "branched_from")) is not None:
        run, step = _of(start, "path") or "another run", _number(start, "step")
        at = "" if step is None else f" at step {step:,.0f}"
        yield f"- Went on, with other settings, from: {inline(run)}{at}"


def _loading(file: ModelFile, example: str | None) -> Iterator[str]:
    yield "With charloom:"
    yield from ("", "```sh", "charloom sample model.safetensors --length 300 --temperature 0.7", "```")
    if example is not None:
        yield from ("", "Without charloom, with torch and safetensors, in this folder:", "")
        yield from ("```python", example.rstrip(), "```")
    if file.vocab.unk_id is None and file.vocab.unit == "char":
        yield "\nA prompt may have the characters of its vocabulary only."


def _of(found: Any, *keys: str) -> Any:
    """What is recorded under these keys; None if nothing is."""
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _number(found: Any, key: str) -> float | None:
    value = _of(found, key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
