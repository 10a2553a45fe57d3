"""Explain a text or a model, and inspect a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

from charloom import threads
from charloom.api.keywords import refuse_unknown, takes_settings
from charloom.api.model import Model, load
from charloom.api.settings import TrainSettings
from charloom.config import ModelConfig, SampleConfig, TextConfig, TrainConfig, from_dict
from charloom.errors import ConfigError, DataError
from charloom.generation import UnknownPolicy, encode_prompt
from charloom.insight import Inspection, Sizes, flow_of
from charloom.insight import inspect as inspect_file
from charloom.insight.gradient_flow import GradientFlow
from charloom.insight.tour.softmax import TOP_K, TOP_P
from charloom.insight.tour.walkthrough import Tour, take_tour
from charloom.insight.training_curve import training_curve
from charloom.recipes.set_up import resolve_job
from charloom.run_corpus import Source
from charloom.text import Corpus, encode_for_scoring, read_texts
from charloom.text.batching import fit_batch
from charloom.training import Facts
from charloom.training.facts import run_facts


@takes_settings(TextConfig, ModelConfig, TrainConfig)
@threads.limited
def explain(
    source: Source,
    *,
    text: Source | None = None,
    prompt: str | None = None,
    unknown: UnknownPolicy = "error",
    recipe: str | None = None,
    top_k: int = TOP_K,
    top_p: float = TOP_P,
    on_note: Callable[[str], None] | None = None,
    **settings: Unpack[TrainSettings],
) -> Tour:
    """Show how a text or a model leads to a prediction: see `charloom.insight.tour.walkthrough`.

    Args:
        source: a text to train on (a file, a folder, ``-`` or a prepared corpus), or a run folder or a model file.
        text: for a model, the text to show it on; None = its run's corpus, if available.
        prompt: for a model, a text of which every character is read, to show the distribution of the next one.
        unknown: how to treat characters of the prompt that the model does not know: error, skip, similar or replace.
        recipe: for a text, as in `train`.
        top_k: of the filter shown, at least 1.
        top_p: of the filter shown, in (0, 1].
        on_note: called with each note on what was read.
        **settings: for a text, as in `train`.

    Raises:
        ConfigError: a recipe or settings with a model, a second text or a prompt with a text, both with a model, or a
            filter out of bounds.
        UnknownCharacterError: the prompt has an unknown character, and `unknown` does not say what to do with it.
    """
    refuse_unknown(explain, settings)
    from_dict(SampleConfig, {"top_k": top_k, "top_p": top_p}, source="explain")  # checks their bounds
    notes = on_note if on_note is not None else lambda _: None
    filters: dict[str, Any] = {"top_k": top_k, "top_p": top_p}
    if not _is_model(Path(source)):
        if text is not None:
            what, why = (
                f"{source} is a text and --text names another",
                "--text is for showing a model on a text",
            )
            raise ConfigError(what, why=why, fix="name one text, or a run folder or model file first")
        if prompt is not None:
            what, why = f"{source} is a text and --prompt is given", "only a trained model continues a prompt"
            raise ConfigError(what, why=why, fix="name a run folder or a model file, or leave out --prompt")
        corpus, resolved = resolve_job(source, recipe=recipe, **settings)
        for note in corpus.notes:
            notes(note)
        network, training = resolved.model_config, resolved.train_config
        return take_tour(corpus, corpus.vocab, network, training, settings_from=resolved.reason, **filters)
    if recipe is not None or settings:
        given = "recipe" if recipe is not None else next(iter(settings))
        raise ConfigError(
            f"--{given.replace('_', '-')} cannot be combined with the model {source}",
            why="a model keeps the settings it was trained with",
            fix="leave it out, or name a text instead of the model",
        )
    if prompt is None and unknown != "error":
        what, why = f"unknown is {unknown} and there is no prompt", "it says how a prompt is read"
        raise ConfigError(what, why=why, fix="give --prompt, or leave out --unknown")
    if text is not None and prompt is not None:
        what, why = (
            "--text and --prompt are both given",
            "each says what the model reads before its prediction",
        )
        raise ConfigError(what, why=why, fix="keep one")
    return _tour_of_model(load(source), text, prompt, unknown, on_note=notes, filters=filters)


def _tour_of_model(
    model: Model,
    text: Source | None,
    prompt: str | None,
    unknown: UnknownPolicy,
    *,
    on_note: Callable[[str], None],
    filters: Mapping[str, Any],
) -> Tour:
    corpus: Corpus | None = None
    if text is not None:
        corpus = as_corpus(model, text, on_note)
    elif prompt is None:
        corpus = model.corpus_or_note(on_note, cannot="show the corpus (name a text with --text)")
    opening = model.default_prompt if prompt is None else prompt
    ids, notes = encode_prompt(opening, model.vocab, unknown, model.file.text_config)
    for note in notes:
        on_note(note)
    return take_tour(
        corpus,
        model.vocab,
        model.network.model_config,
        from_dict(TrainConfig, _training_of(model), source="the model's card"),
        parameters=model.network.parameters,
        prompt=ids,
        settings_from=f"recipe {model.card['recipe']}" if model.card.get("recipe") else "",
        **filters,
    )


def as_corpus(model: Model, text: Source, notes: Callable[[str], None]) -> Corpus:
    """Encode a text with a model's vocabulary; unknown characters are left out, or become <unk>."""
    texts, reading_notes = read_texts([text], model.reading())
    for note in reading_notes:
        notes(note)
    scoring = encode_for_scoring(model.vocab, texts, model.file.text_config)
    if scoring.num_unknown:
        treated = "left out here" if model.vocab.unk_id is None else "read as <unk>"
        charge = "charloom eval charges them by the rule of charloom score"
        notes(f"{scoring.num_unknown:,} characters are unknown to the model: {treated}; {charge}")
    name = Path(text).name if str(text) != "-" else "standard input"
    config, num_chars = model.file.text_config, sum(map(len, texts))
    return Corpus(name, model.vocab, config, scoring.ids, None, None, sha256="", num_chars=num_chars)


