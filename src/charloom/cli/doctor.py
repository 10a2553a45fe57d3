"""``charloom doctor``: ten checks of this machine, each with a fix."""

from __future__ import annotations

import sys
from dataclasses import asdict

from charloom.cli.failures import DONE, FAILED
from charloom.cli.flags import verb
from charloom.cli.output import Show, colours

_COLOURS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


def doctor(show: Show) -> int:
    """Check this machine.

    Only a failed check keeps charloom from working, and only then is the exit code 1.
    """
    from charloom.doctor import run_checks

    checks = run_checks()
    for check in checks:
        colour, plain = (_COLOURS[check.status], "\x1b[0m") if colours(sys.stdout) else ("", "")
        show.line(f"  {check.name:<14} {check.says}", begin=f"{colour}{check.status:<4}{plain}")
        if check.fix:
            show.line(f"{'':<21} fix: {check.fix}")
    healthy = all(check.status != "fail" for check in checks)
    show.object({"checks": [asdict(check) for check in checks], "healthy": healthy})
    return DONE if healthy else FAILED


app = verb(
    usage="doctor [--json]",
    examples="""
        charloom doctor
        charloom doctor --json
    """,
)(doctor)
