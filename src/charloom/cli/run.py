"""Run one command line: parse it, call the verb, return the exit code."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from charloom import threads
from charloom.cli.failures import DONE, fail
from charloom.cli.flags import STDIN, Verb
from charloom.cli.heartbeat import Heartbeat
from charloom.cli.output import Show, prepare_streams
from charloom.cli.verbs import build_app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments without the program name; None = those of this process.

    Returns:
        The exit code: 0 done, 1 failed with an explanation, 2 wrong usage, 130 interrupted.
    """
    if argv is None:
        threads.calm_blas()
    words = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    try:
        try:
            call = parse(words)
            with _alive(call):
                code = call.verb(*call.args, **call.settings)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            code = fail(error, words)
            _end_output()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        _discard_output()
        code = DONE
    return code if isinstance(code, int) else DONE


def entry_point() -> NoReturn:
    """Run the command line of this process, and end it.

    If torch is loaded, Python would take half a second to take its libraries and objects apart, which the system does
    not need: the process ends at once, after what was registered for its end and with all output written.
    """
    code = main()
    if "torch" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader is gone
            stream.flush()
    os._exit(code)


def _end_output() -> None:
    """Write the rest of the output after a failure, unless it is the output that cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:  # such as a full disk; the interpreter would try again when it ends
        _discard_output()


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Call(NamedTuple):
    """The function that a command line calls, and how; `show` is None for the list of verbs and the version."""

    verb: Verb
    args: list[Any]
    settings: dict[str, Any]
    show: Show | None = None
    threads: int | None = None


def parse(words: Sequence[str]) -> Call:
    """Return the call that a command line asks for.

    The argument ``-`` is replaced while cyclopts parses, which would read it as an option.
    """
    command, bound, _ = build_app(words[0] if words else "").parse_args(
        [STDIN if word == "-" else word for word in words], exit_on_error=False, print_error=False
    )
    args = [_restored(value) for value in bound.args]
    settings: dict[str, Any] = {name: _restored(value) for name, value in bound.kwargs.items()}
    verb = getattr(command, "verb", None)
    if verb is None:  # the list of verbs, or the version
        return Call(command, args, settings)
    settings.pop("debug", None)  # `fail` reads it from the words
    show = Show(json=settings.pop("json", False), quiet=settings.pop("quiet", False))
    number = settings.pop("threads", None) if getattr(command, "limits_threads", False) else None
    return Call(verb, [show, *args], settings, show, number)


@contextlib.contextmanager
def _alive(call: Call) -> Iterator[None]:
    """Limit the threads of the call as asked, and show that it is alive."""
    beating = contextlib.nullcontext() if call.show is None else Heartbeat(call.show)
    with threads.at_most(call.threads), beating:
        yield


def _restored(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value)(_restored(inner) for inner in value)
    return "-" if value == STDIN else value
