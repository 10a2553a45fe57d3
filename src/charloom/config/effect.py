"""Settings that cannot act: each with the reason why the other settings leave nothing for it to do.

What contradicts another setting is refused where the settings are declared; what merely has no effect is told here, so
that nobody draws conclusions from a setting that did nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from charloom.config.convert import setting_names
from charloom.config.model import ModelConfig
from charloom.config.sampling import SampleConfig
from charloom.config.text import TextConfig
from charloom.config.training import TrainConfig

_MOMENTS = ("adamw", "adam", "muon")


def without_effect(
    named: Mapping[str, Any],
    text: TextConfig,
    model: ModelConfig,
    training: TrainConfig,
    *,
    validates_on_file: bool = False,
    is_taught: bool = False,
) -> tuple[str, ...]:
    """A sentence for each named setting that changes nothing in a training.

    Args:
        named: the settings that the user gave, in flags or in a recipe; those at their default are left out.
        text: how the text is read.
        model: the network.
        training: the training.
        validates_on_file: whether another file is the held-out text.
        is_taught: whether there is a teacher.

    Example:
        >>> without_effect({"dropout_layer": 0.5}, TextConfig(), ModelConfig(dropout_layer=0.5), TrainConfig())
        ('dropout_layer 0.5 has no effect: the network has one layer',)
    """
    reasons = dict(
        [*_of_text(text, validates_on_file=validates_on_file), *_of_model(model), *_of_training(training)]
    )
    if not validates_on_file and text.val_fraction == 0 and text.val_count is None:
        reasons |= dict.fromkeys(("patience", "validate_every"), "nothing is held out")
    if not is_taught:
        reasons |= dict.fromkeys(("teacher_weight", "written_chars"), "there is no teacher")
    return _sentences(named, reasons, setting_names())


def without_effect_on_samples(named: Mapping[str, Any], config: SampleConfig) -> tuple[str, ...]:
    """As `without_effect`, for the settings of sampling.

    Example:
        >>> without_effect_on_samples({"top_k": 3}, SampleConfig(temperature=0, top_k=3))
        ('top_k 3 has no effect: at temperature 0 the likeliest character is chosen',)
    """
    reasons = {}
    if config.temperature == 0:
        greedy = "at temperature 0 the likeliest character is chosen"
        reasons = dict.fromkeys(("top_k", "top_p", "min_p"), greedy)
    if config.repetition_penalty is None:
        reasons["repetition_window"] = "there is no repetition_penalty"
    return _sentences(named, reasons, {spec.name: SampleConfig for spec in fields(SampleConfig)})


def _sentences(
    named: Mapping[str, Any], reasons: Mapping[str, str], owners: Mapping[str, type]
) -> tuple[str, ...]:
    defaults = {spec.name: spec.default for cls in set(owners.values()) for spec in fields(cls)}
    return tuple(
        f"{name} {value} has no effect: {reasons[name]}"
        for name, value in named.items()
        if name in reasons and value != defaults[name]
    )


def _of_text(config: TextConfig, *, validates_on_file: bool) -> Iterator[tuple[str, str]]:
    if config.unit == "byte":
        for name in ("min_count", "vocab_from"):
            yield name, "the vocabulary of unit byte is all 256 bytes"
    if config.split == "contiguous":
        yield "split_seed", "split is contiguous, so nothing is drawn"
    if validates_on_file:
        for name in ("val_fraction", "val_count", "split", "split_seed"):
            yield name, "another file is the held-out text"


def _of_model(config: ModelConfig) -> Iterator[tuple[str, str]]:
    if config.cell != "elman":
        yield "activation", f"cell {config.cell} has fixed activations"
    if config.cell != "lstm":
        yield "forget_bias", f"cell {config.cell} is not an LSTM"
    if config.num_layers == 1:
        yield "dropout_layer", "the network has one layer"
    if config.block == "plain":
        for name in ("conv_width", "expansion", "mlp_ratio"):
            yield name, "block is plain"
    for site in ("init", "init_out"):
        if getattr(config, site) not in ("normal", "uniform"):
            yield f"{site}_scale", f"{site} is {getattr(config, site)}, which has its own scale"


def _of_training(config: TrainConfig) -> Iterator[tuple[str, str]]:
    if config.batching != "stream":
        for name in ("stream_offset", "state_reset", "state_reset_probability"):
            yield name, f"batching is {config.batching}, whose windows begin with a new state"
    if config.batching != "sliding":
        for name in ("stride", "order"):
            yield name, f"batching is {config.batching}, not sliding"
    if config.initial_state == "zeros":
        yield "initial_state_scale", "initial_state is zeros"
    yield from _of_optimizer(config)
    if config.sync_every is None:
        yield "replicas", "sync_every is not set, so there is one set of weights"
    if config.schedule == "constant":
        yield "final_lr_fraction", "schedule is constant"
    if config.schedule != "wsd":
        yield "decay_fraction", f"schedule is {config.schedule}, not wsd"
    if config.minutes is None:
        yield "max_epochs", "the budget is not in minutes"


def _of_optimizer(config: TrainConfig) -> Iterator[tuple[str, str]]:
    method = config.optimizer
    if method not in _MOMENTS:
        yield "beta1", f"optimizer {method} has no first moment"
    if method not in (*_MOMENTS, "rmsprop"):
        yield "beta2", f"optimizer {method} has no second moment that decays"
    if method not in ("sgd", "rmsprop"):
        yield "momentum", f"optimizer {method} has its own" if method in _MOMENTS else f"{method} has none"
    if method == "sgd":
        yield "epsilon", "optimizer sgd divides by no moment"
    if method != "adagrad":
        yield "epsilon_inside_root", f"optimizer is {method}, not adagrad"
