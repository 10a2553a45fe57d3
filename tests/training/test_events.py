"""Events as JSON lines, and the loop's state through JSON."""

import json
import math

from charloom.training.events import Progress, Saved, to_json
from charloom.training.state import LoopState


def test_an_event_is_one_json_object_under_its_name():
    assert to_json(Saved(3, "here")) == {"event": "saved", "step": 3, "path": "here"}


def test_arrays_are_rounded_to_six_digits_and_single_numbers_are_not():
    event = Progress(2, 0, 1 / 3, (1.23456789, 2.0), (0.000123456789, 1.0), 1 / 7, 10.0, 1.0)
    found = json.loads(json.dumps(to_json(event)))
    assert found["loss"] == [1.23457, 2.0]
    assert found["grad_norm"] == [0.000123457, 1.0]
    assert (found["progress"], found["learning_rate"]) == (1 / 3, 1 / 7)


def test_a_loop_state_survives_json_to_the_last_digit():
    state = LoopState(
        step=7,
        knots=((0, 0.0), (9, 0.1 + 0.2)),
        elapsed_s=1 / 3,
        best_loss=math.pi,
        best_step=5,
        worse_since_best=1,
        history=((5, math.pi), (7, 3.2)),
        since_validation=(0.1, 3),
        in_epoch=(0.7, 2),
    )
    assert LoopState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert LoopState.from_json(json.loads(json.dumps(LoopState().to_json()))) == LoopState()
