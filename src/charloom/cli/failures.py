"""Failures on the command line: what is printed, and the exit code.

Exit codes: 0 done · 1 failed as explained · 2 wrong usage · 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import cyclopts

from charloom.cli.output import colours, is_live, print_json
from charloom.cli.verbs import VERBS
from charloom.errors import CharloomError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(CharloomError):
    """A command line that makes no sense."""


class StoppedError(CharloomError):
    """The user stopped a verb; `why` tells what stands."""


class InternalError(CharloomError):
    """A failure that nobody foresaw."""


def explained(error: BaseException, words: Sequence[str]) -> CharloomError:
    """Any failure as one with three parts."""
    verb = words[0] if words and words[0] in VERBS else ""
    if isinstance(error, CharloomError):
        return error
    if isinstance(error, cyclopts.CycloptsError):
        help_words = f"charloom {verb} --help" if verb else "charloom --help"
        return UsageError(
            str(error).rstrip("."), why="the command line cannot be read", fix=f"see `{help_words}`"
        )
    if isinstance(error, KeyboardInterrupt):
        return StoppedError("interrupted", why="nothing was changed", fix="run it again when it suits you")
    if isinstance(error, MemoryError):
        return CharloomError(
            "the memory is full",
            why="these settings or this text need more than the machine has",
            fix="lower --batch-size or --hidden-size, or run charloom prepare on the text first",
        )
    return InternalError(
        f"{type(error).__name__}: {error}",
        why="charloom did not foresee this",
        fix=f"please report it, with what `charloom {verb or 'VERB'} … --debug` prints",
    )


def fail(error: BaseException, words: Sequence[str]) -> int:
    """Print a failure and return the exit code."""
    told = explained(error, words)
    if "--debug" in words and not isinstance(told, UsageError):
        traceback.print_exception(error, file=sys.stderr)
    if "--json" in words:
        parts = {"kind": told.kind, "what": told.what, "why": told.why, "fix": told.fix}
        print_json({"error": parts})
    else:
        sys.stderr.write(_lines(told))
    if isinstance(told, UsageError):
        return USAGE
    return INTERRUPTED if isinstance(told, StoppedError) else FAILED


def _lines(error: CharloomError) -> str:
    from charloom.generation.visible import visible

    red, bold, plain = ("\x1b[31m", "\x1b[1m", "\x1b[0m") if colours(sys.stderr) else ("", "", "")
    begin = "" if isinstance(error, StoppedError) else f"{red}error:{plain} "
    if isinstance(error, StoppedError) and is_live(sys.stderr):
        begin = "\n"
    what, why, fix = (visible(part) for part in (error.what, error.why, error.fix))
    return f"{begin}{bold}{what}{plain}\n  why: {why}\n  fix: {fix}\n"
