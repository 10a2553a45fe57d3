"""Workers: trials are shared, taken over, given back, pruned and counted once; the time is a bound."""

from dataclasses import replace

import pytest

pytest.importorskip("optuna", reason="searching needs optuna")

from charloom.errors import DivergedError, RunError
from charloom.training.stop_signals import TrainingStopped
from charloom.tuning import findings_of, open_store, start_search, work
from charloom.tuning.plan import plan_from_json
from charloom.tuning.study import MARKS, quiet_optuna
from tests.tuning.workers import loss_of, plan_of_trials, synthetic

LEASE_S = 0.3


@pytest.fixture
def store(tmp_path):
    found = open_store(tmp_path)
    yield found
    found.close()


def all_ends(store, plan, objective=synthetic, **more):
    study, plan = start_search(store, plan)
    return list(work(store, study, plan, objective, lease_s=LEASE_S, **more))


def test_a_worker_finishes_every_trial_and_the_best_is_found(store):
    ends = all_ends(store, plan_of_trials(30))
    assert [end.number for end in ends] == list(range(30))
    assert ends[-1].finished == 30
    found = findings_of(store)
    assert {row.state for row in found.trials} <= {"complete", "pruned"}
    (best,) = found.best
    assert best.values["loss"] == min(row.values["loss"] for row in found.trials if row.state == "complete")
    assert best.values["loss"] == loss_of(best.params)
    assert best.values["loss"] < 1.1


def test_the_estimator_does_better_than_its_random_start(store):
    all_ends(store, replace(plan_of_trials(40), objectives=("loss",)))
    losses = [loss_of(row.params) for row in findings_of(store).trials]
    assert sum(losses[10:]) / 30 < sum(losses[:10]) / 10 - 0.05


def test_a_search_repeats_with_its_seed(tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        store = open_store(tmp_path / name)
        all_ends(store, plan_of_trials(14, seed=seed))
        found.append([row.params for row in findings_of(store).trials])
        store.close()
    assert found[0] == found[1] != found[2]
    assert len({params["learning_rate"] for params in found[0]}) == 14  # each trial draws its own


def test_a_finished_search_has_nothing_to_do_and_can_be_extended(store):
    all_ends(store, plan_of_trials(3))
    assert all_ends(store, plan_of_trials(3)) == []
    assert [end.number for end in all_ends(store, plan_of_trials(5))] == [3, 4]
    assert all_ends(store, plan_of_trials(2)) == []


class Killed(BaseException):
    """What ends a worker at once, as SIGKILL does: nothing is given back."""


def test_a_killed_worker_s_trial_is_taken_over_with_its_settings(store, monkeypatch):
    """Its lease lasts for a minute of the store's clock, which the last of the other trials lets pass."""
    now, chosen, done = [1000.0], {}, {}
    monkeypatch.setattr(type(store), "now", lambda _: now[0])
    study, plan = start_search(store, plan_of_trials(3))

    def die(number, settings, **how):
        chosen.update(settings)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "release", lambda *_: None)
        with pytest.raises(Killed):
            list(work(store, study, plan, die, lease_s=60))
    assert store.held().keys() == {0}

    def record(number, settings, **how):
        done[number] = settings
        if number == 2:
            now[0] += 61
        return synthetic(number, settings, **how)

    ends = list(work(store, study, plan, record, lease_s=60))
    assert [end.number for end in ends] == [1, 2, 0]
    assert done[0] == chosen
    assert findings_of(store).count("complete") == 3


@pytest.mark.parametrize("ending", [KeyboardInterrupt, lambda: TrainingStopped(2)])
def test_an_interrupted_worker_gives_its_trial_back_at_once(store, ending):
    def stop(number, settings, **how):
        raise ending()

    with pytest.raises(KeyboardInterrupt):
        all_ends(store, plan_of_trials(2), stop)
    assert store.held() == {}
    assert [end.number for end in all_ends(store, plan_of_trials(2))] == [0, 1]


def test_a_worker_whose_lease_was_taken_over_does_not_count(store):
    def slow(number, settings, **how):
        (holder,) = store.held().values()
        store.release(number, holder)
        assert store.claim(number, "another", 60) is not None
        return synthetic(number, settings, **how)

    study, plan = start_search(store, plan_of_trials(1))
    end = next(work(store, study, plan, slow, lease_s=60))
    assert (end.outcome, end.finished) == ("lost", 0)
    store.release(0, "another")
    assert [end.outcome for end in all_ends(store, plan)] == ["complete"]


