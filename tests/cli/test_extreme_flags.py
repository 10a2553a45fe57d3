"""Extreme numbers for every numeric flag of every verb, found in the verbs' own signatures, are refused clearly or work."""

import contextlib
import inspect
import shlex
import signal
import typing

import pytest

from charloom.cli.verbs import VERBS, build_app
from charloom.config import setting_names

from .conftest import TINY
from .test_examples import SHORTER, examples, known_corpus, published_corpus, short_text

__all__ = ["known_corpus", "published_corpus", "short_text"]

VALUES = (
    "0",
    "-1",
    "1",
    "2147483648",
    "9" * 30,
    "9" * 5000,
    "1e308",
    "-1e308",
    "1e-320",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "0x1",
    "",
)
WORDS = ("nan", "inf", "1e999", "9" * 5000, "", "one", "1,5", "\u0661", "1\u202e")
MOST_S, MOST_BYTES = 2, 12 << 30


def numeric_flags(verb):
    """The flags of a verb that take a number: those of its own and --threads, and those that are settings."""
    own, settings = [], []
    for flag in inspect.signature(build_app(verb)[verb].default_command).parameters.values():
        hint = typing.get_args(flag.annotation)[0] if typing.get_origin(flag.annotation) else flag.annotation
        kinds = set(typing.get_args(hint) or (hint,))
        if kinds & {int, float} and bool not in kinds:
            is_own = flag.name not in setting_names() or flag.name == "threads"
            (own if is_own else settings).append(f"--{flag.name.replace('_', '-')}")
    return own, settings


def first_command(verb):
    """The words of a verb's first example, made short."""
    line = next(case.values[1] for case in examples() if case.values[0] == verb)
    for long, short in SHORTER.items():
        line = line.replace(long, short)
    return [*shlex.split(line)[1:], *(TINY if verb in ("train", "search") else ())]


@contextlib.contextmanager
def bounded():
    """A command that would go on is ended as by Ctrl-C, and one that takes all memory fails.

    Within a callback of the interpreter the interrupt is lost with a warning, so it is repeated.
    """
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, MOST_S, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fault_of(charloom, words):
    """What is wrong with the answer to a command, or None."""
    with bounded():
        done = charloom(words)
    said = done.out + done.err
    if done.code not in (0, 1, 2, 130):
        return f"exit code {done.code}"
    if "Traceback" in said or "did not foresee" in said or (done.code in (1, 2) and not done.err.strip()):
        return said[-500:]
    return None


@pytest.mark.reliability
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `bounded`
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.usefixtures("known_corpus", "published_corpus", "short_text", "workspace")
def test_extreme_numbers_of_every_flag(charloom, verb, request, attacks):
    if verb == "serve":
        request.getfixturevalue("ending_server")
    own, settings = numeric_flags(verb)
    cases = [(flag, value) for flag in own for value in VALUES]
    cases += [(flag, word) for flag in settings for word in (WORDS if verb == "train" else WORDS[:1])]
    command = first_command(verb)
    found = [(flag, value[:40], fault_of(charloom, [*command, f"{flag}={value}"])) for flag, value in cases]
    faults = [case for case in found if case[2] is not None]
    assert not faults, f"{len(faults)} faults: {faults[:5]}"
    attacks.count("extreme flags", len(cases), losses=len(faults))
