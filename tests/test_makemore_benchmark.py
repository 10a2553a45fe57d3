"""makemore's protocol: its split, its loss, and the two networks it is compared with."""

import math

import numpy as np
import pytest

from benchmarks import makemore

NAMES = ["".join(chr(97 + (i // 26**k) % 26) for k in range(4)) for i in range(2_500)]


def test_the_split_is_disjoint_complete_and_seeded():
    training, held_out = makemore.split(NAMES)
    assert (len(training), len(held_out)) == (1_500, 1_000)
    assert set(training).isdisjoint(held_out)
    assert set(training) | set(held_out) == set(NAMES)
    assert makemore.split(NAMES) == (training, held_out)
    assert makemore.split(NAMES, seed=1)[1] != held_out


def test_held_out_names_come_from_the_whole_list():
    _, held_out = makemore.split(NAMES)
    places = sorted(NAMES.index(name) for name in held_out)
    assert places[len(places) // 2] == pytest.approx(len(NAMES) / 2, rel=0.1)


def test_a_name_is_predicted_character_by_character_with_its_end():
    inputs, targets = makemore.encode(["bo", "abba"], {"a": 1, "b": 2, "o": 3}, 0, 5)
    assert inputs.tolist() == [[0, 2, 3, 0, 0], [0, 1, 2, 2, 1]]
    assert targets.tolist() == [[2, 3, 0, -1, -1], [1, 2, 2, 1, 0]]


def test_a_uniform_model_loses_the_logarithm_of_the_vocabulary(rng):
    _, targets = makemore.encode(["bo", "abba"], {"a": 1, "b": 2, "o": 3}, 0, 5)
    assert makemore.mean_loss(np.full((2, 5, 4), 7.5, np.float32), targets) == pytest.approx(math.log(4))
    padded = np.zeros((2, 5, 4))
    padded[0, 3:] = rng.normal(size=(2, 4))  # after the end of "bo"
    assert makemore.mean_loss(padded, targets) == pytest.approx(math.log(4))


def test_the_loss_is_a_mean_over_characters_and_not_over_names():
    logits = np.log(
        np.array([[[0.5, 0.5], [1.0, 1e-9], [1.0, 1e-9]], [[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]]])
    )
    targets = np.array([[1, -1, -1], [0, 0, 0]])
    assert makemore.mean_loss(logits, targets) == pytest.approx((math.log(2) + 3 * math.log(4)) / 4)


def test_a_model_of_lines_is_judged_by_the_same_protocol(tmp_path):
    import charloom
    from charloom.evaluation.protocols import stream_loss

    text = tmp_path / "names.txt"
    text.write_text("\n".join(NAMES[:200]) + "\n")
    model = charloom.train(
        text,
        documents="line",
        out=tmp_path / "run",
        steps=3,
        cell="gru",
        block="plain",
        hidden_size=8,
        threads=1,
    )
    held_out, boundary = NAMES[300:320], model.vocab.boundary_id
    stream = np.concatenate([[boundary, *model.vocab.encode(name)] for name in held_out] + [[boundary]])
    expected = stream_loss(model.bound, stream, boundary_id=boundary).loss_nats
    assert makemore.loss_of_names(model.bound, model.vocab, held_out) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("contestant", "networks"), [("charloom", 1), ("pair", 2)])
def test_charloom_is_trained_through_the_command_line(contestant, networks):
    pytest.importorskip("torch")
    _, train = makemore.CONTESTANTS[contestant]
    row = train(NAMES[:400], NAMES[400:500], steps=3, seed=1)
    assert row["steps"] == (3 if networks == 1 else [3] * networks)
    assert 0 < row["best"] < math.log(27) + 0.1
    if networks > 1:
        assert row["best"] <= np.mean(row["each"]) + 1e-4  # the logarithm is concave
        assert row["num_params"] % networks == 0
        assert row["each"][0] != row["each"][1]


class TestBaselines:
    """The two networks."""

    torch = pytest.importorskip("torch")

    @pytest.mark.parametrize(("kind", "num_params"), [("transformer", 204_544), ("gru", 28_315)])
    def test_they_have_the_sizes_of_the_description(self, kind, num_params):
        from benchmarks.baselines.plain_makemore import PlainMakemore

        assert PlainMakemore(kind, 27, 16).num_params == num_params

    @pytest.mark.parametrize("kind", ["transformer", "gru"])
    def test_no_logit_depends_on_a_later_character(self, kind, rng):
        from benchmarks.baselines.plain_makemore import PlainMakemore

        trainer, ids = PlainMakemore(kind, 9, 12), rng.integers(0, 9, (2, 12))
        changed = ids.copy()
        changed[:, 7] = (changed[:, 7] + 1) % 9
        before, after = trainer.logits(ids), trainer.logits(changed)
        np.testing.assert_allclose(before[:, :7], after[:, :7], rtol=1e-4, atol=1e-5)
        assert (np.abs(before - after)[:, 7:].max(axis=2) > 1e-6).all()

    @pytest.mark.parametrize("kind", ["transformer", "gru"])
    def test_training_ignores_padding_and_lowers_the_loss(self, kind):
        training, held_out = makemore.split(NAMES)
        found = makemore.baseline(kind, training, held_out, steps=60)
        assert found["steps"] == 60
        assert found["best"] < math.log(27) - 0.3
