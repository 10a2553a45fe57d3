"""The spread of systems that take minutes per seed: the judged figure of A's large form and C, seeds 1 to 4.

`charloom reproduce` trains one seed of these and shows the others, printed by this program, from
``other_seeds`` in ``published.toml``. Seeds that are already in ``results/seeds.json`` are not trained again.
"""

from __future__ import annotations

import json
import time
from typing import Any

from benchmarks.harness import RESULTS, write_results
from charloom.reproduce.measure import SEEDS, SLOW, other_seed
from charloom.reproduce.systems import systems


def main() -> None:
    """Train the missing seeds, print each figure and write ``results/seeds.json`` after every seed."""
    path = RESULTS / "seeds.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    have = {(row["system"], row["seed"]) for row in rows}
    for name in reversed(SLOW):
        target = systems()[name].target
        for seed in range(1, SEEDS):
            if (name, seed) in have:
                continue
            began = time.perf_counter()
            value = other_seed(systems()[name], seed, target, False)
            row = {
                "system": name,
                "what": target.what,
                "seed": seed,
                "measured": round(value, 4),
                "wall_s": round(time.perf_counter() - began, 1),
            }
            rows.append(row)
            print(row, flush=True)
            write_results("seeds", {"rows": rows})


if __name__ == "__main__":
    main()
