"""Budgets in minutes are kept, plans only increase, and a run in minutes can be reproduced bit for bit by its steps."""

import math

import pytest

from charloom.cli.train_summary import missing_baselines
from charloom.config import ModelConfig, parse_plan
from charloom.runs import Run
from charloom.schedule import learning_rate, progress_at
from charloom.training import loop, recorder, train
from charloom.training.budget import ALLOWED_S, Budget

from .small import (
    MODEL,
    Clock,
    assert_same_weights,
    kinds,
    quick_report,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
)

pytestmark = pytest.mark.usefixtures("quick_report")

TOLERANCE = 0.15  # permitted relative error of a budget in minutes (DESIGN §5)
TINY = ModelConfig(cell="elman", hidden_size=3)


def minutes(value, **changes):
    return settings(steps=None, minutes=value, batch_size=2, bptt_length=4, **changes)


SPEEDS = {
    "steady": lambda _: 0.02,
    "slow-start": lambda step: 2.0 if step == 0 else 0.02,
    "half-midway": lambda step: 0.02 if step < 300 else 0.04,
    "a-tenth-midway": lambda step: 0.02 if step < 150 else 0.2,
    "twice-midway": lambda step: 0.04 if step < 150 else 0.02,
    "uneven": lambda step: 0.01 + 0.03 * (step % 7 == 0),
    "sluggish": lambda _: 0.9,
}


@pytest.mark.parametrize("name", SPEEDS)
def test_a_budget_in_minutes_is_kept_when_the_speed_changes(name, tmp_path, monkeypatch):
    clock = Clock().install(monkeypatch, SPEEDS[name])
    begin = clock()
    _, events = run_all(small_corpus(), minutes(0.2), tmp_path / "run", model=TINY, clock=clock)  # 12 s
    finished = kinds(events, "Finished")[0]
    assert finished.wall_time_s == pytest.approx(clock() - begin)
    assert finished.wall_time_s == pytest.approx(12, rel=TOLERANCE)
    assert kinds(events, "Progress")[-1].progress > 0.9  # the schedule has reached its end, too
    assert kinds(events, "Validation")[-1].step == finished.step


def test_slow_validations_count_towards_the_budget(tmp_path, monkeypatch):
    clock = Clock(0.02).install(monkeypatch)
    real = loop.stream_estimate

    def slow(*args, **kwargs):
        clock.now += 0.3
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "stream_estimate", slow)
    begin = clock()
    _, events = run_all(small_corpus(), minutes(0.5), tmp_path / "run", model=TINY, clock=clock)
    assert clock() - begin == pytest.approx(30, rel=TOLERANCE)
    assert len(kinds(events, "Validation")) >= 10
    assert kinds(events, "Finished")[0].train_time_s < 27  # validations are not training time


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_in_minutes_is_reproduced_bit_for_bit_from_its_steps_and_plan(
    name, schedule, tmp_path, monkeypatch
):
    corpus, taken = small_corpus(), []
    real = loop.learning_rate

    def recording(config, knots, step):
        taken.append((knots, step))
        return real(config, knots, step)

    monkeypatch.setattr(loop, "learning_rate", recording)
    clock = Clock().install(monkeypatch, SPEEDS[name])
    config = minutes(0.1, schedule=schedule, precision="float64", average_decay=0.9)
    run, events = run_all(corpus, config, tmp_path / "run", model=TINY, clock=clock)
    as_taken = run.config()["as_taken"]
    knots = parse_plan(as_taken["plan"])
    steps = as_taken["steps"]
    assert knots[-1][0] == steps == kinds(events, "Finished")[0].step
    assert events[-1].steps_plan == as_taken["plan"]
    for progress in kinds(events, "Progress"):  # the learning rate used equals the plan's, bit for bit
        assert progress.learning_rate == learning_rate(config, knots, progress.step - 1)
    for planned, step in taken:
        for s in range(max(0, step - 30), step + 1):
            assert progress_at(planned, s) == progress_at(knots, s)
    again = settings(
        batch_size=2, bptt_length=4, schedule=schedule, precision="float64", average_decay=0.9,
        steps=steps, plan=as_taken["plan"],
    )  # fmt: skip
    monkeypatch.undo()
    other, repeated = run_all(corpus, again, tmp_path / "again", model=TINY)
    assert_same_weights(other, run)
    assert [e.step for e in kinds(repeated, "Validation")] == [e.step for e in kinds(events, "Validation")]


