"""``charloom --install-completion``: let a shell complete verbs, flags, choices and file names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from charloom.cli.failures import UsageError
from charloom.cli.flags import option
from charloom.cli.verbs import build_app
from charloom.errors import CharloomError

Shell = Annotated[
    Literal["bash", "zsh", "fish"] | None, option("the shell to install it for [default: the one you use]")
]


def install_completion(*, shell: Shell = None) -> None:
    """Write the shell's completion script to its usual folder, and load it in ``.bashrc`` or ``.zshrc``."""
    chosen = shell or _current_shell()
    try:
        place = build_app().install_completion(shell=chosen)
    except OSError as error:
        what, why = "the completion script cannot be written", str(error)
        raise CharloomError(
            what, why=why, fix="make your home folder writable, or set HOME to one that is"
        ) from error
    lines = [f"completion for {chosen}: {place}"]
    if chosen == "bash":
        lines.append(f"loaded in {Path.home() / '.bashrc'}; open a new shell")
    elif chosen == "zsh":
        lines += _zsh_lines(Path.home() / ".zshrc")
    else:
        lines.append("open a new shell")
    sys.stdout.write("\n".join(lines) + "\n")


def _zsh_lines(startup: Path) -> list[str]:
    """The next step for zsh, which completes only after compinit; frameworks such as oh-my-zsh run it themselves."""
    text = startup.read_text("utf-8", errors="replace") if startup.is_file() else ""
    if "compinit" in text or "oh-my-zsh" in text:
        return ["open a new shell"]
    return [
        f"{startup} does not start zsh's completion; add this at its end and open a new shell:",
        "  autoload -Uz compinit && compinit",
    ]


def _current_shell() -> Literal["bash", "zsh", "fish"]:
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    fix = "name it: charloom --install-completion --shell bash, zsh or fish"
    try:
        found = detect_shell()
    except ShellDetectionError as error:
        raise UsageError("your shell is not recognised", why=str(error), fix=fix) from error
    if found == "powershell":
        raise UsageError("your shell is powershell", why="completion is for bash, zsh and fish", fix=fix)
    return found
