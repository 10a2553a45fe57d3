"""The command that follows a verdict."""

import pytest

from charloom.cli.train_summary import next_command

CORPUS = {"sources": ["my tales.txt", "more.txt"], "val": None}


def command(corpus=CORPUS, **verdict):
    advice = {"more_steps": 0, "settings": {}, "text": "", **verdict}
    return next_command([advice], "runs/a", corpus)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ({"more_steps": 120}, "charloom train --resume runs/a --steps +120"),
        (
            {"settings": {"dropout_output": 0.3, "patience": None}},
            "charloom train 'my tales.txt' more.txt --recipe runs/a --dropout-output 0.3 --patience none",
        ),
        ({"text": "more"}, "charloom train 'my tales.txt' more.txt MORE-TEXT.txt --recipe runs/a"),
        ({"text": "other"}, "charloom train 'my tales.txt' more.txt --recipe runs/a --val OTHER-TEXT.txt"),
        ({}, None),
    ],
)
def test_each_advice_becomes_a_command(verdict, expected):
    assert command(**verdict) == expected


def test_a_held_out_file_is_kept_unless_it_is_the_fault():
    corpus = {"sources": ["a.txt"], "val": "held out.txt"}
    assert command(corpus, settings={"hidden_size": 64}).endswith("--val 'held out.txt' --hidden-size 64")
    assert "held out.txt" not in command(corpus, text="other")


def test_a_run_without_a_verdict_or_of_an_older_version_has_no_command():
    assert next_command([], "runs/a", CORPUS) is None
    assert next_command([{"kind": "well-fitted", "says": "", "advice": ""}], "runs/a", CORPUS) is None


def test_a_text_in_memory_is_named_by_a_placeholder():
    assert command({"sources": [], "val": None}, text="more").startswith("charloom train TEXT MORE-TEXT.txt")
