"""The soak: rounds with other seeds, their counts added up, and the first loss ends it with the seed that repeats it."""

import json
import sys

import pytest

from benchmarks import soak
from benchmarks.harness import RESULTS

ROUND = """
import json, os, sys, time
seed = int(os.environ["CHARLOOM_ATTACK_SEED"])
with open(os.environ["CHARLOOM_ATTACK_COUNTS"], "a") as file:
    file.write(json.dumps({"kind": "kills", "cases": seed, "losses": %(losses)s}) + "\\n")
    file.write('{"kind": "kil')
print("what went wrong")
time.sleep(%(sleep)s)
sys.exit(%(code)s)
"""


def command(*, losses="0", code="0", sleep="0"):
    return [sys.executable, "-S", "-c", ROUND % {"losses": losses, "code": code, "sleep": sleep}]


def test_rounds_have_other_seeds_and_their_counts_are_added(capsys):
    found = soak.soak(0.005, command(), report_s=0.01)
    number = len(found["seeds"])
    assert number > 1
    assert found["seeds"] == list(range(1, number + 1))
    cases = sum(found["seeds"][: found["complete_rounds"]])
    assert found["kinds"]["kills"]["cases"] in (cases, cases + number)  # the last may have been stopped
    assert found["kinds"]["kills"]["losses"] == 0
    assert "kills 3 (0 lost)" in capsys.readouterr().out


def test_a_round_is_stopped_when_the_time_is_over_and_its_counts_are_kept():
    found = soak.soak(0.015, command(sleep="60", code="1"), report_s=0.1)
    assert found["complete_rounds"] == 0
    assert found["kinds"] == {"kills": {"cases": 1, "losses": 0}}
    assert found["seconds"] < 30


@pytest.mark.parametrize("how", [{"losses": "seed - 1"}, {"code": "seed - 1"}], ids=["loss", "failure"])
def test_the_first_loss_ends_it_with_the_seed_that_repeats_it(how):
    with pytest.raises(soak.LostError) as lost:
        soak.soak(1.0, command(**how), report_s=0.1)
    assert "what went wrong" in str(lost.value)
    assert "SEED 2" in str(lost.value)
    assert "CHARLOOM_ATTACK_SEED=2 python -m pytest -m reliability" in str(lost.value)


def test_the_page_of_promises_quotes_the_last_soak():
    results = json.loads((RESULTS / "soak.json").read_text("utf-8"))
    page = soak.PAGE.read_text("utf-8")
    assert soak.with_paragraph(page, results) == page
    assert soak.paragraph(results) in page
    assert not any(kind["losses"] for kind in results["kinds"].values())
