"""Start the generation of samples from a prompt."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from charloom.api.bound_model import BoundModel
from charloom.config import SampleConfig
from charloom.evaluation.training_documents import TrainingDocuments
from charloom.generation import DistinctSamples, Generation, Sample, encode_prompt, generate, stop_texts
from charloom.generation.generate import never_ending


def start_samples(
    model: BoundModel,
    prompt: str,
    config: SampleConfig,
    *,
    stop: str | Sequence[str],
    log_probs: bool,
    unique: bool,
    new: bool,
    on_note: Callable[[str], None] | None,
) -> Generation | DistinctSamples:
    """Start the samples of `Model.generate`, whose arguments these are."""
    vocab, text_config = model.vocab, model.file.text_config
    ids, notes = encode_prompt(prompt, vocab, config.unknown, text_config)
    stops, stop_notes = stop_texts([stop] if isinstance(stop, str) else stop, vocab, text_config)
    if on_note is not None:
        for note in (*notes, *stop_notes):
            on_note(note)
    seed = secrets.randbits(32) if config.seed is None else config.seed
    decoder = model.decoder(config)

    def draw(first: int, count: int) -> Generation:
        some = replace(config, count=count)
        return generate(
            decoder, vocab, [ids], some, seed=seed, stop=stops, first_sample=first, log_probs=log_probs
        )

    if not (unique or new):
        return draw(0, config.count)
    if config.length == 0 and vocab.boundary_id is None and not stops:
        raise never_ending()
    is_known = _stands_in_training(model) if new else None
    return DistinctSamples(draw, config.count, unique=unique, is_known=is_known)


def _stands_in_training(model: BoundModel) -> Callable[[Sample], bool]:
    """Return a function that tells whether a sample stands in the run's training text."""
    documents = TrainingDocuments(model.corpus())

    def stands(sample: Sample) -> bool:
        return documents.contains(sample.prompt + sample.text, is_whole=sample.finish_reason == "boundary")

    return stands
