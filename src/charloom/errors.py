"""Every error that a user can see, each with what happened, why it is wrong and how to fix it.

    CharloomError
    ├── ConfigError · DownloadError · ModelFileError · RunError · RankError · MissingExtraError · DivergedError
    ├── OutOfMemoryError
    └── DataError
        └── DecodeError · UnknownCharacterError

The command line prints the three parts and exits with 1; ``--debug`` shows the traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType


class CharloomError(Exception):
    """An explained failure: what happened, why it is wrong, how to fix it.

    Args:
        what: what happened, with the offending value.
        why: the rule it breaks.
        fix: what to do next; a command if there is one.

    Example:
        >>> str(DataError("the text is empty", why="nothing can be learnt from it", fix="name another file"))
        'the text is empty: nothing can be learnt from it (fix: name another file)'
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why} (fix: {fix})")
        self.what, self.why, self.fix = what, why, fix

    @property
    def kind(self) -> str:
        """The class name, used as ``kind`` in the JSON error object."""
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), why=self.why, fix=self.fix), (self.what,)


class ConfigError(CharloomError):
    """A setting, recipe or flag is invalid."""


class DataError(CharloomError):
    """A text cannot be read, or does not fit the request."""


class DecodeError(DataError):
    """A text's bytes are not in the stated encoding."""


class UnknownCharacterError(DataError):
    """A character is not in the vocabulary."""


class DownloadError(CharloomError):
    """A known corpus could not be downloaded intact."""


class ModelFileError(CharloomError):
    """A model file or checkpoint is damaged, foreign or malicious."""


class RunError(CharloomError):
    """A run folder cannot be created, locked, resumed or found."""


class RankError(CharloomError):
    """A process of a training on several has failed, is gone or does not answer.

    Attributes:
        is_told: whether another process prints the reason.
    """

    def __init__(self, what: str, *, why: str, fix: str, is_told: bool = False) -> None:
        super().__init__(what, why=why, fix=fix)
        self.is_told = is_told


class OutOfMemoryError(CharloomError):
    """Something needs more memory than is free; it was refused before it took any."""


class MissingExtraError(CharloomError):
    """An optional dependency is not installed."""


class DivergedError(CharloomError):
    """A loss or gradient is not finite during training.

    Attributes:
        non_finite: the number of non-finite gradient elements of each parameter that has any.
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
