"""From the JSON of a completion request to choices that the batcher can write."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charloom.config import SampleConfig
from charloom.engines import SamplingParams
from charloom.errors import CharloomError, ConfigError, UnknownCharacterError
from charloom.generation import encode_prompt, stop_texts
from charloom.generation.generate import penalty_window, sampling_params
from charloom.serve.fields import checked
from charloom.serve.job import Choice, PromptReading
from charloom.serve.limits import Limits
from charloom.serve.refusal import Refusal, invalid
from charloom.serve.served_model import ServedModel

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64
    from numpy import ndarray as Array

DEFAULT_MAX_TOKENS = 16
"""As in OpenAI's interface."""

BYTES_PER_TOKEN, BYTES_PER_ALTERNATIVE = 500, 230
"""Memory of a log-probability and of each alternative, in Python and as JSON."""

_SETTINGS = ("temperature", "top_p", "min_p", "repetition_penalty", "repetition_window", "unknown")


class CompletionRequest(NamedTuple):
    """A request that can be served: its choices, prompt after prompt, and how they are answered."""

    model: ServedModel
    choices: list[Choice]
    streams: bool
    include_usage: bool
    score_bytes: int


def parse_request(body: Any, models: Mapping[str, ServedModel], limits: Limits) -> CompletionRequest:
    """Check a request and prepare its choices.

    Raises:
        Refusal: 400 if it cannot be served, 404 if there is no such model.
    """
    _check_length(body, limits)
    given = checked(body)
    model = find_model(given.get("model"), models)
    n, length = given.get("n", 1), given.get("max_tokens", DEFAULT_MAX_TOKENS)
    _check_support(given, n, length, limits)
    config = _config(given, model)
    prompts = _prompts(given, model, config, n, limits)
    seed = given.get("seed", secrets.randbits(32)) % 2**64
    params, window = _params(given, model, config, seed), penalty_window(config)
    stops = _stops(given.get("stop", ()), model)
    shared: Any = {"length": length, "stops": stops, "params": params, "window": window}
    shared |= {"num_top": given.get("logprobs"), "echo": given.get("echo", False)}
    each = [prompt for prompt in prompts for _ in range(n)]
    choices = [Choice(index, model, prompt, **shared) for index, prompt in enumerate(each)]
    options = given.get("stream_options", {})
    include_usage = options.get("include_usage") is True
    streams = given.get("stream", False)
    score_bytes = sum(_score_bytes(choice, streams, limits) for choice in choices)
    if score_bytes > limits.max_score_bytes // 4:
        what = f"log-probabilities of these texts would take {score_bytes >> 20} MiB of memory, and at most"
        raise invalid("logprobs", f"{what} {limits.max_score_bytes >> 22} are allowed: ask for fewer")
    return CompletionRequest(model, choices, streams, include_usage, score_bytes)


def _check_length(body: Any, limits: Limits) -> None:
    """Refuse a list of too many ids before it is looked at id by id."""
    prompt = body.get("prompt") if isinstance(body, dict) else None
    for part in prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], list) else [prompt]:
        if isinstance(part, list) and len(part) > limits.max_prompt_chars:
            raise _too_long(part, limits)


def _too_long(prompt: str | list[Any], limits: Limits) -> Refusal:
    what = f"the prompt has {len(prompt)} characters, and at most {limits.max_prompt_chars} are read"
    return invalid("prompt", what, code="prompt_too_long")


def _score_bytes(choice: Choice, streams: bool, limits: Limits) -> int:
    """About the memory of a choice's log-probabilities until its client has them."""
    if choice.num_top is None:
        return 0
    num_tokens = min(choice.length, 2 * limits.max_pending_chars) if streams else choice.length
    num_tokens += choice.prompt.num_ids if choice.echo else 0
    return num_tokens * (BYTES_PER_TOKEN + BYTES_PER_ALTERNATIVE * choice.num_top)


def find_model(name: str | None, models: Mapping[str, ServedModel]) -> ServedModel:
    """The model of a name; without one, the first.

    Raises:
        Refusal: 404.
    """
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(models)
        raise Refusal(
            404,
            f"no model has the name {name[:100]!r}; there are: {known}",
            code="model_not_found",
            param="model",
        )
    return models[name]


