"""Flags from settings: a field of a configuration is declared once, and its flag, check and help are derived here.

A verb is a function whose first argument is `Show` and whose ``**settings`` receive the flags that were given, and no
others: so a flag beats a recipe, and a recipe beats a default.
"""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Group, Parameter

from charloom.cli.output import Show
from charloom.cli.verbs import VERBS

STDIN = "\ue000stdin"
"""Stands for the token ``-`` while cyclopts parses, which takes it for an option."""

GENERAL = Group("Options", sort_key=1)
_OUTPUT = Group("Output", sort_key=9)
_COMMON: Mapping[str, str] = {
    "json": "print one JSON object on standard output",
    "quiet": "no progress and no notes",
    "debug": "show the traceback of a failure",
}

_KINDS = {int: "whole number", float: "number", str: "text"}

Verb = Callable[..., int | None]


class MoreSteps(int):
    """The N of ``--steps +N``: steps beyond those that a run has taken."""


def option(help: str, **more: Any) -> Parameter:  # noqa: A002 - the flag's help is its help
    """Describe a flag of one verb that is no setting."""
    defaults: dict[str, Any] = {"group": GENERAL, "show_default": False, "negative": ""}
    return Parameter(help=help, **defaults | more)


def verb(
    *configs: type, examples: str, usage: str, only: Sequence[str] | None = None
) -> Callable[[Verb], cyclopts.App]:
    """Make a verb of a function: its own parameters, the settings of `configs`, and the flags every verb has.

    Args:
        *configs: whose fields become flags and arrive in the function's ``**settings``.
        examples: lines for the end of its help; the tests run each.
        usage: what follows ``charloom`` in its usage line.
        only: the fields to take, whose defaults the verb chooses itself; None takes all.

    Returns:
        A decorator that gives the verb's application.
    """

    def decorate(function: Verb) -> cyclopts.App:
        def command(
            *args: Any, json: bool = False, quiet: bool = False, debug: bool = False, **given: Any
        ) -> Any:
            del debug  # main has seen it
            return function(Show(json=json, quiet=quiet), *args, **given)

        derived = [flag for config in configs for flag in _flags_of(config, only)]
        own = inspect.signature(function, eval_str=True).parameters.values()
        kept = [p for p in list(own)[1:] if p.kind is not p.VAR_KEYWORD]
        _dress(command, function, [*kept, *derived, *_common()])
        name = function.__name__.rstrip("_")
        app = cyclopts.App(
            name=name,
            help=f"{VERBS[name]}\n\n{_details(function)}".strip(),
            usage=f"Usage: charloom {usage}",
            help_format="plaintext",
            help_epilogue="examples:\n\n" + textwrap.indent(inspect.cleandoc(examples), "    ") + "\n",
        )
        app.default(command)
        return app

    return decorate


def _details(function: Verb) -> str:
    """What a verb's docstring says after its first line, which stands in `VERBS`."""
    return inspect.cleandoc(function.__doc__ or "").partition("\n")[2].strip()


def _dress(command: Any, function: Verb, parameters: Sequence[inspect.Parameter]) -> None:
    """Give a function the signature that cyclopts is to see."""
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}


def _common() -> Iterator[inspect.Parameter]:
    for name, says in _COMMON.items():
        yield _keyword(name, Annotated[bool, option(says, group=_OUTPUT)], False)


def _flags_of(config: type, only: Sequence[str] | None) -> Iterator[inspect.Parameter]:
    """One keyword parameter a field, in the group of its configuration."""
    name = config.__name__.removesuffix("Config")
    order = ("Text", "Model", "Train", "Sample").index(name) + 2
    title = {"Train": "Training", "Sample": "Sampling"}.get(name, name)
    group = Group(f"{title} settings", sort_key=order)
    hints = typing.get_type_hints(config)
    for spec in fields(config):
        if only is None or spec.name in only:
            yield _keyword(
                spec.name, _annotated(spec, hints[spec.name], group, shown=only is None), spec.default
            )


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _annotated(spec: Field[Any], hint: Any, group: Group, *, shown: bool) -> Any:
    base, optional = _base(hint)
    plain = base is bool or typing.get_origin(base) is Literal
    return Annotated[
        hint,
        Parameter(
            help=spec.metadata["help"],
            group=group,
            show_default=_default_words if shown else False,
            allow_leading_hyphen=base is str,
            metavar=None if plain else {int: "N", float: "X", str: "TEXT"}[base],
            converter=None if plain else _converter(spec.name, base, optional),
        ),
    ]


def _base(hint: Any) -> tuple[Any, bool]:
    """A type without its None, and whether it had one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(option for option in options if option is not type(None)), type(None) in options


def _converter(name: str, base: type, optional: bool) -> Callable[[Any, Any], Any]:
    """Read a value strictly: ``none`` is None where it may be, and 2.5 is no whole number."""

    def convert(type_: Any, tokens: Any) -> Any:
        del type_
        word = tokens[0].value
        if optional and word.lower() == "none":
            return None
        try:
            value = base(word)
        except ValueError as error:
            raise ValueError(f"{word!r} is no {_KINDS[base]}") from error
        return MoreSteps(value) if name == "steps" and word.startswith("+") else value

    return convert


def _default_words(value: Any) -> str:
    return (
        {None: "none", True: "yes", False: "no"}.get(value, str(value))
        if not _is_number(value)
        else f"{value:g}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
