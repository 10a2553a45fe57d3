"""``charloom search``: from a text to a recipe that repeats the best trial to the digit."""

import signal
import tomllib

import pytest

from charloom import threads
from charloom.tuning import objective as trial_objective

pytest.importorskip("optuna", reason="searching needs optuna")

SMALL = "--hidden-size 8 --batch-size 4 --bptt-length 16 --num-layers 1 --threads 1 --space lstm"


def test_the_best_trial_is_a_recipe_that_repeats_to_the_digit(charloom, workspace):
    pytest.importorskip("matplotlib")
    found = charloom(f"search tales.txt --trials 3 --steps 20 {SMALL} --json")
    assert found.code == 0, found.err
    assert [trial["state"] for trial in found.json["trials"]] == ["complete"] * 3
    losses = [trial["values"]["loss"] for trial in found.json["trials"]]
    assert found.json["best"] == [losses.index(min(losses))]
    again = charloom(
        ["train", "tales.txt", "--recipe", *found.json["recipes"], "--out", "runs/again", "--json"]
    )
    assert again.json["val_loss_nats"] == min(losses)

    shown = charloom("search tales.txt --show")
    assert shown.code == 0
    assert f"{min(losses):.4f}" in shown.out
    page = (workspace / "searches" / "tales" / "search.html").read_text("utf-8")
    assert "What was found?" in page
    more = charloom(f"search tales.txt --trials 4 --steps 20 {SMALL}")
    assert "trial 3: loss" in more.err
    assert "trial 2:" not in more.err


def test_minutes_become_a_number_of_steps_that_fit(charloom, workspace):
    small = SMALL.replace("--threads 1", "")
    found = charloom(f"search tales.txt --trials 2 --minutes 0.06 {small} --objective loss,size --json")
    assert found.code == 0, found.err
    for name in found.json["recipes"]:
        recipe = tomllib.loads((workspace / name).read_text("utf-8"))
        assert recipe["train"]["steps"] >= 5
        assert "minutes" not in recipe["train"]
        assert recipe["train"]["threads"] == threads.available()  # the bits of a run depend on it
    assert not list((workspace / "searches" / "tales").glob("*-speed"))


def test_an_interrupted_search_gives_its_trial_back_and_is_continued(charloom, workspace, monkeypatch):
    real = trial_objective.TrainingJob.events

    def interrupted(self):
        for number, event in enumerate(real(self)):
            yield event
            if number == 3:
                signal.raise_signal(signal.SIGINT)

    command = f"search tales.txt --trials 1 --steps 20 {SMALL}"
    with monkeypatch.context() as patch:
        patch.setattr(trial_objective.TrainingJob, "events", interrupted)
        stopped = charloom(command)
    assert stopped.code == 130
    assert "the trial was given back" in stopped.err
    assert not list((workspace / "searches" / "tales").glob("trial-*"))
    assert "(1 of 1 finished)" in charloom(command).err


def test_the_speed_of_generation_is_an_objective(charloom, workspace):
    found = charloom(f"search tales.txt --trials 1 --steps 5 {SMALL} --objective chars_per_s --json")
    (trial,) = found.json["trials"]
    assert trial["values"]["chars_per_s"] > 1000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "the search has no budget"),
        ("--steps 5 --objective speed", "objective is 'speed'"),
        ("--steps 5 --objective loss,size,chars_per_s", "one objective, or two"),
        ("--steps 5 --space lsmt", "did you mean lstm"),
        ("--steps 5 --trials 0", "trials is 0"),
        ("--minutes 0", "minutes is 0"),
        ("--steps 5 --val-fraction 0", "nothing is held out"),
        ("--steps 5 --storage sqlite:///x", "a PostgreSQL database"),
        ("--steps 5 --cell mingru --space training --dropout-recurrent 0.5", "dropout_recurrent"),
        ("--show", "there is no search"),
        ("--show --trials 3", "nothing is trained with --show"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_the_first_trial(charloom, workspace, words, says):
    failed = charloom(f"search tales.txt {words}")
    assert failed.code in (1, 2)
    assert says in failed.err
    assert not list(workspace.glob("searches/*/trial-*"))


def test_standard_input_is_refused(charloom, workspace):
    assert "every trial reads the text again" in charloom("search - --steps 3", stdin=b"abc").err


def test_what_another_machine_wrote_is_escaped(charloom, workspace):
    from charloom.errors import RunError
    from charloom.tuning import open_store, start_search, work
    from tests.tuning.workers import plan_of_trials

    def fail(number, settings, **how):
        raise RunError("a\x1b[31mred", why="b", fix="c")

    place = workspace / "searches" / "tales"
    place.mkdir(parents=True)
    store = open_store(place)
    study, plan = start_search(store, plan_of_trials(1))
    assert [end.outcome for end in work(store, study, plan, fail)] == ["fail"]
    store.close()
    shown = charloom("search tales.txt --show")
    assert "trials failed" in shown.err
    assert "\x1b" not in shown.err + shown.out
    assert "no trial is complete" in shown.err
