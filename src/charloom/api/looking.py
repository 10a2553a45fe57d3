"""Looking at a text or a model as functions: the tour, and the inspection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from charloom.api.model import Model, load
from charloom.config import SampleConfig, TrainConfig, from_dict
from charloom.errors import CharloomError, ConfigError, DataError
from charloom.insight import Inspection, Sizes, flow_of
from charloom.insight import inspect as look_at
from charloom.insight.course import course
from charloom.insight.gradient_flow import GradientFlow
from charloom.insight.tour import Tour, take_tour
from charloom.insight.tour_softmax import TOP_K, TOP_P
from charloom.launch import Source, settle
from charloom.text import Corpus, encode_for_scoring, read_text


def explain(
    source: Source,
    *,
    text: Source | None = None,
    recipe: str | None = None,
    top_k: int = TOP_K,
    top_p: float = TOP_P,
    on_note: Callable[[str], None] | None = None,
    **settings: Any,
) -> Tour:
    """Take the tour from a text, or a model, to a prediction: see `charloom.insight.tour`.

    Args:
        source: a text to train on (a file, a folder, ``-`` or a prepared corpus), or a run folder or a model file.
        text: of a model, the text to show it on; None takes its run's corpus, where that is at hand.
        recipe: of a text, as for `train`.
        top_k: of the filter shown, at least 1.
        top_p: of the filter shown, in (0, 1].
        on_note: called with each sentence on what was read.
        **settings: of a text, as for `train`.

    Raises:
        ConfigError: a recipe or settings beside a model, a text beside a text, or a filter out of its bounds.
    """
    from_dict(SampleConfig, {"top_k": top_k, "top_p": top_p}, source="explain")  # checks their bounds
    notes = on_note if on_note is not None else lambda _: None
    filters: dict[str, Any] = {"top_k": top_k, "top_p": top_p}
    if not _is_model(Path(source)):
        if text is not None:
            raise ConfigError(
                f"{source} is a text and --text names another",
                why="--text is what a model is shown on",
                fix="name one text, or a run folder or model file first",
            )
        corpus, resolved = settle(source, recipe=recipe, **settings)
        for note in corpus.notes:
            notes(note)
        network, training = resolved.model_config, resolved.train_config
        return take_tour(corpus, corpus.vocab, network, training, settings_from=resolved.reason, **filters)
    if recipe is not None or settings:
        given = "recipe" if recipe is not None else next(iter(settings))
        raise ConfigError(
            f"--{given.replace('_', '-')} beside the model {source}",
            why="a model has the settings that it was trained with",
            fix="leave it out, or name a text instead of the model",
        )
    return _tour_of_model(load(source), text, notes, filters)


def _tour_of_model(
    model: Model, text: Source | None, notes: Callable[[str], None], filters: Mapping[str, Any]
) -> Tour:
    corpus: Corpus | None = None
    if text is not None:
        corpus = as_corpus(model, text, notes)
    else:
        try:
            corpus = model.corpus()
        except CharloomError as error:
            notes(f"the corpus cannot be shown: {error.what}; name a text with --text")
    return take_tour(
        corpus,
        model.vocab,
        model.file.model_config,
        from_dict(TrainConfig, _training_of(model), source="the model's card"),
        parameters=model.file.parameters,
        prompt=model.default_prompt,
        settings_from=f"recipe {model.card['recipe']}" if model.card.get("recipe") else "",
        **filters,
    )


def as_corpus(model: Model, text: Source, notes: Callable[[str], None]) -> Corpus:
    """A text in a model's own ids; what it has never seen is left out, or <unk>."""
    words, said = read_text([text], model.reading())
    scoring = encode_for_scoring(model.vocab, words, model.file.text_config)
    for note in said:
        notes(note)
    if scoring.num_unknown:
        treated = "left out" if model.vocab.unk_id is None else "read as <unk>"
        notes(f"{scoring.num_unknown:,} characters are unknown to the model: {treated}")
    return Corpus(
        Path(text).name if str(text) != "-" else "standard input",
        model.vocab,
        model.file.text_config,
        scoring.ids,
        None,
        None,
        sha256="",
        num_chars=len(words),
    )


def inspect(
    model: Source | Model,
    text: Source | None = None,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Inspection:
    """Look at a trained model from every side: see `charloom.insight`.

    Args:
        model: a run folder, a model file, or a model.
        text: what to look at it on, which it must not have learnt; None takes the held-out part of its run's corpus.
        seed: of the initial parameters and of everything dealt out or shuffled.
        sizes: how much to look at; None = the usual.
        on_note: called with each sentence on what was read.

    Raises:
        RunError: no text was named, and the run's corpus is not at hand.
        DataError: the run held nothing out, or the text holds fewer than 64 known characters.
    """
    notes = on_note if on_note is not None else lambda _: None
    loaded = model if isinstance(model, Model) else load(model)
    held_out, learnt = _texts(loaded, text, notes)
    values = _training_of(loaded)
    return look_at(
        loaded.file,
        held_out,
        train=None if learnt is None else learnt.train,
        bptt_length=values.get("bptt_length"),
        course=None if loaded.run is None else course(loaded.run.events(), clip_norm=values.get("clip_norm")),
        seed=seed,
        sizes=sizes,
    )


def gradients(
    model: Source | Model,
    text: Source | None = None,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    on_note: Callable[[str], None] | None = None,
) -> GradientFlow:
    """How far a model's gradients reach back: the part of `inspect` that puts models side by side; arguments as there."""
    loaded = model if isinstance(model, Model) else load(model)
    held_out, _ = _texts(loaded, text, on_note if on_note is not None else lambda _: None)
    return flow_of(loaded.file, held_out, seed=seed, sizes=sizes)


def _texts(model: Model, text: Source | None, notes: Callable[[str], None]) -> tuple[Any, Corpus | None]:
    """What to look at a model on, and what it learnt from where that is at hand."""
    learnt = _learnt(model, notes, needed=text is None)
    if text is not None:
        return as_corpus(model, text, notes).train, learnt
    assert learnt is not None
    if learnt.validation is None:
        raise DataError(
            "the run held nothing out",
            why="a model is looked at on text that it has not learnt",
            fix="name such a text, or train with --val-fraction 0.1",
        )
    return learnt.validation, learnt


def _training_of(model: Model) -> dict[str, Any]:
    """The settings that a model was trained with, as far as they are known."""
    values: dict[str, Any] = model.card.get("train", {}) if model.run is None else model.run.config()["train"]
    return values


def _learnt(model: Model, notes: Callable[[str], None], *, needed: bool) -> Corpus | None:
    """The corpus of a model's run; None, and a note of what is left out for it, where it is not at hand and not needed."""
    try:
        return model.corpus()
    except CharloomError as error:
        if needed:
            raise
        notes(f"without the text it learnt from there are no n-grams and no word on memorising: {error.what}")
        return None


def _is_model(path: Path) -> bool:
    """Whether a path is a run folder or a model file; anything else is a text."""
    return (path / "config.json").is_file() or path.suffix == ".safetensors"