def test_a_result_that_another_worker_recorded_is_passed_over(store):
    """The lease is still held, but the journal has an end: it accepts no second one."""

    def beaten(number, settings, **how):
        other = open_store(store._folder)
        study, _ = start_search(other, plan_of_trials(1))
        with quiet_optuna():
            study.tell(number, 7.0)
        other.close()
        return synthetic(number, settings, **how)

    study, plan = start_search(store, plan_of_trials(1))
    assert [end.outcome for end in work(store, study, plan, beaten, lease_s=60)] == ["lost"]
    with quiet_optuna():
        assert study.trials[0].value == 7.0


def test_a_trial_that_fails_is_recorded_with_its_reason(store):
    def diverge(number, settings, **how):
        if number == 1:
            raise DivergedError("the loss is nan", why="too fast", fix="slower")
        return synthetic(number, settings, **how)

    ends = all_ends(store, plan_of_trials(3), diverge)
    assert [end.outcome for end in ends] == ["complete", "fail", "complete"]
    row = findings_of(store).trials[1]
    assert (row.state, "the loss is nan" in row.failure) == ("fail", True)


def curve(loss):
    """An objective with this loss at every mark of each trial, by its number."""

    def objective(number, settings, *, seconds, watch, check):
        for mark in range(1, MARKS + 1):
            watch(mark / MARKS, loss(number))
        return replace(
            synthetic(number, settings, seconds=None, watch=lambda *_: None, check=check),
            values={"loss": loss(number)},
        )

    return objective


def test_a_hopeless_trial_is_pruned_and_a_good_one_is_not(store):
    outcomes = [
        end.outcome
        for end in all_ends(
            store, plan_of_trials(14), curve(lambda number: 2.0 if number == 12 else 1.0 - number / 100)
        )
    ]
    assert outcomes == ["complete"] * 12 + ["pruned", "complete"]


def test_nothing_is_pruned_where_the_loss_is_not_the_objective(store):
    plan = plan_of_trials(12, objectives=("size",))
    objective = curve(lambda number: float(number))

    def sized(number, settings, **how):
        return replace(objective(number, settings, **how), values={"size": 1.0})

    assert {end.outcome for end in all_ends(store, plan, sized)} == {"complete"}


def test_the_minutes_bound_the_search_and_are_shared_fairly(store, monkeypatch):
    """The clock of the store jumps by the length of each trial."""
    now = [1000.0]
    monkeypatch.setattr(type(store), "now", lambda _: now[0])
    shares = []

    def slow(number, settings, *, seconds, watch, check):
        shares.append(seconds)
        now[0] += seconds if number else seconds / 2
        return synthetic(number, settings, seconds=seconds, watch=watch, check=check)

    plan = plan_of_trials(4, minutes=2.0, has_own_length=False)
    study, plan = start_search(store, plan)
    ends = list(work(store, study, plan, slow, lease_s=1e6))
    assert shares == pytest.approx([30.0, 35.0, 35.0, 35.0])  # what the first left over goes to the others
    assert len(ends) == 4


def test_a_trial_that_is_running_when_the_time_is_up_is_given_back(store, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(type(store), "now", lambda _: now[0])

    def endless(number, settings, *, seconds, watch, check):
        monkeypatch.setattr("charloom.tuning.worker.time.monotonic", lambda: 1e12)
        check()
        raise AssertionError

    study, plan = start_search(store, plan_of_trials(2, minutes=1.0, has_own_length=False))
    assert [end.outcome for end in work(store, study, plan, endless, lease_s=1e6)] == ["stopped"]
    assert findings_of(store).count("running") == 1
    now[0] += 61
    assert list(work(store, study, plan, endless, lease_s=1e6)) == []  # the time is up


@pytest.mark.parametrize(
    "other",
    [
        {"corpus": {"name": "no text", "sha256": "1"}},
        {"settings": {"steps": 7}},
        {"space": "lstm"},
        {"seed": 5},
    ],
)
def test_a_worker_with_other_terms_is_refused(store, other):
    start_search(store, plan_of_trials(2))
    with pytest.raises(RunError, match=f"this search has {next(iter(other))}"):
        start_search(store, replace(plan_of_trials(2), **other))


@pytest.mark.parametrize(
    "damage", [{"space": "none"}, {"trials": "many"}, {"objectives": ["speed"]}, {"corpus": 1}]
)
def test_a_plan_of_another_machine_is_checked(damage):
    with pytest.raises(RunError, match="does not hold the plan"):
        plan_from_json(plan_of_trials(2).to_json() | damage)
    assert plan_from_json(plan_of_trials(2).to_json()) == plan_of_trials(2)
