"""Declare a setting, with its default, help and bounds in one place, and check its values."""

from __future__ import annotations

import difflib
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields
from typing import Any, Literal

from charloom.errors import ConfigError

_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def setting(default: Any, help: str, **bounds: float) -> Any:  # noqa: A002 - the field's help is its help
    """Declare a field: its default, a sentence of help, and its bounds (`at_least above at_most below`)."""
    assert set(bounds) <= set(_BOUNDS), bounds
    return field(default=default, metadata={"help": help, "bounds": bounds})


def check_bounds(config: Any) -> None:
    """Raise `ConfigError` for the first field whose value violates its type, choices or bounds."""
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
            fix = f"use {flag} {nearest_name(str(value), choices) or choices[0]}"
            raise ConfigError(
                f"{spec.name} is {value!r}", why=f"it must be one of {', '.join(choices)}", fix=fix
            )
        return
    _check_type(spec.name, flag, base, value)
    for name, bound in spec.metadata["bounds"].items():
        if not _BOUNDS[name](value, bound):
            must = f"{name.replace('_', ' ')} {bound:,.15g}"
            fix = f"set {flag} to {must}; the default is {spec.default}"
            raise ConfigError(f"{spec.name} is {value!r}", why=f"it must be {must}", fix=fix)


def _check_type(name: str, flag: str, base: type, value: Any) -> None:
    legal: Any = (int, float) if base is float else base
    if not isinstance(value, legal) or (isinstance(value, bool) and base is not bool):
        raise ConfigError(
            f"{name} is {value!r}",
            why=f"it must be of type {base.__name__}, not {type(value).__name__}",
            fix=f"set {flag} to a value of type {base.__name__}",
        )
    # Not "abs(value) > max", which is false for nan; an integer may exceed every float.
    if base is float and not abs(value) <= sys.float_info.max:
        raise ConfigError(
            f"{name} is {value!r}", why="it must be a finite number", fix=f"set {flag} to a finite number"
        )


def nearest_name(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or ``None`` if none is close.

    Example:
        >>> nearest_name("hiden_size", ["hidden_size", "num_layers"])
        'hidden_size'
    """
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)
