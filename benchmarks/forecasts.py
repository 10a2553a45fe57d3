"""Whether what `charloom plan` says holds: texts that its law was not fitted on are planned, and then trained.

python -m benchmarks forecasts

Each text is planned and trained by the commands of a user, one after the other, with default settings and a time. The
texts come with the system: messages in languages that the fit has not seen, manuals, source code and licenses. Those that
are missing are left out. The cases were chosen before the first of them was run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import rounded, write_results
from benchmarks.law_texts import part


class Case(NamedTuple):
    """A part of a text, and the minutes of its training."""

    name: str
    offset: float  # share of the text before the part
    chars: int
    minutes: float


CASES = (
    Case("files-vim", 0.0, 2_000_000, 1.0),
    Case("files-vim", 0.6, 150_000, 0.5),
    Case("files-perl", 0.1, 700_000, 0.5),
    Case("files-c", 0.2, 400_000, 0.5),
    Case("files-licenses", 0.0, 200_000, 0.5),
    Case("messages-fr", 0.2, 300_000, 0.5),
    Case("messages-pl", 0.0, 120_000, 0.5),
    Case("messages-uk", 0.3, 800_000, 0.5),
    Case("messages-ko", 0.1, 200_000, 0.5),
    Case("messages-vi", 0.2, 50_000, 0.5),
    Case("messages-sv", 0.1, 1_200_000, 1.0),
)


def row_of(case: Case, text: str) -> dict[str, Any]:
    """Plan and train on one text: what was said, and what came of it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "text.txt"
        path.write_text(text, encoding="utf-8", newline="")
        words = [str(path), "--minutes", str(case.minutes), "--json", "--quiet"]
        said = _json_of("plan", *words)
        came = _json_of("train", *words, "--out", str(Path(place) / "run"))
    low, high = said["bits_per_char_low"], said["bits_per_char_high"]
    is_inside = None if low is None else low <= came["val_bits_per_char"] <= high
    return {
        **case._asdict(),
        "reason": said["no_estimate"],
        "is_extrapolated": said["is_extrapolated"],
        "bits_per_char": said["bits_per_char"],
        "bits_per_char_low": low,
        "bits_per_char_high": high,
        "measured_bits_per_char": came["val_bits_per_char"],
        "is_inside": is_inside,
        "chars_seen_planned": said["chars_seen"],
        "chars_seen": came["chars_seen"],
        "wall_time_s_planned": said["wall_time_s"],
        "wall_time_s": came["wall_time_s"],
    }


def _json_of(*words: str) -> dict[str, Any]:
    """What a command of charloom prints."""
    done = subprocess.run(
        [sys.executable, "-m", "charloom", *words], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] = ()) -> None:
    """Run every case, print its row, and write ``results/forecasts.json``."""
    if arguments:
        raise SystemExit(f"unexpected arguments: {' '.join(arguments)}")
    rows = []
    for case in CASES:
        if (text := part(case.name, case.offset, case.chars)) is None:
            print(f"{case.name} is not on this machine, or shorter", flush=True)
            continue
        found = row_of(case, text)
        rows.append({key: rounded(x) if isinstance(x, float) else x for key, x in found.items()})
        print(json.dumps(rows[-1]), flush=True)
    judged = [row["is_inside"] for row in rows if row["is_inside"] is not None]
    print(write_results("forecasts", {"inside": sum(judged), "judged": len(judged), "rows": rows}))
