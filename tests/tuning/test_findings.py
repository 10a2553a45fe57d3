"""What is read from a search: the front, the importance, the page; and it is escaped."""

import re

import pytest

from charloom.tuning.findings import Findings, TrialRow, pareto_front
from tests.tuning.workers import NAME, plan_of_trials


def row(number, state="complete", params=None, **values):
    settings = {"learning_rate": 0.1, "steps": 40}
    return TrialRow(number, state, params or {}, values, settings, f"run-{number}", 1.0, "")


def test_of_one_objective_the_front_is_the_first_best_trial():
    rows = [row(0, loss=2.0), row(1, loss=1.0), row(2, loss=1.0), row(3, "pruned", loss=0.5)]
    assert [one.number for one in pareto_front(rows, ["loss"])] == [1]
    assert [one.number for one in pareto_front(rows, ["chars_per_s"])] == []


def test_the_front_of_two_objectives_by_hand():
    rows = [
        row(0, loss=1.0, chars_per_s=10.0),
        row(1, loss=2.0, chars_per_s=30.0),
        row(2, loss=2.0, chars_per_s=20.0),  # as good as 1 in one, worse in the other
        row(3, loss=3.0, chars_per_s=29.0),  # beaten by 1 in both
        row(4, loss=4.0, chars_per_s=40.0),
        row(5, "fail"),
    ]
    assert [one.number for one in pareto_front(rows, ["loss", "chars_per_s"])] == [0, 1, 4]
    assert [one.number for one in pareto_front(rows, ["chars_per_s", "loss"])] == [4, 1, 0]


def test_the_front_is_what_no_other_beats(rng):
    rows = [row(i, loss=float(a), size=float(b)) for i, (a, b) in enumerate(rng.integers(0, 12, (60, 2)))]
    front = {one.number for one in pareto_front(rows, ["loss", "size"])}
    for one in rows:
        pair = (one.values["loss"], one.values["size"])
        others = [(o.values["loss"], o.values["size"]) for o in rows]
        beaten = any(a <= pair[0] and b <= pair[1] and (a, b) != pair for a, b in others)
        twin = any((a, b) == pair and i < one.number for i, (a, b) in enumerate(others))
        assert (one.number in front) == (not beaten and not twin)


def test_the_page_shows_and_escapes_what_it_read():
    pytest.importorskip("matplotlib")
    from charloom.tuning.page import search_page

    plan = plan_of_trials(4, objectives=("loss", "size"))
    rows = (
        row(0, loss=2.0, size=5.0, params={"learning_rate": 0.25, "optimizer": "<b>x</b>"}),
        row(1, loss=1.0, size=9.0),
        TrialRow(2, "fail", {}, {}, {}, "", None, "</script><script>alert(1)</script>"),
        row(3, "waiting"),
    )
    best = pareto_front(rows, plan.objectives)
    page = search_page(Findings(NAME, plan, rows, best, {"learning_rate": 0.75, "batch_size": 0.25}))
    assert "<script" not in page
    assert "Trial 2 failed: &lt;/script&gt;" in page
    assert page.count("<svg") == 3  # history, front, importance
    assert len(re.findall(r'<td>1</td><td>complete</td><td class="number">1</td>', page)) == 2


def test_the_importance_names_the_setting_that_matters(tmp_path):
    pytest.importorskip("optuna", reason="searching needs optuna")
    from charloom.tuning import findings_of, open_store, start_search, work
    from charloom.tuning.objective import Measured

    def only_the_rate(number, settings, **how):
        loss = abs(settings["learning_rate"] - 0.01)
        return Measured({"loss": loss, "size": 1.0}, settings, "", 0.0)

    store = open_store(tmp_path)
    study, plan = start_search(store, plan_of_trials(25))
    list(work(store, study, plan, only_the_rate))
    found = findings_of(store)
    store.close()
    assert next(iter(found.importance)) == "learning_rate"
    assert sum(found.importance.values()) == pytest.approx(1.0)
    assert found.importance["learning_rate"] > 0.5
