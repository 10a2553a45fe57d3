"""Context curves: the arithmetic on stubs, and models with a known use of context."""

import numpy as np
import pytest

from charloom.errors import DataError
from charloom.insight.context import ROWS, TAIL_SHARE, FarContext, context_curve, enough, far_context

BACK = 5
WRONG = 3.0
V = 11


class Counting:
    """A model whose loss is the target's id plus 1/k after k characters."""

    def initial_state(self, batch_size):
        return batch_size

    def losses(self, window, state):
        assert state == len(window.inputs)
        return window.targets + 1 / np.arange(1, window.inputs.shape[1] + 1), state


class Copying:
    """A model that predicts the character `BACK` back once it has read that many."""

    def initial_state(self, batch_size):
        return batch_size

    def losses(self, window, state):
        losses = np.full(window.targets.shape, WRONG)
        back = BACK - 1  # the newest character read is 1 back
        copied = window.inputs[:, : window.inputs.shape[1] - back]
        losses[:, back:] = np.where(copied == window.targets[:, back:], 0.1, WRONG)
        return losses, state


class Bagging(Copying):
    """A model that predicts every character it has read, in any order."""

    def losses(self, window, state):
        T = window.targets.shape[1]
        there = [[row[: t + 1].__contains__(y) for t, y in enumerate(ys)] for row, ys in self.rows(window)]
        return np.where(there, 0.1, WRONG).reshape(-1, T), state

    def rows(self, window):
        return zip(window.inputs.tolist(), window.targets.tolist(), strict=True)


def repeating(rng, length=4_000):
    """A periodic text: every character equals the one `BACK` back."""
    return np.resize(rng.permutation(V)[:BACK], length)


def test_all_elements_of_the_context_curve_are_means_over_the_same_targets():
    ids = np.arange(40.0) ** 2
    curve = context_curve(Counting(), ids, reach=8, targets=20)
    assert curve == pytest.approx(ids[8:28].mean() + 1 / np.arange(1, 9))


def test_passages_of_a_long_text_are_evenly_spaced_from_start_to_end():
    ids = np.arange(100.0)
    curve = context_curve(Counting(), ids, reach=4, targets=10)
    firsts = np.linspace(0, 82, 5).astype(int) + 4
    assert curve[0] - 1 == pytest.approx(np.mean([np.arange(first, first + 10) for first in firsts]))


def test_more_windows_than_fit_in_one_batch():
    ids = np.arange(2 * ROWS + 40.0)
    curve = context_curve(Counting(), ids, reach=3, targets=ROWS + 9, stretches=1)
    assert curve == pytest.approx(ids[3 : ROWS + 12].mean() + 1 / np.arange(1, 4))


def test_the_curve_drops_when_the_copied_character_is_in_the_context(rng):
    curve = context_curve(Copying(), repeating(rng), reach=32, targets=50)
    assert (curve[: BACK - 1] == WRONG).all()
    assert curve[BACK - 1 :] == pytest.approx(0.1)
    assert enough(curve) == BACK


def test_enough_is_the_length_beyond_which_context_gains_under_one_per_cent():
    curve = np.array([3.0, 1.5, 1.02, 1.009, *[1.0] * 32])
    assert enough(curve) == 4
    assert enough(np.array([1.0, 0.5, *[np.nan] * TAIL_SHARE])) is None


def test_the_order_share_is_one_if_only_position_matters(rng):
    far = far_context(Copying(), repeating(rng), kept=(1, 2, BACK, 9), reach=24, targets=100)
    assert far.full_nats == pytest.approx(0.1)
    assert far.truncated_nats == pytest.approx([WRONG, WRONG, 0.1, 0.1])
    assert far.shuffled_nats[2:] == pytest.approx(0.1)
    assert far.order_share[0] > 0.5  # 1 of BACK shuffled characters is in the right place by chance
    assert far.order_share[2:] == (None, None)


def test_the_order_share_is_zero_if_only_content_matters(rng):
    """Each target occurs somewhere in its far context but not in the near one."""
    far = far_context(Bagging(), np.resize(np.arange(V), 4_000), kept=(2,), reach=24, targets=60)
    assert far.truncated_nats == pytest.approx(WRONG)
    assert far.order_share == (0.0,)


def test_shuffling_keeps_the_nearest_characters_and_permutes_the_far_ones(rng):
    seen = []

    class Recording(Counting):
        def losses(self, window, state):
            seen.append(np.concatenate([window.inputs, window.targets[:, -1:]], axis=1))
            return super().losses(window, state)

    ids = rng.integers(0, V, 400)
    far_context(Recording(), ids, kept=(3,), reach=20, targets=15)
    cut, moved, whole = seen
    assert (cut == whole[:, 17:]).all()
    assert (moved[:, 17:] == whole[:, 17:]).all()
    assert (np.sort(moved[:, :17]) == np.sort(whole[:, :17])).all()
    assert (moved[:, :17] != whole[:, :17]).any(axis=1).mean() > 0.9
    assert len({tuple(np.argsort(row, kind="stable")) for row in moved}) > 10  # every row has its own order


def test_a_text_that_is_too_short_is_an_error():
    with pytest.raises(DataError, match="only 30 known"):
        context_curve(Counting(), np.arange(30), reach=8, targets=20)


def test_the_order_share_of_a_known_case():
    far = FarContext((1, 2), np.array([3.0, 2.01]), np.array([2.5, 2.0]), 2.0, 8, 1)
    assert far.order_share == (0.5, None)


def test_what_suffices_is_held_to_every_number_of_the_curve():
    """The loss after 4 characters is 3 % below that after 2, although it rises again with more of them."""
    curve = np.array([3.0, 2.0, 1.97, 1.94, 1.99, 2.0, 2.0, 2.0])
    k = enough(curve)
    assert k == 4
    assert curve[k - 1] <= 1.01 * curve[k - 1 :].min()


def test_what_suffices_agrees_with_the_far_context():
    curve = np.array([3.0, 1.505, 1.503, 1.502, 1.5, 1.5, 1.5, 1.5])
    far = FarContext((1, 4), np.array([2.0, 1.55]), np.array([2.0, 1.6]), 1.5, 8, 100)
    assert enough(curve) == 2
    assert enough(curve, far) == 5  # the characters beyond the nearest 4 gain 3 %
