"""How a setting is declared: default, help and bounds in one place, and the check that is derived from them."""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields
from typing import Any, Literal

from charloom.errors import ConfigError

_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "at_least": (lambda value, bound: value >= bound, "at least"),
    "above": (lambda value, bound: value > bound, "above"),
    "at_most": (lambda value, bound: value <= bound, "at most"),
    "below": (lambda value, bound: value < bound, "below"),
}

_LARGEST = sys.float_info.max


def setting(default: Any, help: str, **bounds: float) -> Any:  # noqa: A002 - the field's help is its help
    """Declare a field: its default, a sentence of help, and its bounds (`at_least above at_most below`)."""
    assert set(bounds) <= set(_BOUNDS), bounds
    return field(default=default, metadata={"help": help, "bounds": bounds})


def check_bounds(config: Any) -> None:
    """Raise `ConfigError` for the first field whose value breaks its type, choices or bounds."""
    hints = typing.get_type_hints(type(config))
    for spec in fields(config):
        _check_field(spec, hints[spec.name], getattr(config, spec.name))


def _check_field(spec: Field[Any], hint: Any, value: Any) -> None:
    flag = f"--{spec.name.replace('_', '-')}"
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return
    base = next(option for option in options if option is not type(None))
    if typing.get_origin(base) is Literal:
        choices = typing.get_args(base)
        if value not in choices:
            raise ConfigError(
                f"{spec.name} is {value!r}",
                why=f"it must be one of {', '.join(choices)}",
                fix=f"use {flag} {nearest(str(value), choices) or choices[0]}",
            )
        return
    _check_type(spec.name, flag, base, value)
    for name, bound in spec.metadata["bounds"].items():
        holds, words = _BOUNDS[name]
        if not holds(value, bound):
            raise ConfigError(
                f"{spec.name} is {value!r}",
                why=f"it must be {words} {bound:g}",
                fix=f"set {flag} {words} {bound:g}; its default is {spec.default}",
            )


def _check_type(name: str, flag: str, base: type, value: Any) -> None:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    legal = {
        int: is_int,
        float: is_int or isinstance(value, float),
        bool: isinstance(value, bool),
        str: isinstance(value, str),
    }[base]
    if not legal:
        raise ConfigError(
            f"{name} is {value!r}",
            why=f"it must be of type {base.__name__}, not {type(value).__name__}",
            fix=f"set {flag} to a value of type {base.__name__}",
        )
    if (
        base is float and not -_LARGEST <= value <= _LARGEST
    ):  # false for nan; an integer may exceed every float
        raise ConfigError(
            f"{name} is {value!r}", why="it must be a finite number", fix=f"set {flag} to a finite number"
        )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or ``None`` when none is near.

    Example:
        >>> nearest("hiden_size", ["hidden_size", "num_layers"])
        'hidden_size'
    """
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