def test_a_plan_saved_with_the_very_last_step_ends_there(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHECKPOINT_EVERY_S", -1.0)  # a checkpoint after every range of steps
    clock = Clock().install(monkeypatch, lambda step: 0.02 if step < 150 else 0.6)
    run, events = run_all(small_corpus(), minutes(0.1), tmp_path / "run", model=TINY, clock=clock)
    plan = parse_plan(run.config()["as_taken"]["plan"])
    assert plan[-1][0] == kinds(events, "Finished")[0].step


def test_a_resumed_run_in_minutes_is_also_reproduced_from_its_plan(tmp_path, monkeypatch):
    corpus, clock = small_corpus(), Clock(0.03).install(monkeypatch)
    config = minutes(0.1, precision="float64")
    run = Run.create(tmp_path / "run", {})
    for event in (generator := train(corpus, TINY, config, run, clock=clock)):
        if event.step > 60:
            generator.close()
            break
    clock.step_s = 0.05
    run_all(corpus, config, run.path, model=TINY, resume=True, clock=clock)
    taken = run.config()["as_taken"]
    again = settings(batch_size=2, bptt_length=4, precision="float64", **taken)
    other, _ = run_all(corpus, again, tmp_path / "again", model=TINY)
    assert_same_weights(other, run)


@pytest.mark.parametrize("name", SPEEDS)
def test_the_knots_of_a_plan_increase(name):
    budget, elapsed, step = Budget(minutes(0.2), 10), 0.0, 0
    seen = [0.0]
    while not budget.done(step):
        stop = min(step + budget.range_size(), budget.last_step)
        seconds = sum(SPEEDS[name](s) for s in range(step, stop))
        elapsed += seconds
        budget.tick(step, stop, seconds, elapsed)
        step = stop
        seen.append(budget.progress(step))
        assert all(a[0] < b[0] and a[1] <= b[1] <= 1 for a, b in zip(budget.knots, budget.knots[1:]))
        assert step < 5000
    budget.close(step)
    assert seen == sorted(seen)
    assert budget.knots[0] == (0, 0.0)
    assert budget.knots[-1][0] == step
    assert len(budget.knots) < 120


def test_a_range_of_steps_takes_about_half_a_second_and_is_short_at_first():
    budget = Budget(settings(steps=10_000), 10)
    assert budget.range_size() == 1
    budget.tick(0, 1, 0.01, 0.01)
    assert 1 <= budget.range_size() <= 8
    for step in range(1, 200):
        budget.tick(step, step + 1, 0.01, 0.01 * (step + 1))
    assert budget.range_size() == 50
    assert budget.time_left_s(200) == pytest.approx(98)


@pytest.mark.parametrize(
    ("budget", "last_step"),
    [({"steps": 7}, 7), ({"epochs": 2}, 20), ({"epochs": 0.25}, 2), ({"epochs": 0.001}, 1)],
    ids=str,
)
def test_budgets_in_steps_and_epochs_are_exact(budget, last_step):
    budget = Budget(settings(**{"steps": None, **budget}), 10)
    assert budget.last_step == last_step
    assert not budget.done(last_step - 1)
    assert budget.done(last_step)
    assert budget.progress(last_step) == 1


@pytest.mark.parametrize("total", [1, 3, 7, 20, 100, 997, 1234])
@pytest.mark.parametrize("count", [4, 20])
def test_marks_and_the_first_step_at_a_share_agree(total, count):
    budget = Budget(settings(steps=total), 10)
    for step in range(total):
        mark = budget.marks(step, count) + 1
        stop = budget.first_step_at(mark / count, step)
        assert step < stop <= total
        assert budget.marks(stop, count) >= mark
        assert stop == step + 1 or budget.marks(stop - 1, count) < mark
    assert budget.marks(total, count) == count
    assert [budget.marks(s, count) for s in range(total + 1)] == [
        s * count // total for s in range(total + 1)
    ]


def test_a_plan_replaces_the_straight_line(tmp_path):
    config = settings(steps=20, plan="0:0.0,10:0.9,20:1.0")
    _, events = run_all(small_corpus(), config, tmp_path / "run", model=MODEL)
    halfway = next(e for e in kinds(events, "Progress") if e.step >= 10)
    assert halfway.progress >= 0.9
    assert kinds(events, "Finished")[0].step == 20


def test_a_slow_first_validation_leaves_the_run_its_minutes(tmp_path, monkeypatch):
    # compiled loops may be compiled then, which says nothing about the speed of the final report
    clock = Clock(0.02).install(monkeypatch)
    real, calls = loop.TrainingLoop._model, []

    def compiling(self, task):
        clock.now += 0 if calls else 4.0
        calls.append(task)
        return real(self, task)

    monkeypatch.setattr(loop.TrainingLoop, "_model", compiling)
    begin = clock()
    _, events = run_all(small_corpus(), minutes(0.2), tmp_path / "run", model=TINY, clock=clock)
    assert clock() - begin == pytest.approx(12, rel=TOLERANCE)
    assert kinds(events, "Finished")[0].step > 300


def test_a_text_that_takes_longer_to_read_than_the_minutes_leaves_one_step_and_is_noted(
    tmp_path, monkeypatch
):
    clock = Clock(0.02).install(monkeypatch)
    run = Run.create(tmp_path / "run", {})
    began = clock() - 3600  # reading the text took an hour
    events = list(train(small_corpus(), TINY, minutes(0.2), run, clock=clock, began=began))
    assert kinds(events, "Finished")[0].step == 1
    (note,) = (note for note in kinds(events, "Started")[0].notes if "reading the text" in note)
    assert "took 3600 of the 12 seconds, which leaves one step" in note


@pytest.mark.parametrize("start_s", [0, 4, 9])
def test_the_time_before_the_loop_counts_towards_the_minutes(start_s, tmp_path, monkeypatch):
    clock = Clock(0.02).install(monkeypatch)
    run = Run.create(tmp_path / "run", {})
    began = clock() - start_s
    events = list(train(small_corpus(), TINY, minutes(0.2), run, clock=clock, began=began))
    assert clock() - began == pytest.approx(12, rel=TOLERANCE)
    assert any("reading the text" in note for note in kinds(events, "Started")[0].notes) == (start_s > 6)


def test_a_report_that_turns_out_slow_ends_with_what_it_has_measured(tmp_path, monkeypatch):
    """Scoring a part and a step of the baselines take a second each, which no validation has shown."""
    from charloom.training import baselines, final_report

    clock = Clock(0.02).install(monkeypatch)
    real = final_report.stream_steps

    def slow(*args, **kwargs):
        steps = real(*args, **kwargs)
        while True:
            clock.now += 1.0
            try:
                yield next(steps)
            except StopIteration as end:
                return end.value

    def slow_baselines(*_):
        for number in range(100):
            clock.now += 1.0
            yield baselines.Baselines(1.5, number + 1, None, 10)

    monkeypatch.setattr(final_report, "stream_steps", slow)
    monkeypatch.setattr(baselines, "_measure", slow_baselines)
    monkeypatch.setattr(baselines.BaselineMeasurement, "start", lambda *_, **__: None)
    begin = clock()
    corpus = small_corpus()
    run, events = run_all(corpus, minutes(0.2), tmp_path / "run", model=TINY, clock=clock)
    assert 12 < clock() - begin < 12 + ALLOWED_S
    finished = kinds(events, "Finished")[0]
    assert 0 < finished.val_chars <= len(corpus.validation)
    assert (finished.ngram_bits_per_char, finished.xz_bits_per_char) == (1.5, None)
    assert finished.ngram_order < 9
    assert missing_baselines(run.config()["results"]) == ["xz"]


@pytest.mark.parametrize(
    ("minutes_", "late_s", "overtime"), [(1, 10, 1.0), (10, 30, 0.5), (None, 1e9, -math.inf)]
)
def test_what_is_late_is_a_share_of_ten_seconds_or_a_tenth(minutes_, late_s, overtime):
    budget = Budget(minutes(minutes_) if minutes_ else settings(), 10)
    assert budget.overtime(60 * (minutes_ or 0) + late_s) == pytest.approx(overtime)
