"""The batch of the tour: its lanes match the text, and its gaps and distances match the batching."""

from dataclasses import replace

import pytest

from charloom.insight.tour.batch import LANES, batch_of, symbol_names
from charloom.text import Vocabulary

from .small import CORPUS, TEXT, TRAINING

BATCHINGS = [
    {},
    {"stream_offset": "random"},
    {"state_reset": "wrap"},
    {"drop_last": True},
    {"batching": "sliding", "stride": 3},
    {"batching": "sliding", "stride": 8},
    {"batching": "sliding", "stride": 20, "order": "shuffled"},
    {"batching": "random"},
    {"batch_size": 1, "bptt_length": 5},
]


@pytest.mark.parametrize("settings", BATCHINGS, ids=str)
def test_x_is_the_text_at_its_offset_and_y_is_shifted_by_one(settings):
    config = replace(TRAINING, **settings)
    batch = batch_of(CORPUS, config)
    train = TEXT[: len(CORPUS.train)]
    for lane in (*batch.first, *batch.second):
        end = lane.offset + config.bptt_length
        assert "".join(lane.x) == train[lane.offset : end]
        assert "".join(lane.y) == train[lane.offset + 1 : end + 1]
        assert CORPUS.vocab.decode(list(lane.x_ids)) == "".join(lane.x)
        assert CORPUS.vocab.decode(list(lane.y_ids)) == "".join(lane.y)
    assert [lane.lane for lane in batch.first] == list(range(min(LANES, config.batch_size)))


@pytest.mark.parametrize("settings", BATCHINGS, ids=str)
def test_gaps_and_distances_between_windows(settings):
    config = replace(TRAINING, **settings)
    batch = batch_of(CORPUS, config)
    offsets = [lane.offset for lane in batch.first]
    for gap, before, after in zip(batch.gaps, batch.first, batch.second, strict=True):
        assert gap == after.offset - (before.offset + config.bptt_length)
        if gap == 0:
            assert before.y[-1] == after.x[0]
            assert before.y_ids[-1] == after.x_ids[0]
    if config.batching == "stream":
        assert set(batch.gaps) == {0}
        assert batch.carries
        assert not any(lane.fresh for lane in batch.second)
    else:
        assert all(lane.fresh for lane in (*batch.first, *batch.second))
    if config.batching == "random" or config.order == "shuffled":
        assert batch.lane_distance is None
    elif len(offsets) > 1:
        assert {b - a for a, b in zip(offsets, offsets[1:], strict=False)} == {batch.lane_distance}
    if config.batching == "sliding" and config.order == "sequential":
        assert batch.lane_distance == batch.stride == config.stride
        assert set(batch.gaps) == {5 * config.stride - 8}


def test_names_of_symbols():
    assert symbol_names(Vocabulary("byte", tuple(range(256)), ("<boundary>",)))[65:257:62] == [
        "A",
        "\x7f",
        "\\xbd",
        "\\xfb",
    ]
    assert symbol_names(Vocabulary("char", (97,), ("<unk>", "<boundary>"))) == ["a", "<unk>", "<boundary>"]
