"""Every error a user can meet, each with what happened, why it is wrong and how to fix it.

    CharloomError
    ├── ConfigError        a setting, recipe or flag has no legal meaning
    ├── DataError          a text cannot be read, or is not what the request needs
    │   ├── DecodeError    its bytes are not in the encoding they claim
    │   └── UnknownCharacterError  a character the vocabulary does not hold
    ├── DownloadError      a known corpus could not be fetched intact
    ├── ModelFileError     a model file or checkpoint is damaged, foreign or hostile
    ├── RunError           a run folder cannot be created, locked, resumed or found
    ├── MissingExtraError  an optional dependency is not installed
    └── DivergedError      training met a loss or gradient that is not a number

The command line prints the three parts and exits with 1; ``--debug`` shows the traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class CharloomError(Exception):
    """A failure that is explained: what happened, why it is wrong, how to fix it.

    Args:
        what: what happened, with the offending value.
        why: the rule it breaks.
        fix: the next thing to do; a command where there is one.

    Example:
        >>> str(DataError("the text is empty", why="nothing can be learnt from it", fix="name another file"))
        'the text is empty: nothing can be learnt from it (fix: name another file)'
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why} (fix: {fix})")
        self.what = what
        self.why = why
        self.fix = fix

    @property
    def kind(self) -> str:
        """The class name: the ``kind`` of the JSON error object."""
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.why, self.fix)


def _rebuild(cls: type[CharloomError], what: str, why: str, fix: str) -> CharloomError:
    return cls(what, why=why, fix=fix)


class ConfigError(CharloomError):
    """A setting, recipe or flag has no legal meaning."""


class DataError(CharloomError):
    """A text cannot be read, or is not what the request needs."""


class DecodeError(DataError):
    """A text's bytes are not in the encoding they claim."""


class UnknownCharacterError(DataError):
    """A character is not in the vocabulary."""


class DownloadError(CharloomError):
    """A known corpus could not be fetched intact."""


class ModelFileError(CharloomError):
    """A model file or checkpoint is damaged, foreign or hostile."""


class RunError(CharloomError):
    """A run folder cannot be created, locked, resumed or found."""


class MissingExtraError(CharloomError):
    """An optional dependency is not installed."""


class DivergedError(CharloomError):
    """Training met a loss or gradient that is not a number.

    Attributes:
        non_finite: elements that are not finite in the gradient of each parameter that has some.
    """

    non_finite: Mapping[str, int] = MappingProxyType({})


def missing_extra(package: str, extra: str, needed_for: str) -> MissingExtraError:
    """Build the error for an optional dependency that is not installed.

    Example:
        >>> missing_extra("torch", "train", "training with --engine torch").fix
        "pip install 'charloom[train]'"
    """
    return MissingExtraError(
        f"{package} is not installed",
        why=f"it is needed for {needed_for}",
        fix=f"pip install 'charloom[{extra}]'",
    )
