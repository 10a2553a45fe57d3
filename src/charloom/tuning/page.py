"""The HTML page of a search: its terms, its figures and every trial."""

from __future__ import annotations

from charloom import plots
from charloom.plots.figures import THEME_STYLE
from charloom.report.elements import STYLE, picture, row, section, table
from charloom.report.page import html_page, json_download
from charloom.tuning.figures import UNITS, front, history, importance
from charloom.tuning.findings import Findings, TrialRow


def search_page(found: Findings) -> str:
    """Render a search; it needs no network and runs no script.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plots.needs_matplotlib("the page of a search")
    body = [section("What was searched?", _terms(found), "")]
    if found.best:
        pictures = picture("history", history(found), "The trials in the order of their numbers.")
        if len(found.plan.objectives) == 2:
            caption = "The front: no trial is better in one objective without being worse in the other."
            pictures += picture("front", front(found), caption)
        body.append(section("What was found?", [], pictures + _table("The best", found.best, found)))
    if found.importance:
        caption = "How much each setting decides which trials are the best (PED-ANOVA; the shares sum to 1)."
        body.append(section("Which settings matter?", [], picture("importance", importance(found), caption)))
    body.append(section("All trials", _failures(found), _table("In order", found.trials, found)))
    body.append(
        json_download({"trials": [one.to_json() for one in found.trials]}, name="search.json", packed=True)
    )
    return html_page(title=f"Search: {found.name}", style=STYLE + THEME_STYLE, body="".join(body))


def _terms(found: Findings) -> list[str]:
    plan = found.plan
    time = "" if plan.minutes is None else f", {plan.minutes:g} minutes in all"
    states = ", ".join(
        f"{found.count(s)} {s}" for s in ("complete", "pruned", "fail", "running") if found.count(s)
    )
    fixed = ", ".join(f"{name} {value}" for name, value in plan.settings.items())
    varied = ", ".join(plan.searched.ranges)
    return [
        f"Text {plan.corpus['name']}, {plan.trials} trials{time}: {states or 'none begun'}.",
        f"Objective: {' and '.join(UNITS[name] for name in plan.objectives)}.",
        f"The space {plan.space} varies {varied}." + (f" Fixed: {fixed}." if fixed else ""),
    ]


def _failures(found: Findings) -> list[str]:
    return [f"Trial {one.number} failed: {one.failure}" for one in found.trials if one.state == "fail"]


def _table(caption: str, trials: tuple[TrialRow, ...], found: Findings) -> str:
    names, varied = list(UNITS), list(found.plan.searched.ranges)
    rows = (
        row(
            str(one.number),
            one.state,
            *(one.values.get(name) for name in names),
            *(_cell(one.params.get(name)) for name in varied),
        )
        for one in trials
    )
    return table(caption, ("trial", "state", *names, *varied), rows)


def _cell(value: object) -> str | float | None:
    return (
        value
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        else str(value)
    )
