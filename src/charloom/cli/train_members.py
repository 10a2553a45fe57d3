"""``charloom train --members N``: train runs side by side and combine them into an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charloom.cli.compare import plus_minus
from charloom.cli.failures import StoppedError, UsageError
from charloom.cli.output import Show, quoted

if TYPE_CHECKING:
    from charloom.members import MembersPlan
    from charloom.runs import Run


def train_ensemble(
    show: Show,
    sources: Sequence[str],
    members: int,
    *,
    seeds: int | None,
    chain: bool,
    how: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Train the members, write the ensemble, and print the loss of each and of all together."""
    from charloom import api
    from charloom.cli.ensemble import ensemble_object, ensemble_path
    from charloom.members import plan_members

    if seeds is not None:
        what, why = "--members cannot be combined with --seeds", "both say how many runs are trained"
        raise UsageError(
            what, why=why, fix="keep one of them; --seeds trains one after another, without an ensemble"
        )
    plan = plan_members(sources, members, chain=chain, **how, **settings)
    order = "each taught by the one before" if chain else f"{plan.workers} at the same time"
    show.note(f"{members} members, {order}, {plan.threads_each} threads each")
    runs = _trained(show, plan)
    combined, path = api.ensemble(*(run.path for run in runs)), ensemble_path([run.path for run in runs])
    combined.save(path)
    found = _results(runs)
    for seed, one in zip(plan.paths, found, strict=True):
        bits = one["val_bits_per_char"]
        figure = "nothing was held out" if bits is None else f"{bits:.4f} bits/{one['unit']}"
        show.line(f"seed {seed}: {figure}, {one['steps']:,} steps, run {one['run']}")
    together = _loss_of_all(show, combined, found)
    show.line(f"wrote {path}\nnext:\n  charloom sample {quoted(path)} --length 300 --temperature 0.7")
    show.object({"runs": found, "ensemble": ensemble_object(combined, path), "val_bits_per_char": together})


def _trained(show: Show, plan: MembersPlan) -> list[Run]:
    from charloom.members import train_members
    from charloom.training.stop_signals import TrainingStopped

    share = show.progress(f"training {len(plan.paths)} members")
    try:
        return train_members(plan, on_share=share)
    except TrainingStopped as stopped:
        begun = [path for path in plan.paths.values() if path.exists()]
        fix = "; ".join(f"charloom train --resume {quoted(path)}" for path in begun)
        raise StoppedError(
            "interrupted",
            why=f"each of {len(begun)} members saved a checkpoint",
            fix=f"continue with {fix}; then combine them with charloom ensemble" if begun else "run it again",
        ) from stopped


def _results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    from charloom.run_results import results_json

    return [results_json(run) for run in runs]


def _loss_of_all(show: Show, combined: Any, found: Sequence[Mapping[str, Any]]) -> float | None:
    """Measure the ensemble on the held-out text, and print it next to the mean of the members."""
    bits = [one["val_bits_per_char"] for one in found]
    if None in bits:
        return None
    show.line(f"mean ± sd: {plus_minus(bits)} bits/{found[0]['unit']}, stream protocol on held-out text")
    score = combined.evaluate(on_progress=show.progress("measuring the ensemble"))
    together: float = score.bits_per_char
    show.line(f"ensemble: {together:.4f} bits/{found[0]['unit']}, stream protocol on the whole held-out text")
    return together
