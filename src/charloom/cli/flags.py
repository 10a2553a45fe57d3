"""Derive the flag, check and help of each setting from its declaration in a configuration.

A verb is a function whose first argument is `Show` and whose ``**settings`` receive only the flags that were given,
so that a flag overrides a recipe and a recipe overrides a default.
"""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Group, Parameter

from charloom.cli.verbs import VERBS

STDIN = "\ue000stdin"
"""Replaces the argument ``-`` while cyclopts parses, which would read it as an option."""

GENERAL = Group("Options", sort_key=1)
_OUTPUT = Group("Output", sort_key=9)
_COMMON: Mapping[str, str] = {
    "json": "print one JSON object on standard output",
    "quiet": "do not print progress or notes",
    "debug": "print the traceback of a failure",
}

_KINDS = {int: "whole number", float: "number"}

Verb = Callable[..., int | None]


class MoreSteps(int):
    """The N of ``--steps +N``: steps to add to those that a run has taken."""


def option(help: str, **more: Any) -> Parameter:  # noqa: A002 - the flag's help is its help
    """Describe a flag of one verb that is not a setting."""
    defaults: dict[str, Any] = {"group": GENERAL, "show_default": False, "negative": ""}
    return Parameter(help=help, **defaults | more)


def path_option(help: str, **more: Any) -> Parameter:  # noqa: A002 - the flag's help is its help
    """Describe a flag whose text names a file, a folder, a glob or ``-``: shells complete it with file names."""
    return option(help, converter=_as_written, **more)


def _as_written(type_: Any, tokens: Sequence[Any]) -> Any:
    """Return the words themselves; `type_` is only what shells complete."""
    words = [token.value for token in tokens]
    return words if typing.get_origin(type_) is list else words[0]


def _completed_as_path(parameter: inspect.Parameter) -> inspect.Parameter:
    """Put `Path` in place of `str` in the annotation of a `path_option`: cyclopts completes by type."""
    metadata = getattr(parameter.annotation, "__metadata__", ())
    if not any(getattr(part, "converter", None) is _as_written for part in metadata):
        return parameter
    hint = {str: Path, str | None: Path | None, list[str] | None: list[Path] | None}[
        parameter.annotation.__origin__
    ]
    return parameter.replace(annotation=Annotated[hint, *metadata])


ModelPath = Annotated[str, path_option("a run folder or a model file")]
Engine = Annotated[str, option("auto, torch, scratch or fused", show_default=True)]
Device = Annotated[str, option("auto, cpu, cuda, cuda:N or mps", show_default=True)]
Precision = Annotated[Literal["float32", "float64"], option("precision of the arithmetic", show_default=True)]
Threads = Annotated[int | None, option("most threads [default: the cores this process may use]", metavar="N")]
ValidationFile = Annotated[str | None, path_option("file to validate on, instead of the end of the text")]
RunFolder = Annotated[Path | None, option("run folder [default: a new one under runs/]")]


def verb(
    *configs: type, examples: str, usage: str, only: Sequence[str] | None = None, computes: bool = False
) -> Callable[[Verb], cyclopts.App]:
    """Turn a function into a verb with its own parameters, the settings of `configs` and the common flags.

    Args:
        *configs: their fields become flags and arrive in the function's ``**settings``.
        examples: lines for the end of the help; the tests run each of them.
        usage: the part of the usage line after ``charloom``.
        only: fields to include, without defaults in the help because the verb chooses them; None = all fields.
        computes: add ``--threads``, which limits what the whole call uses.

    Returns:
        A decorator that returns the verb's application.
    """

    def decorate(function: Verb) -> cyclopts.App:
        def command() -> None:
            """Carry the signature that cyclopts parses; `run.main` calls the verb itself."""

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [_completed_as_path(p) for p in own if p.kind is not p.VAR_KEYWORD]
        parameters += [flag for config in configs for flag in _flags_of(config, only)]
        if computes:
            parameters.append(_keyword("threads", Threads, None))
        for flag, text in _COMMON.items():
            parameters.append(_keyword(flag, Annotated[bool, option(text, group=_OUTPUT)], False))
        _set_signature(command, function, parameters, limits_threads=computes)
        name = function.__name__.rstrip("_")
        details = inspect.cleandoc(function.__doc__ or "").partition("\n")[2].strip()
        app = cyclopts.App(
            name=name,
            help=f"{VERBS[name]}\n\n{details}".strip(),
            usage=f"Usage: charloom {usage}",
            help_format="plaintext",
            help_epilogue="examples:\n\n" + textwrap.indent(inspect.cleandoc(examples), "    ") + "\n",
        )
        app.default(command)
        return app

    return decorate


def _set_signature(
    command: Any, function: Verb, parameters: Sequence[inspect.Parameter], *, limits_threads: bool
) -> None:
    command.verb, command.limits_threads = function, limits_threads
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}


def _flags_of(config: type, only: Sequence[str] | None) -> Iterator[inspect.Parameter]:
    """Yield one keyword parameter per field, in the group of its configuration."""
    name = config.__name__.removesuffix("Config")
    order = ("Text", "Model", "Train", "Sample").index(name) + 2
    title = {"Train": "Training", "Sample": "Sampling"}.get(name, name)
    group = Group(f"{title} settings", sort_key=order)
    hints = typing.get_type_hints(config)
    for spec in fields(config):
        if only is None or spec.name in only:
            annotation = _annotated(spec, hints[spec.name], group, show_default=only is None)
            yield _keyword(spec.name, annotation, spec.default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _annotated(spec: Field[Any], hint: Any, group: Group, *, show_default: bool) -> Any:
    base, optional = _base(hint)
    plain = base is bool or typing.get_origin(base) is Literal
    return Annotated[
        hint,
        Parameter(
            help=spec.metadata["help"],
            group=group,
            show_default=_default_words if show_default else False,
            allow_leading_hyphen=base is str,
            metavar=None if plain else {int: "N", float: "X", str: "TEXT"}[base],
            converter=None if plain else _converter(spec.name, base, optional),
        ),
    ]


def _base(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(option for option in options if option is not type(None)), type(None) in options


def _converter(name: str, base: type, optional: bool) -> Callable[[Any, Any], Any]:
    """Parse a value strictly: ``none`` is None if the setting allows it, and 2.5 is not a whole number."""

    def convert(type_: Any, tokens: Any) -> Any:
        del type_
        word = tokens[0].value
        if optional and word.lower() == "none":
            return None
        try:
            value = base(word)
        except ValueError as error:
            raise ValueError(f"{word!r} is not a {_KINDS[base]}") from error
        return MoreSteps(value) if name == "steps" and word.startswith("+") else value

    return convert


def _default_words(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)
