"""``charloom sample --interactive``: write a text in turns with a model, line by line."""

from __future__ import annotations

import contextlib
import io
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any

from charloom.cli.failures import DONE, FAILED, INTERRUPTED, UsageError, explanation
from charloom.cli.output import Show
from charloom.config import SampleConfig, nearest_name
from charloom.errors import CharloomError, ConfigError, RunError

if TYPE_CHECKING:
    from charloom.generation import Dialogue, Session

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "/undo": "take back the last text and its continuation",
        "/temp X": "set the temperature; /temp alone shows it",
        "/seed N": "set the seed; /seed alone shows it",
        "/length N": "set the characters to generate, 0 = until Ctrl-C; /length alone shows it",
        "/save FILE": "write the text so far to a file",
        "/new": "begin a new text",
        "/help": "show this list",
        "/quit": "end; so does the end of the input",
    }
)

_LINES = """\
Type a text: the model reads it and continues. An empty line continues without it.
A \\ at the end of a line breaks the line there and reads on; a text may begin with //, which is read as /.
Ctrl-C stops the text that is being written; at the beginning of a line it ends the program.
"""


class CtrlC:
    """While the block runs, the first Ctrl-C is only noted in `pressed`; a second one raises `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self.pressed = False
        self._before: Any = None

    def __enter__(self) -> CtrlC:
        with contextlib.suppress(ValueError):  # only the main thread may set signal handlers
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


def refuse_with_interactive(
    show: Show, given: Mapping[str, object], *, prompt: str | None, count: int
) -> None:
    """Refuse flags that have no meaning in a dialogue.

    Args:
        show: whether there is ``--json``.
        given: other flags, as names of parameters, with their values; a false one is not given.
        prompt: of ``--prompt``; ``-`` would take the lines of the dialogue.
        count: of ``--count``.

    Raises:
        UsageError: one of them is given.
    """
    flags = {name.replace("_", "-"): value for name, value in given.items()}
    flags |= {"json": show.as_json, "prompt -": prompt == "-", f"count {count}": count != 1}
    for name in [name for name, value in flags.items() if value]:
        why = "a dialogue reads lines from standard input, and prints one text as it is generated"
        raise UsageError(f"--interactive with --{name}", why=why, fix="leave one of them out")


class Conversation:
    """Reads lines from standard input, and prints what the model writes.

    Texts are printed to standard output, everything else to standard error. On a terminal there is a sign before each
    line, and a history of lines where Python has readline.
    """

    def __init__(self, show: Show, session: Session, config: SampleConfig) -> None:
        from charloom.generation import Dialogue

        self._show, self._config = show, config
        self._dialogue: Dialogue = Dialogue(session)
        self._saved: set[Path] = set()
        self._on_terminal = sys.stdin.isatty() and sys.stdout.isatty()

    def run(self, prompt: str | None) -> int:
        """Take turns until the input ends, /quit or Ctrl-C; the first turn begins with the prompt, if there is one.

        Returns:
            The exit code: 1 if a line from a file or pipe failed.
        """
        failed = False
        with self._show.reporting():
            try:
                for line in self._lines(prompt):
                    try:
                        if not self._obey(line):
                            break
                    except CharloomError as error:
                        _say(explanation(error))
                        failed = True
            except KeyboardInterrupt:
                _say("\n")
                return INTERRUPTED
        return FAILED if failed and not self._on_terminal else DONE

    def _lines(self, prompt: str | None) -> Iterator[str]:
        if self._on_terminal:
            with contextlib.suppress(ImportError):  # Windows has none
                import readline  # noqa: F401 - gives `input` its keys and its history
            if isinstance(sys.stdin, io.TextIOWrapper):  # then bytes that are not text are unknown characters
                sys.stdin.reconfigure(errors="surrogateescape")
            self._note("type a text and press Enter; /help lists the commands, /quit ends")
        if prompt is not None:
            self._show.text(_visible(prompt), dim=True)
            yield prompt.replace("/", "//", 1) if prompt.startswith("/") else prompt
        while (line := self._line("> ")) is not None:
            while line.endswith("\\") and not line.startswith("/"):
                more = self._line("… ")
                line = line[:-1] + "\n" + (more or "")
            yield line

    def _line(self, sign: str) -> str | None:
        """The next line without its end; None at the end of the input."""
        if self._on_terminal:
            try:
                return input(sign)
            except EOFError:
                _say("\n")
                return None
        line = sys.stdin.buffer.readline()
        return line.decode("utf-8", "surrogateescape").rstrip("\r\n") if line else None

    def _obey(self, line: str) -> bool:
        """Do what a line asks; False to end."""
        if not line.startswith("/") or line.startswith("//"):
            self._take_turn(line.removeprefix("/"))
            return True
        word, _, value = line.partition(" ")
        commands = {
            "/undo": self._undo,
            "/temp": self._set_temperature,
            "/seed": self._set_seed,
            "/length": self._set_length,
            "/save": self._save,
            "/new": self._begin_again,
            "/help": self._help,
            "/quit": None,
        }
        if word not in commands:
            raise _unknown(word, commands)
        if (command := commands[word]) is None:
            return False
        command(value.strip())
        return True

    def _take_turn(self, text: str) -> None:
        with CtrlC() as ctrl_c:
            for note in self._dialogue.read(text):
                self._note(note)
            for piece in self._dialogue.write(self._config.length, stopped=lambda: ctrl_c.pressed):
                self._show.text(_visible(piece))
        self._show.line()

    def _undo(self, _: str) -> None:
        if not self._dialogue.undo():
            raise ConfigError("there is nothing to undo", why="no text was read yet", fix="type a text")
        self._note(f"{len(self._dialogue.text):,} characters are left")

    def _set_temperature(self, value: str) -> None:
        self._config = self._changed("temperature", value, float)
        self._dialogue.temperature = self._config.temperature

    def _set_seed(self, value: str) -> None:
        if not value:
            self._note(f"seed: {self._dialogue.seed}")
            return
        self._config = self._changed("seed", value, int)
        assert self._config.seed is not None
        self._dialogue.seed = self._config.seed

    def _set_length(self, value: str) -> None:
        self._config = self._changed("length", value, int)

    def _changed(self, name: str, value: str, kind: type[int] | type[float]) -> SampleConfig:
        """The settings with one changed, or unchanged and shown if no value is given."""
        if not value:
            self._note(f"{name}: {getattr(self._config, name)}")
            return self._config
        try:
            change: dict[str, Any] = {name: kind(value)}
        except ValueError:
            what, why = f"{value!r} is not a {'whole ' * (kind is int)}number", f"it would be the {name}"
            raise ConfigError(what, why=why, fix="give a number, as in /temp 0.7 or /length 200") from None
        return replace(self._config, **change)

    def _save(self, value: str) -> None:
        from charloom.files import atomic_write

        if not value:
            raise ConfigError("/save without a file", why="the text is written to a file", fix="/save FILE")
        path = Path(value).expanduser()
        if path.exists() and path not in self._saved:
            raise RunError(f"{path} exists", why="it would be overwritten", fix="name another file")
        atomic_write(path, self._dialogue.text.encode("utf-8", "backslashreplace"))
        self._saved.add(path)
        self._note(f"wrote {path}: {len(self._dialogue.text):,} characters")

    def _begin_again(self, _: str) -> None:
        self._dialogue.begin_again()

    def _help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        _say(_LINES + "".join(f"  {name:<{width}}  {about}\n" for name, about in COMMANDS.items()))

    def _note(self, text: str) -> None:
        if not self._show.quiet:
            _say(f"note: {_visible(text)}\n")


def _unknown(word: str, commands: Mapping[str, object]) -> ConfigError:
    near = nearest_name(word, commands)
    meant = "" if near is None else f"did you mean {near}? "
    why = f"the commands are {' '.join(commands)}"
    return ConfigError(
        f"unknown command {shlex.quote(word)}",
        why=why,
        fix=f"{meant}a text that begins with / is typed as //",
    )


def _visible(text: str) -> str:
    from charloom.generation import visible

    return visible(text)


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()
