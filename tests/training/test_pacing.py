"""Minutes keep their word, plans only rise, and a run in minutes is repeated by its steps to the last bit."""

import pytest

from charloom.config import ModelConfig, parse_plan
from charloom.runs import Run
from charloom.schedule import learning_rate, progress_at
from charloom.training import loop, train
from charloom.training.pacing import Pacer

from .small import (
    MODEL,
    Clock,
    assert_same_weights,
    kinds,
    quick_closing,  # noqa: F401 - a fixture
    run_all,
    settings,
    small_corpus,
)

pytestmark = pytest.mark.usefixtures("quick_closing")

WORD = 0.15  # the share by which a budget in minutes may be missed (DESIGN §5)
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
def test_minutes_keep_their_word_when_the_speed_changes(name, tmp_path, monkeypatch):
    clock = Clock().install(monkeypatch, SPEEDS[name])
    begin = clock()
    _, events = run_all(
        small_corpus(), minutes(0.2), tmp_path / "run", model=TINY, clock=clock
    )  # twelve seconds
    finished = kinds(events, "Finished")[0]
    assert finished.wall_time_s == pytest.approx(clock() - begin)
    assert finished.wall_time_s == pytest.approx(12, rel=WORD)
    assert kinds(events, "Progress")[-1].progress > 0.9  # the schedule came to its end, too
    assert kinds(events, "Validation")[-1].step == finished.step


def test_slow_validations_are_paid_from_the_budget(tmp_path, monkeypatch):
    clock = Clock(0.02).install(monkeypatch)
    real = loop.stream_estimate

    def slow(*args, **kwargs):
        clock.now += 0.3
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "stream_estimate", slow)
    begin = clock()
    _, events = run_all(small_corpus(), minutes(0.5), tmp_path / "run", model=TINY, clock=clock)
    assert clock() - begin == pytest.approx(30, rel=WORD)
    assert len(kinds(events, "Validation")) >= 10
    assert kinds(events, "Finished")[0].train_time_s < 27  # validations are no training time


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_in_minutes_is_repeated_by_its_steps_and_plan_to_the_last_bit(
    name, schedule, tmp_path, monkeypatch
):
    corpus, taken = small_corpus(), []
    real = loop.learning_rate

    def watched(config, knots, step):
        taken.append((knots, step))
        return real(config, knots, step)

    monkeypatch.setattr(loop, "learning_rate", watched)
    clock = Clock().install(monkeypatch, SPEEDS[name])
    config = minutes(0.1, schedule=schedule, precision="float64", average_decay=0.9)
    run, events = run_all(corpus, config, tmp_path / "run", model=TINY, clock=clock)
    as_taken = run.config()["as_taken"]
    knots = parse_plan(as_taken["plan"])
    steps = as_taken["steps"]
    assert knots[-1][0] == steps == kinds(events, "Finished")[0].step
    assert events[-1].steps_plan == as_taken["plan"]
    for progress in kinds(events, "Progress"):  # the rate as it was taken is the plan's, bit for bit
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
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)  # a checkpoint after every stretch
    clock = Clock().install(monkeypatch, lambda step: 0.02 if step < 150 else 0.6)
    run, events = run_all(small_corpus(), minutes(0.1), tmp_path / "run", model=TINY, clock=clock)
    plan = parse_plan(run.config()["as_taken"]["plan"])
    assert plan[-1][0] == kinds(events, "Finished")[0].step


def test_a_run_in_minutes_resumed_is_repeated_by_its_plan_too(tmp_path, monkeypatch):
    corpus, clock = small_corpus(), Clock(0.03).install(monkeypatch)
    config = minutes(0.1, precision="float64")
    run = Run.create(tmp_path / "run", {})
    for event in (generator := train(corpus, TINY, config, run, clock=clock)):
        if event.step > 60:
            generator.close()
            break
    clock.seconds_a_step = 0.05
    run_all(corpus, config, run.path, model=TINY, resume=True, clock=clock)
    taken = run.config()["as_taken"]
    again = settings(batch_size=2, bptt_length=4, precision="float64", **taken)
    other, _ = run_all(corpus, again, tmp_path / "again", model=TINY)
    assert_same_weights(other, run)


@pytest.mark.parametrize("name", SPEEDS)
def test_the_knots_of_a_plan_rise(name):
    pacer, elapsed, step = Pacer(minutes(0.2), 10), 0.0, 0
    seen = [0.0]
    while not pacer.done(step):
        stop = min(step + pacer.stretch(), pacer.last_step)
        seconds = sum(SPEEDS[name](s) for s in range(step, stop))
        elapsed += seconds
        pacer.tick(step, stop, seconds, elapsed)
        step = stop
        seen.append(pacer.progress(step))
        assert all(a[0] < b[0] and a[1] <= b[1] <= 1 for a, b in zip(pacer.knots, pacer.knots[1:]))
        assert step < 5000
    pacer.close(step)
    assert seen == sorted(seen)
    assert pacer.knots[0] == (0, 0.0)
    assert pacer.knots[-1][0] == step
    assert len(pacer.knots) < 120


def test_a_stretch_is_about_half_a_second_and_short_at_first():
    pacer = Pacer(settings(steps=10_000), 10)
    assert pacer.stretch() == 1
    pacer.tick(0, 1, 0.01, 0.01)
    assert 1 <= pacer.stretch() <= 8
    for step in range(1, 200):
        pacer.tick(step, step + 1, 0.01, 0.01 * (step + 1))
    assert pacer.stretch() == 50
    assert pacer.time_left_s(200) == pytest.approx(98)


@pytest.mark.parametrize(
    ("budget", "last_step"),
    [({"steps": 7}, 7), ({"epochs": 2}, 20), ({"epochs": 0.25}, 2), ({"epochs": 0.001}, 1)],
    ids=str,
)
def test_budgets_in_steps_and_epochs_are_exact(budget, last_step):
    pacer = Pacer(settings(**{"steps": None, **budget}), 10)
    assert pacer.last_step == last_step
    assert not pacer.done(last_step - 1)
    assert pacer.done(last_step)
    assert pacer.progress(last_step) == 1


@pytest.mark.parametrize("total", [1, 3, 7, 20, 100, 997, 1234])
@pytest.mark.parametrize("count", [4, 20])
def test_marks_and_the_first_step_at_a_share_agree(total, count):
    pacer = Pacer(settings(steps=total), 10)
    for step in range(total):
        mark = pacer.marks(step, count) + 1
        stop = pacer.first_step_at(mark / count, step)
        assert step < stop <= total
        assert pacer.marks(stop, count) >= mark
        assert stop == step + 1 or pacer.marks(stop - 1, count) < mark
    assert pacer.marks(total, count) == count
    assert [pacer.marks(s, count) for s in range(total + 1)] == [s * count // total for s in range(total + 1)]


def test_a_plan_is_followed_instead_of_a_straight_line(tmp_path):
    config = settings(steps=20, plan="0:0.0,10:0.9,20:1.0")
    _, events = run_all(small_corpus(), config, tmp_path / "run", model=MODEL)
    halfway = next(e for e in kinds(events, "Progress") if e.step >= 10)
    assert halfway.progress >= 0.9
    assert kinds(events, "Finished")[0].step == 20
