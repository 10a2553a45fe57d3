"""Failures on the command line: the message and the exit code.

Exit codes: 0 done · 1 failed with an explanation · 2 wrong usage · 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence

import cyclopts

from charloom.cli.output import colours, print_json
from charloom.cli.suggestions import flags_like
from charloom.cli.verbs import VERBS
from charloom.errors import CharloomError, RankError
from charloom.files import NOT_WRITTEN, unwritable
from charloom.progress import is_live

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(CharloomError):
    """The command line is invalid."""


class StoppedError(CharloomError):
    """The user stopped a verb; `why` says what was saved."""


class InternalError(CharloomError):
    """An unexpected failure."""


def explained(error: BaseException, words: Sequence[str]) -> CharloomError:
    """Convert any failure into one with a what, a why and a fix."""
    verb = words[0] if words and words[0] in VERBS else ""
    if isinstance(error, CharloomError):
        return error
    if isinstance(error, cyclopts.CycloptsError):
        command = f"charloom {verb} --help" if verb else "charloom --help"
        what, why = _parse_error(error).rstrip("."), "the command line cannot be parsed"
        return UsageError(what, why=why, fix=f"see `{command}`")
    if isinstance(error, KeyboardInterrupt):
        return StoppedError("interrupted", why="nothing was changed", fix="run the command again")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        from charloom.text.passed_itself import passed_itself

        return passed_itself(str(error.filename))
    if isinstance(error, OSError) and error.errno in NOT_WRITTEN:
        return unwritable(error.filename or "the output", error)
    if isinstance(error, MemoryError):
        return CharloomError(
            "out of memory",
            why="these settings or this text need more memory than this machine has",
            fix="lower --batch-size or --hidden-size, or run charloom prepare on the text first",
        )
    return InternalError(
        f"{type(error).__name__}: {error}",
        why="charloom did not expect this failure",
        fix=f"please report it with the output of `charloom {verb or 'VERB'} … --debug`",
    )


def _parse_error(error: cyclopts.CycloptsError) -> str:
    """The message of the parser, with our own suggestion for an unknown flag."""
    if not isinstance(error, cyclopts.UnknownOptionError):
        return str(error)
    word = (error.token.keyword or error.token.value).partition("=")[0]
    if not word.startswith("--"):
        return str(error)
    known = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    near = flags_like(word, known)
    return f"Unknown option: {word}." + (f" Did you mean {' or '.join(near)}?" if near else "")


def fail(error: BaseException, words: Sequence[str]) -> int:
    """Print a failure, unless another process prints it, and return the exit code."""
    failure = explained(error, words)
    if isinstance(failure, RankError) and failure.is_told:
        return FAILED
    if "--debug" in words and not isinstance(failure, UsageError):
        traceback.print_exception(error, file=sys.stderr)
    if "--json" not in words or not _has_printed(failure):
        sys.stderr.write(explanation(failure))
    if isinstance(failure, UsageError):
        return USAGE
    return INTERRUPTED if isinstance(failure, StoppedError) else FAILED


def _has_printed(failure: CharloomError) -> bool:
    """Print a failure as JSON; whether the output could be written."""
    try:
        print_json({"error": {part: getattr(failure, part) for part in ("kind", "what", "why", "fix")}})
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:  # such as a full disk
        return False
    return True


def explanation(error: CharloomError) -> str:
    """The lines that a terminal shows for a failure."""
    from charloom.generation.escape import visible

    red, bold, plain = ("\x1b[31m", "\x1b[1m", "\x1b[0m") if colours(sys.stderr) else ("", "", "")
    begin = f"{red}error:{plain} "
    if isinstance(error, StoppedError):
        begin = "\n" if is_live(sys.stderr) else ""
    what, why, fix = (visible(part) for part in (error.what, error.why, error.fix))
    return f"{begin}{bold}{what}{plain}\n  why: {why}\n  fix: {fix}\n"