def _check_support(given: Mapping[str, Any], n: int, length: int, limits: Limits) -> None:
    if given.get("best_of", n) != n:
        raise invalid("best_of", f"best_of must be equal to n, {n}: texts are not ranked")
    if length > limits.max_tokens:
        raise invalid(
            "max_tokens", f"max_tokens must be at most {limits.max_tokens}, the limit of this server"
        )


def _config(given: Mapping[str, Any], model: ServedModel) -> SampleConfig:
    settings = {name: given[name] for name in _SETTINGS if name in given}
    if "top_k" in given:
        settings["top_k"] = given["top_k"] if given["top_k"] > 0 else None
    try:
        return model.sample_config(**settings)
    except ConfigError as error:
        raise invalid(None, f"{error.what}: {error.why}") from error


def _params(given: Mapping[str, Any], model: ServedModel, config: SampleConfig, seed: int) -> SamplingParams:
    params = sampling_params(config, model.vocab, seed)
    if "logit_bias" not in given:
        return params
    from dataclasses import replace

    return replace(params, logit_bias=_bias(given["logit_bias"], len(model.vocab)))


def _bias(given: Mapping[str, float], vocab_size: int) -> Float32[Array, " V"]:
    bias = np.zeros(vocab_size, np.float32)
    for key, value in given.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < vocab_size):
            what = f"logit_bias has the key {key[:20]!r}, and the ids of this model are 0 to {vocab_size - 1}"
            raise invalid("logit_bias", f"{what}: see vocabulary in /v1/models/ID")
        bias[int(key)] = value
    return bias


def _prompts(
    given: Mapping[str, Any], model: ServedModel, config: SampleConfig, n: int, limits: Limits
) -> list[PromptReading]:
    prompts = given.get("prompt", "")
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        prompts = [prompts]
    most = min(limits.max_choices, limits.max_held)
    if not 1 <= len(prompts) * n <= most:
        what = f"{len(prompts)} prompts with n = {n}" if n > 1 else f"{len(prompts)} prompts"
        raise invalid("n" if n > 1 else "prompt", f"{what}: a request has 1 to {most} texts")
    num_top = given.get("logprobs") if given.get("echo", False) else None
    return [PromptReading(model, _prompt_ids(prompt, model, config, limits), num_top) for prompt in prompts]


def _prompt_ids(
    prompt: str | list[int], model: ServedModel, config: SampleConfig, limits: Limits
) -> Int64[Array, " T"]:
    if len(prompt) > limits.max_prompt_chars:
        raise _too_long(prompt, limits)
    if not isinstance(prompt, str):
        return _given_ids(prompt, model)
    try:
        ids, _ = encode_prompt(prompt, model.vocab, config.unknown, model.file.text_config)
    except UnknownCharacterError as error:
        fix = 'set "unknown" to "skip" or "similar", or leave these characters out'
        raise invalid("prompt", f"{error.what}: {error.why}; {fix}", code="unknown_character") from error
    except CharloomError as error:
        raise invalid("prompt", f"{error.what}: {error.why}") from error
    return ids


def _given_ids(prompt: list[int], model: ServedModel) -> Int64[Array, " T"]:
    num_symbols = len(model.vocab.symbols)
    if prompt and max(prompt) >= num_symbols:
        raise invalid(
            "prompt", f"the prompt has an id above {num_symbols - 1}, the last character of this model"
        )
    return np.array(prompt, np.int64)


def _stops(given: str | Sequence[str], model: ServedModel) -> tuple[str, ...]:
    """The stop texts that can occur: one with a character that the model does not know never does."""
    stops: list[str] = []
    for text in [given] if isinstance(given, str) else given:
        if not text:
            raise invalid("stop", "a stop text is empty: it would end every text before its first character")
        try:
            stops += stop_texts([text], model.vocab, model.file.text_config)[0]
        except CharloomError:
            continue
    return tuple(stops)
