"""Every batching against a plain reference, and properties of all: no window leaves the text, none is lost."""

import math
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charloom.config import TrainConfig
from charloom.errors import DataError
from charloom.rng import Purpose, permutation, permuted, uniforms
from charloom.text import batching
from charloom.text.batching import Plan, fit_batch

SIGMAS = 5  # standard deviations


def config(**settings):
    return TrainConfig(**{"batch_size": 3, "bptt_length": 4, "stream_offset": "fixed", **settings})


# ------------------------------------------------------------------------------------------------ the references
# Each gives the windows of one epoch as [step][lane] → (first position, length, reset at start), in plain loops.


def draw(settings, purpose, step, lane):
    return float(uniforms(settings.seed, purpose, step, [lane], 1)[0, 0])


def stream_reference(N, settings, epoch):
    B, T = settings.batch_size, settings.bptt_length
    predictions, slack = N - 1, 0
    if settings.stream_offset == "random" and settings.state_reset == "epoch" and predictions > B * T:
        slack = min(T - 1, predictions - B * T)
    segment = (predictions - slack) // B
    steps = segment // T if settings.drop_last else -(-segment // T)
    steps = max(1, steps)
    if settings.drop_last:
        segment = min(segment, steps * T)
    offset = int(draw(settings, Purpose.OFFSET, epoch, 0) * (slack + 1)) if slack else 0
    windows = []
    for place in range(steps):
        rows = []
        step = epoch * steps + place
        for lane in range(B):
            part = (lane + epoch) % B if settings.state_reset == "wrap" else lane
            if settings.state_reset == "wrap":
                reset_at_start = step == 0 or (part == 0 and place == 0)
            else:
                reset_at_start = place == 0
            if draw(settings, Purpose.RESET, step, lane) < settings.state_reset_probability:
                reset_at_start = True
            first = offset + part * segment + place * T
            rows.append((first, min(T, offset + (part + 1) * segment - first), reset_at_start))
        windows.append(rows)
    return windows


