"""Share a model: what a card shows is generated and measured here, then written by `charloom.export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from charloom.api.bound_model import BoundModel
from charloom.api.sampling import start_samples
from charloom.config import SampleConfig
from charloom.evaluation import TrainingText, documents_of, novelty_of, unseen_share
from charloom.export import (
    Demonstration,
    model_card,
    shareable,
    torch_example,
    write_hub_folder,
)
from charloom.generation import Sample
from charloom.page import PagePrecision, PageText, facts_of, page_of

SEED, TEMPERATURE = 1, 0.7
"""Of the text on a card, unless the model's recipe has another temperature."""

NUM_SAMPLES, NUM_DOCUMENTS, LENGTH = 20, 100, 500
"""What is generated for a card: samples, or documents, of at most so many characters."""

_SHOWN_CHARS = 600
_NEARLY_GREEDY = 0.01  # the example divides by the temperature


def card_of(
    model: BoundModel, *, title: str, on_note: Callable[[str], None], example: str | None = None
) -> str:
    """Generate text, look for copies in it, and write the card."""
    return model_card(
        shareable(model.network), title=title, demonstration=demonstrate(model, on_note), example=example
    )


def page_with_facts(
    model: BoundModel, *, title: str, precision: PagePrecision, on_note: Callable[[str], None]
) -> str:
    """Look for copies in generated text, and render the page."""
    file = shareable(model.network)
    shown = demonstrate(model, on_note)
    facts = facts_of(file, longest_copy=shown.longest_copy_chars, num_chars=shown.num_chars)
    text = PageText(title, model.default_prompt, model.card.get("sample", {}), facts)
    return page_of(file, text, precision=precision)


def demonstrate(model: BoundModel, on_note: Callable[[str], None]) -> Demonstration:
    """Generate the text of a card, and compare it with the training text if that is available."""
    config, samples = _generated(model)
    num_chars = sum(len(sample.text) for sample in samples)
    found = Demonstration(
        _shown(samples),
        f"--count {config.count} --length {LENGTH} --temperature {config.temperature:g} --seed {SEED}",
        num_chars,
        len(samples),
    )
    corpus = model.corpus_or_note(on_note, cannot="say on the card what was copied")
    if corpus is None:
        return found
    judged = novelty_of([sample.text for sample in samples], TrainingText(corpus.train, corpus.vocab))
    num_copied = sum(stop - start for one in judged for start, stop in one.spans)
    unseen = None
    if model.vocab.boundary_id is not None:
        unseen = unseen_share([one.prompt + one.text for one in samples], documents_of(corpus))
    return replace(
        found,
        longest_copy_chars=max(one.longest_copy_chars for one in judged),
        copied_share=num_copied / max(1, num_chars),
        unseen_share=unseen,
    )


def _generated(model: BoundModel) -> tuple[SampleConfig, list[Sample]]:
    config = card_settings(model)
    how = {"stop": (), "log_probs": False, "unique": False, "new": False, "on_note": None}
    events = start_samples(model, model.default_prompt, config, **how)  # type: ignore[arg-type]
    return config, sorted((one for one in events if isinstance(one, Sample)), key=lambda one: one.index)


def card_settings(model: BoundModel) -> SampleConfig:
    """How the text of a card is generated: as the model's recipe says, and otherwise at `TEMPERATURE`."""
    temperature = {} if "temperature" in model.card.get("sample", {}) else {"temperature": TEMPERATURE}
    count = NUM_SAMPLES if model.vocab.boundary_id is None else NUM_DOCUMENTS
    return model.sample_config(count=count, length=LENGTH, seed=SEED, **temperature)  # type: ignore[arg-type]


def _shown(samples: Sequence[Sample]) -> str:
    """The first sample, or as many documents as fit beside each other."""
    shown = samples[0].prompt + samples[0].text
    for sample in samples[1:]:
        if len(shown) + len(sample.prompt + sample.text) >= _SHOWN_CHARS:
            break
        shown += "\n" + sample.prompt + sample.text
    return shown


def write_hub_export(model: BoundModel, folder: Path, *, on_note: Callable[[str], None]) -> list[Path]:
    """Write the folder for the Hub, with its card; see `charloom.export.write_hub_folder`."""
    temperature = max(card_settings(model).temperature, _NEARLY_GREEDY)
    example = torch_example(model.network, prompt=model.default_prompt, temperature=temperature)
    card = card_of(model, title=folder.resolve().name, on_note=on_note, example=example)
    return write_hub_folder(folder, shareable(model.network), card=card)
