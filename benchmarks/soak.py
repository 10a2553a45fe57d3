"""The reliability tests again and again, each time with another seed, until the time is over or something is lost.

python -m benchmarks soak                an hour; writes results/soak.json and the paragraph of docs/reference/promises.md
python -m benchmarks soak --minutes 2    shorter

A round is `pytest -m reliability` with CHARLOOM_ATTACK_SEED=1, 2, 3, …, which draws other cases in every round. The
running totals are printed every half minute. The first failure ends the soak with the seed and the command that repeat
it, and no results are written. The round in progress when the time is over is stopped; its counts until then are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import write_results

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "promises.md"
START, END = "<!-- written by make soak -->", "<!-- end -->"
TESTS = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-m", "reliability", "--tb=short", "tests"]
REPORT_S = 30.0
STOPPING_S = 60.0
SHOWN_LINES = 60
PAGE_WIDTH = 100

Totals = Mapping[str, Mapping[str, int]]
"""Kind of attack → its cases and losses."""


class Round(NamedTuple):
    """One run of the reliability tests."""

    seed: int
    totals: Totals
    is_complete: bool


class LostError(Exception):
    """A round failed; the message says how to repeat it."""


def soak(minutes: float, command: Sequence[str] = TESTS, *, report_s: float = REPORT_S) -> dict[str, Any]:
    """Run rounds until the time is over.

    Args:
        minutes: the time for all rounds.
        command: one round; it reads the seed from the environment and appends its counts to the file named there.
        report_s: seconds between two reports of the running totals.

    Raises:
        LostError: a round failed or counted a loss.
    """
    began, rounds = time.monotonic(), list[Round]()
    while (left_s := began + 60 * minutes - time.monotonic()) > 0 or not rounds:
        rounds.append(_round(len(rounds) + 1, command, max(left_s, 0.0), rounds, report_s=report_s))
    return {
        "seconds": round(time.monotonic() - began, 1),
        "commit": commit(),
        "seeds": [one.seed for one in rounds],
        "complete_rounds": sum(one.is_complete for one in rounds),
        "kinds": added([one.totals for one in rounds]),
    }


def _round(
    seed: int, command: Sequence[str], left_s: float, before: Sequence[Round], *, report_s: float
) -> Round:
    with tempfile.TemporaryDirectory(prefix="charloom-soak-") as name:
        counts, output = Path(name) / "counts.jsonl", Path(name) / "output"
        counts.touch()
        own = {"CHARLOOM_ATTACK_SEED": str(seed), "CHARLOOM_ATTACK_COUNTS": str(counts)}
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | own, stdout=file, stderr=file, start_new_session=True
            )
        try:
            is_complete = _watched(process, counts, left_s, before, report_s=report_s)
            totals = totals_of(counts)  # before it is stopped: an interrupted test may count anything
        finally:
            _stop(process)
        losses = sum(kind["losses"] for kind in totals.values())
        if losses or (is_complete and process.returncode != 0):
            raise LostError(_report_of(seed, output, losses))
        return Round(seed, totals, is_complete)


def _watched(
    process: subprocess.Popen[bytes],
    counts: Path,
    left_s: float,
    before: Sequence[Round],
    *,
    report_s: float,
) -> bool:
    """Print the running totals until the process ends or the time is over; whether it ended by itself."""
    began, seed = time.monotonic(), len(before) + 1
    while (here_s := left_s - (time.monotonic() - began)) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(report_s, here_s))
        kinds = added([*(one.totals for one in before), totals_of(counts)])
        shown = [f"{kind} {n['cases']:,} ({n['losses']:,} lost)" for kind, n in kinds.items()]
        print(
            f"seed {seed}, {here_s / 60:.1f} minutes left: {', '.join(shown) or 'no attack yet'}", flush=True
        )
        if process.poll() is not None:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a round that is still running, and whatever it has left running."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _report_of(seed: int, output: Path, losses: int) -> str:
    tail = output.read_text("utf-8", "replace").splitlines()[-SHOWN_LINES:]
    what = f"{losses} attacks lost something" if losses else "a test failed"
    again = f"CHARLOOM_ATTACK_SEED={seed} python -m pytest -m reliability tests"
    return "\n".join([*tail, "", f"SEED {seed}: {what}. This repeats it:", f"    {again}"])


def totals_of(counts: Path) -> Totals:
    """The totals of a file of counts; a last line that is still being written is left out."""
    entries = [json.loads(line) for line in counts.read_text("utf-8").splitlines(True) if line.endswith("\n")]
    return added([{one["kind"]: one} for one in entries])


def added(parts: Sequence[Totals]) -> dict[str, dict[str, int]]:
    """Sums of the cases and losses of each kind.

    Example:
        >>> added([{"kills": {"cases": 2, "losses": 0}}, {"kills": {"cases": 3, "losses": 1}}])
        {'kills': {'cases': 5, 'losses': 1}}
    """
    cases, losses = Counter[str](), Counter[str]()
    for part in parts:
        for kind, found in part.items():
            cases[kind] += found["cases"]
            losses[kind] += found["losses"]
    return {kind: {"cases": cases[kind], "losses": losses[kind]} for kind in sorted(cases)}


def commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + (" with changes" if changed.strip() else "")


def paragraph(results: Mapping[str, Any]) -> str:
    """What the page of promises says of the last soak."""
    kinds, machine = results["kinds"], results["machine"]
    cases = sum(kind["cases"] for kind in kinds.values())
    losses = sum(kind["losses"] for kind in kinds.values())
    first, last = results["seeds"][0], results["seeds"][-1]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("python", "numpy", "torch"))
    what = (
        f"`make soak` last ran for {results['seconds'] / 60:.0f} minutes on {machine['date']}, "
        f"with {machine['cores']} cores ({machine['processor']}; {versions}), at commit "
        f"{results['commit'][:12]}, with seeds {first} to {last}: {cases:,} cases, {losses:,} losses."
    )
    rows = [f"| {kind} | {found['cases']:,} | {found['losses']:,} |" for kind, found in kinds.items()]
    table = ["| attack | cases | losses |", "|---|--:|--:|", *rows]
    lines = [START, *textwrap.wrap(what, PAGE_WIDTH, break_on_hyphens=False), "", *table, END]
    return "\n".join(lines)


def with_paragraph(page: str, results: Mapping[str, Any]) -> str:
    """The page with the paragraph of these results in place of the one it has."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return before + paragraph(results) + after


def main(arguments: Sequence[str] = ()) -> None:
    """Soak, then write ``results/soak.json`` and the page's paragraph."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; an hour by default")
    minutes = parser.parse_args(arguments).minutes
    try:
        found = soak(minutes)
    except LostError as error:
        sys.exit(str(error))
    path = write_results("soak", found)
    PAGE.write_text(with_paragraph(PAGE.read_text("utf-8"), json.loads(path.read_text("utf-8"))), "utf-8")
    print(path)
