"""Functions that take settings as keywords: their signatures and help list every one, from the configurations.

The types of the same keywords, for editors and type checkers, are in `charloom.api.settings`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import Field, fields
from typing import Any, TypeVar

from charloom.config import nearest_name
from charloom.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])


class NotGiven:
    """The default of a setting in a signature: the recipe or the configuration chooses."""

    def __repr__(self) -> str:
        return "..."


NOT_GIVEN = NotGiven()


def takes_settings(*configs: type, only: Collection[str] | None = None) -> Callable[[Function], Function]:
    """Put the fields of configurations in place of ``**settings`` in a function's signature, and into its docstring.

    Args:
        *configs: the configurations; a field with the name of one of the function's own parameters is left out.
        only: fields to include; None = all.
    """

    def decorate(function: Function) -> Function:
        own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {parameter.name for parameter in own}
        settings = [
            (config, spec)
            for config in configs
            for spec in fields(config)
            if spec.name not in taken and (only is None or spec.name in only)
        ]
        keywords = [_parameter(config, spec) for config, spec in settings]
        described: Any = function
        described.__signature__ = inspect.signature(function).replace(parameters=[*own, *keywords])
        help_lines = "\n".join(_help_lines(spec for _, spec in settings))
        described.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{help_lines}\n"
        return function

    return decorate


def refuse_unknown(function: Callable[..., Any], settings: Iterable[str]) -> None:
    """Refuse keywords that are not in a function's signature, and suggest the nearest.

    Raises:
        ConfigError: there is one.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    for name in settings:
        if name not in known:
            near = nearest_name(name, known)
            raise ConfigError(
                f"{function.__name__}() sets {name!r}",
                why="no setting has that name",
                fix=f"did you mean {near}?"
                if near
                else f"help(charloom.{function.__qualname__}) lists the settings",
            )


def _parameter(config: type, spec: Field[Any]) -> inspect.Parameter:
    hint = typing.get_type_hints(config)[spec.name]
    return inspect.Parameter(spec.name, inspect.Parameter.KEYWORD_ONLY, default=NOT_GIVEN, annotation=hint)


def _help_lines(specs: Iterable[Field[Any]]) -> Iterator[str]:
    yield "Settings, and in brackets the value of each that neither you nor a recipe gives:"
    for spec in specs:
        yield f"    {spec.name}: {spec.metadata['help']} [{spec.default!r}]"
