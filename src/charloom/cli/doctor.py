"""``charloom doctor``: ten checks of this machine, or of the machines of a training, each with a fix."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

from charloom.cli.failures import DONE, FAILED, UsageError
from charloom.cli.flags import option, path_option, verb
from charloom.cli.output import Show, colours, quoted

_COLOURS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


Text = Annotated[str, path_option("with --distributed: the text that the training will read")]
Distributed = Annotated[
    bool, option("check what goes wrong between the processes of a training; start it with torchrun as well")
]


def doctor(show: Show, *text: Text, distributed: Distributed = False) -> int:
    """Check this machine.

    Only a failed check keeps charloom from working, and only then is the exit code 1. With --distributed, the ranks
    that torchrun starts compare their networks, clocks, versions and texts, and rank 0 prints the result.
    """
    from charloom.doctor import run_checks, run_rank_checks

    if text and not distributed:
        what, why = f"doctor {quoted(text[0])}", "a text is compared between the processes of a training"
        raise UsageError(what, why=why, fix="add --distributed, or leave the text out")
    checks = run_rank_checks(text) if distributed else run_checks()
    if distributed and not checks:  # rank 0 prints
        return DONE
    for check in checks:
        colour, plain = (_COLOURS[check.status], "\x1b[0m") if colours(sys.stdout) else ("", "")
        show.line(f"  {check.name:<14} {check.says}", begin=f"{colour}{check.status:<4}{plain}")
        if check.fix:
            show.line(f"{'':<21} fix: {check.fix}")
    healthy = all(check.status != "fail" for check in checks)
    show.object({"checks": [asdict(check) for check in checks], "healthy": healthy})
    return DONE if healthy else FAILED


app = verb(
    usage="doctor [--json] [--distributed [TEXT...]]",
    examples="""
        charloom doctor
        charloom doctor --json
        charloom doctor --distributed
    """,
)(doctor)