def random_reference(N, settings, epoch):
    B, T = settings.batch_size, settings.bptt_length
    steps = max(1, N // (B * T))
    return [
        [
            (int(draw(settings, Purpose.WINDOW, epoch * steps + place, lane) * (N - T)), T, True)
            for lane in range(B)
        ]
        for place in range(steps)
    ]


def sliding_reference(N, settings, epoch):
    B, T = settings.batch_size, settings.bptt_length
    starts = [first for first in range(0, N, settings.stride) if first + T + 1 <= N]
    if settings.order == "shuffled":
        starts = [starts[i] for i in permutation(settings.seed, Purpose.ORDER, epoch, len(starts))]
    batches = [starts[i : i + B] for i in range(0, len(starts), B)]
    if settings.drop_last and len(batches[-1]) < B and len(batches) > 1:
        batches.pop()
    return [[(first, T, True) for first in batch] for batch in batches]


REFERENCES = {"stream": stream_reference, "random": random_reference, "sliding": sliding_reference}

VARIANTS = [
    {"batching": "stream"},
    {"batching": "stream", "drop_last": True},
    {"batching": "stream", "stream_offset": "random"},
    {"batching": "stream", "stream_offset": "random", "drop_last": True},
    {"batching": "stream", "state_reset": "wrap"},
    {"batching": "stream", "state_reset": "wrap", "drop_last": True, "stream_offset": "random"},
    {"batching": "stream", "state_reset_probability": 0.4},
    {"batching": "stream", "state_reset_probability": 0.4, "stream_offset": "random", "state_reset": "wrap"},
    {"batching": "random"},
    {"batching": "sliding", "stride": 1},
    {"batching": "sliding", "stride": 3, "drop_last": True},
    {"batching": "sliding", "stride": 4, "order": "shuffled"},
    {"batching": "sliding", "stride": 9, "order": "shuffled", "drop_last": True},
]
variants = st.sampled_from(VARIANTS)
sizes = {
    "N": st.integers(2, 120),
    "B": st.integers(1, 7),
    "T": st.integers(1, 12),
    "seed": st.integers(0, 2**64 - 1),
}


def fitted(N, B, T, seed, variant):
    settings, _ = fit_batch(
        N, TrainConfig(batch_size=B, bptt_length=T, seed=seed, **{"stream_offset": "fixed", **variant})
    )
    return settings


@given(variant=variants, **sizes)
def test_every_batching_matches_its_reference(variant, N, B, T, seed):
    settings = fitted(N, B, T, seed, variant)
    ids = np.arange(N) * 3
    plan = Plan(ids, settings)
    for epoch in range(3):
        expected = REFERENCES[settings.batching](N, settings, epoch)
        assert plan.steps_per_epoch == len(expected)
        for place, rows in enumerate(expected):
            window = plan.window(epoch * len(expected) + place, range(settings.batch_size))
            assert window.inputs.tolist() == [[3 * (a + t) for t in range(n)] for a, n, _ in rows]
            assert window.targets.tolist() == [[3 * (a + t + 1) for t in range(n)] for a, n, _ in rows]
            assert window.resets.tolist() == [
                [reset_at_start] + [False] * (n - 1) for _, n, reset_at_start in rows
            ]


@given(variant=variants, first=st.integers(0, 40), length=st.integers(1, 60), lane=st.integers(0, 6), **sizes)
def test_places_are_the_positions_of_the_windows(variant, first, length, lane, N, B, T, seed):
    settings = fitted(N, B, T, seed, variant)
    plan = Plan(np.arange(N), settings)
    lane = min(lane, settings.batch_size - 1)
    steps = range(first, first + length)
    windows = [plan.window(step, range(lane, lane + 1)) for step in steps]
    if any(len(window.inputs) == 0 for window in windows):
        return  # a sliding epoch's last batch holds fewer rows
    places = plan.places(first, length, lane)
    assert places.starts.tolist() == [int(window.inputs[0, 0]) for window in windows]
    assert places.lengths.tolist() == [window.inputs.shape[1] for window in windows]
    assert places.reset_at_start.tolist() == [bool(window.resets[0, 0]) for window in windows]


@given(
    variant=variants, cut=st.tuples(st.integers(0, 7), st.integers(0, 7)), step=st.integers(0, 40), **sizes
)
def test_a_range_of_lanes_equals_those_rows_of_the_full_batch(variant, cut, step, N, B, T, seed):
    settings = fitted(N, B, T, seed, variant)
    plan = Plan(np.arange(N), settings, boundary_id=5)
    whole = plan.window(step, range(settings.batch_size))
    first, last = sorted(min(c, len(whole.inputs)) for c in cut)
    assume(first < last)
    part = plan.window(step, range(first, last))
    for name in ("inputs", "targets", "resets"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[first:last])


@given(variant=variants, step=st.integers(0, 60), **sizes)
def test_no_window_reads_or_predicts_beyond_the_training_part(variant, step, N, B, T, seed):
    settings = fitted(N, B, T, seed, variant)
    text = np.concatenate([np.arange(N), np.full(200, 999)])  # the validation part follows directly
    window = Plan(text[:N], settings).window(step, range(settings.batch_size))
    assert window.inputs.size
    assert window.inputs.min() >= 0
    assert window.targets.max() < N
    assert (window.targets == window.inputs + 1).all()
    assert window.inputs.dtype == window.targets.dtype == np.int64
    assert window.resets.dtype == bool


def targets_of_epoch(plan, epoch):
    seen = Counter()
    for place in range(plan.steps_per_epoch):
        window = plan.window(epoch * plan.steps_per_epoch + place, range(plan.batch_size))
        seen.update(window.targets.ravel().tolist())
    return seen


@given(epoch=st.integers(0, 3), reset=st.sampled_from(["epoch", "wrap"]), **sizes)
def test_a_stream_epoch_predicts_each_character_once_except_a_tail_shorter_than_the_batch(
    epoch, reset, N, B, T, seed
):
    settings = fitted(N, B, T, seed, {"batching": "stream", "state_reset": reset})
    seen = targets_of_epoch(Plan(np.arange(N), settings), epoch)
    assert set(seen.values()) == {1}
    assert sorted(seen) == list(range(1, len(seen) + 1))
    assert N - 1 - len(seen) < settings.batch_size


@given(epoch=st.integers(0, 3), order=st.sampled_from(["sequential", "shuffled"]), **sizes)
def test_sliding_by_whole_windows_predicts_each_character_once_except_a_tail_shorter_than_one(
    epoch, order, N, B, T, seed
):
    T = min(T, N - 1)
    settings = fitted(N, B, T, seed, {"batching": "sliding", "stride": T, "order": order})
    seen = targets_of_epoch(Plan(np.arange(N), settings), epoch)
    assert set(seen.values()) == {1}
    assert sorted(seen) == list(range(1, len(seen) + 1))
    assert N - 1 - len(seen) < T


@given(epoch=st.integers(0, 5), **sizes)
def test_a_shifted_stream_epoch_predicts_no_character_twice(epoch, N, B, T, seed):
    settings = fitted(N, B, T, seed, {"batching": "stream", "stream_offset": "random"})
    seen = targets_of_epoch(Plan(np.arange(N), settings), epoch)
    assert set(seen.values()) == {1}
    assert len(seen) > N - 1 - settings.batch_size - settings.bptt_length


def test_offsets_take_every_value_below_the_window_length():
    settings = config(stream_offset="random")
    plan = Plan(np.arange(200), settings)
    firsts = [int(plan.window(epoch * plan.steps_per_epoch, range(1)).inputs[0, 0]) for epoch in range(200)]
    assert set(firsts) == {0, 1, 2, 3}


def test_in_wrap_mode_a_lane_reads_the_whole_text_and_resets_where_it_wraps():
    settings = config(state_reset="wrap", drop_last=True)
    plan = Plan(np.arange(3 * 8 + 1), settings)
    read, resets = [], []
    for step in range(3 * plan.steps_per_epoch):
        window = plan.window(step, range(1, 2))
        resets += [int(c) for c in window.inputs[window.resets]]
        read += window.inputs[0].tolist()
    assert read == [*range(8, 24), *range(8)]  # lane 1: the second and third segment, then the first
    assert resets == [8, 0]


def test_random_resets_have_the_configured_frequency():
    settings = config(state_reset_probability=0.3, batch_size=50, bptt_length=2)
    plan = Plan(np.arange(50 * 400 + 1), settings)
    windows = [plan.window(step, range(50)).resets[:, 0] for step in range(1, plan.steps_per_epoch)]
    share = np.mean(windows)
    assert abs(share - 0.3) < SIGMAS * math.sqrt(0.3 * 0.7 / (50 * len(windows)))


def test_wrapped_targets_end_each_lane_with_its_own_first_character():
    settings = TrainConfig(batch_size=2, bptt_length=3, stream_offset="fixed", drop_last=True)
    ids = np.arange(14)
    right, wrapped = (Plan(ids, replace(settings, wrap_targets=on)) for on in (False, True))
    assert right.steps_per_epoch == wrapped.steps_per_epoch == 2
    for step in range(4):
        expected = right.window(step, range(2)).targets.copy()
        if step % 2 == 1:
            expected[:, -1] = (0, 6)
        np.testing.assert_array_equal(wrapped.window(step, range(2)).targets, expected)


def test_random_windows_start_uniformly():
    settings = config(batching="random", batch_size=50)
    plan = Plan(np.arange(24), settings)
    starts = np.concatenate([plan.window(step, range(50)).inputs[:, 0] for step in range(200)])
    counts = np.bincount(starts, minlength=20)
    assert len(counts) == 20  # the last window's last target is the text's last character
    assert abs(counts / len(starts) - 1 / 20).max() < SIGMAS * math.sqrt(1 / 20 / len(starts))


@given(variant=variants, step=st.integers(0, 30), **sizes)
def test_in_documents_mode_the_state_is_reset_before_every_boundary(variant, step, N, B, T, seed):
    settings = fitted(N, B, T, seed, variant)
    ids = np.random.default_rng(seed % 2**32).integers(0, 4, N)
    lanes = range(settings.batch_size)
    plain, marked = (Plan(ids, settings, boundary_id=b).window(step, lanes) for b in (None, 2))
    np.testing.assert_array_equal(marked.inputs, plain.inputs)
    np.testing.assert_array_equal(marked.resets, plain.resets | (plain.inputs == 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_windows_of_any_id_type_are_int64(dtype):
    window = Plan(np.arange(40).astype(dtype), config()).window(0, range(3))
    assert window.inputs.dtype == np.int64
    assert window.inputs[1].tolist() == [13, 14, 15, 16]


def test_a_memory_map_is_read_like_an_array(tmp_path):
    np.arange(60, dtype=np.uint16).tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", np.uint16, "r")
    for step in range(4):
        one, other = (Plan(ids, config()).window(step, range(3)) for ids in (mapped, np.arange(60)))
        np.testing.assert_array_equal(one.targets, other.targets)


@pytest.mark.parametrize(("num_ids", "batch_size"), [(50, 3), (400, 3), (1500, 7)])
def test_a_computed_order_shows_every_window_once_and_follows_its_definition(
    num_ids, batch_size, monkeypatch
):
    monkeypatch.setattr(batching, "STORED_ORDER", 10)
    settings = config(batching="sliding", stride=2, order="shuffled", batch_size=batch_size)
    plan = Plan(np.arange(num_ids), settings)
    num_windows = len(range(0, num_ids - 4, 2))
    seen = {}
    for epoch in (0, 1):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        windows = [plan.window(step, range(batch_size)).inputs[:, 0] for step in steps]
        seen[epoch] = np.concatenate(windows) // 2
        assert sorted(seen[epoch]) == list(range(num_windows))
        order = permuted(settings.seed, Purpose.ORDER, epoch, num_windows, np.arange(num_windows))
        np.testing.assert_array_equal(seen[epoch], order)
        lane = plan.places(steps.start, len(steps) - 1, lane=1).starts // 2
        np.testing.assert_array_equal(lane, [window[1] // 2 for window in windows[:-1]])
    assert (seen[0] != seen[1]).mean() > 0.9
    whole, part = (plan.window(3, lanes).inputs for lanes in (range(batch_size), range(1, 3)))
    np.testing.assert_array_equal(whole[1:3], part)


def test_a_plan_over_a_billion_windows_takes_no_memory_for_them():
    ids = np.broadcast_to(np.zeros(1, np.uint8), 10**9)
    settings = TrainConfig(batching="sliding", stride=1, order="shuffled", batch_size=8, bptt_length=16)
    tracemalloc.start()
    plan = Plan(ids, settings)
    for step in (0, 10**6, plan.steps_per_epoch - 1):
        plan.window(step, range(8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# ---------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize("num_ids", [0, 1])
def test_a_text_with_nothing_to_predict_is_refused(num_ids):
    with pytest.raises(DataError, match=rf"has {num_ids} character.*needs two characters.*--val-fraction"):
        fit_batch(num_ids, config())


@given(variant=variants, **sizes)
def test_settings_that_fit_are_kept_and_others_shrink_as_little_as_possible(variant, N, B, T, seed):
    asked = TrainConfig(batch_size=B, bptt_length=T, seed=seed, **{"stream_offset": "fixed", **variant})
    settings, notes = fit_batch(N, asked)
    assert settings.bptt_length == min(T, N - 1)
    assert 1 <= settings.batch_size <= B
    rows = {"stream": (N - 1) // settings.bptt_length, "random": B}
    rows["sliding"] = (N - 1 - settings.bptt_length) // settings.stride + 1
    assert settings.batch_size == max(1, min(B, rows[settings.batching]))
    assert len(notes) == (settings.bptt_length != T) + (settings.batch_size != B)
    assert fit_batch(N, settings) == (settings, ())


def test_shrinking_is_reported_with_both_values_and_the_text_length():
    _, notes = fit_batch(11, TrainConfig(batch_size=32, bptt_length=64))
    assert notes == (
        "bptt_length reduced from 64 to 10: the training text has only 11 characters",
        "batch_size reduced from 32 to 1: the training text has only 11 characters",
    )