@threads.limited
def inspect(
    model: Source | Model,
    text: Source | None = None,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Inspection:
    """Measure how a trained model works, and why it learns and forgets: see `charloom.insight`.

    Args:
        model: a run folder, a model file, or a model.
        text: a text that the model was not trained on; None = the held-out part of its run's corpus.
        seed: of the initial parameters, of shuffling and of random splits.
        sizes: how much to measure; None = the defaults.
        on_note: called with each note on what was read.

    Raises:
        RunError: no text was named, and the run's corpus is not available.
        DataError: the run held nothing out, or the text has fewer than 64 known characters.
    """
    notes = on_note if on_note is not None else lambda _: None
    loaded = model if isinstance(model, Model) else load(model)
    held_out, trained_on = _texts(loaded, text, notes)
    values = _training_of(loaded)
    run, clip_norm = loaded.run, values.get("clip_norm")
    facts = recorded_facts(loaded, trained_on)
    score = None
    if text is None and facts is not None and facts.val_loss is not None:
        score = (facts.val_loss, facts.train_loss)  # of the same text, by the same protocol
    return inspect_file(
        loaded.network,
        held_out,
        train=None if trained_on is None else trained_on.train,
        bptt_length=values.get("bptt_length"),
        course=None if run is None else training_curve(run.events(), clip_norm=clip_norm),
        facts=facts,
        score=score,
        seed=seed,
        sizes=sizes,
    )


def recorded_facts(model: Model, corpus: Corpus | None) -> Facts | None:
    """The facts of the training of a model, as recorded; of an older run, as far as its files hold them.

    Args:
        model: a model; its card has the results.
        corpus: the text it was trained on, to measure what an older run did not record; None = unavailable.
    """
    results, config = model.card.get("results"), model.network.model_config
    if results is None:
        return None
    training = from_dict(TrainConfig, _training_of(model), source="the model's card")
    if "facts" in results:
        return Facts.from_json(results["facts"], config, training)
    record = {} if model.run is None else model.run.complete_config()
    if model.run is None or corpus is None or "as_taken" not in record:
        return None
    training, _ = fit_batch(len(corpus.train), training)
    val, plan = record["corpus"]["val"], record["as_taken"]["plan"]
    events = model.run.events()
    return run_facts(results, events, corpus, config, training, plan=plan, held_out_file=val is not None)


@threads.limited
def gradients(
    model: Source | Model,
    text: Source | None = None,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    on_note: Callable[[str], None] | None = None,
) -> GradientFlow:
    """Measure how far back a model's gradients reach, to compare models; arguments as in `inspect`."""
    loaded = model if isinstance(model, Model) else load(model)
    held_out, _ = _texts(loaded, text, on_note if on_note is not None else lambda _: None)
    return flow_of(loaded.network, held_out, seed=seed, sizes=sizes)


def _texts(model: Model, text: Source | None, notes: Callable[[str], None]) -> tuple[Any, Corpus | None]:
    """Return the text to inspect a model on, and the corpus it was trained on if available."""
    if text is not None:
        cannot = "compare with n-grams or check for memorisation"
        return as_corpus(model, text, notes).train, model.corpus_or_note(notes, cannot=cannot)
    trained_on = model.corpus()
    if trained_on.validation is None:
        raise DataError(
            "the run held nothing out",
            why="a model is inspected on text it was not trained on",
            fix="name such a text, or train with --val-fraction 0.1",
        )
    return trained_on.validation, trained_on


def _training_of(model: Model) -> dict[str, Any]:
    """Return the training settings of a model, as far as they are known."""
    return dict(model.card.get("train", {}) if model.run is None else model.run.complete_config()["train"])


def _is_model(path: Path) -> bool:
    """Whether a path is a run folder or a model file rather than a text."""
    return (path / "config.json").is_file() or path.suffix == ".safetensors"
