"""The torch learner: gradients stay in the window, clipping, averaging, dropout's addresses, the bias pair, divergence."""

import numpy as np
import pytest
import torch

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.torch import ENGINE, network
from charloom.engines.torch.learner import TorchLearner, _Masks
from charloom.errors import DivergedError
from charloom.parameters import initial_bias_pair, initial_parameters
from charloom.rng import Purpose, normals, random_bits
from charloom.schedule import learning_rate
from charloom.text.windows import Plan, Window

from ..cases import SHORT_CASES, V, random_ids, random_parameters, random_state

CARRY = 1e-12  # float64: a product over one row may round differently
ROUNDING = {"rtol": 1e-9, "atol": 1e-12}  # float64 sums in another order, through one square root
every_stack = pytest.mark.parametrize("config", SHORT_CASES.values(), ids=SHORT_CASES.keys())

BASE = {"precision": "float64", "batch_size": 3, "bptt_length": 5, "steps": 20, "stream_offset": "fixed"}
SMALL = ModelConfig(hidden_size=6, embedding_size=4)


def train_config(**settings):
    return TrainConfig(**{**BASE, **settings})


def make(model_config, rng, **settings):
    config = train_config(**settings)
    learner = ENGINE.learner(random_parameters(model_config, rng), model_config, config, device="cpu")
    return learner, config


def text(rng, size=200):
    return rng.integers(0, V, size=size)


def batch(rng, rows=3, length=5):
    return Window(
        random_ids(rng, rows, length), random_ids(rng, rows, length), np.zeros((rows, length), bool)
    )


def gradients_of(learner, window, step=0, state=None):
    state = learner.initial_state(range(len(window.inputs))) if state is None else state
    total, count, _ = learner._loss(step, window, state)
    return dict(
        zip(learner.params, torch.autograd.grad(total / count, list(learner.params.values())), strict=True)
    )


# ------------------------------------------------------------------------------------------ windows and carry


@every_stack
def test_state_is_carried_from_window_to_window(config, rng):
    ids = text(rng)
    learner, settings = make(config, rng, learning_rate=1e-300)  # so small that nothing moves
    plan = Plan(ids, settings)
    state, metrics = learner.advance(plan, 0, 4, learner.initial_state(range(3)))
    model = learner.model()
    length = (len(ids) - 1) // 3
    rows = np.arange(3)[:, None] * length + np.arange(20)
    nats, end = model.losses(
        Window(ids[rows], ids[rows + 1], np.zeros(rows.shape, bool)), model.initial_state(3)
    )
    np.testing.assert_allclose(metrics.loss, nats.reshape(3, 4, 5).mean(axis=(0, 2)), rtol=CARRY)
    assert metrics.chars.tolist() == [15] * 4
    for mine, theirs in zip(learner.export_state(state), model.export_state(end), strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], theirs[key], rtol=0, atol=CARRY)


@every_stack
def test_no_gradient_crosses_a_window(config, rng):
    learner, _ = make(config, rng)
    first, second = batch(rng), batch(rng)
    _, _, carried = learner._loss(0, first, learner.initial_state(range(3)))
    assert not any(x.requires_grad for layer in carried for x in layer.values())
    through = gradients_of(learner, second, state=carried)
    constant = [{k: torch.tensor(x.numpy()) for k, x in layer.items()} for layer in carried]
    cut = gradients_of(learner, second, state=constant)
    for name in through:
        assert torch.equal(through[name], cut[name]), name
    joined = Window(
        *(
            np.concatenate(pair, axis=1)
            for pair in zip(
                (first.inputs, first.targets, first.resets),
                (second.inputs, second.targets, second.resets),
                strict=True,
            )
        )
    )
    whole = gradients_of(learner, joined)
    halves = gradients_of(learner, first)
    assert any(
        not torch.allclose(whole[n], (halves[n] + cut[n]) / 2) for n in whole
    )  # BPTT does cut something


@pytest.mark.parametrize("batching", ["random", "sliding"])
def test_windows_that_do_not_carry_begin_from_the_initial_state(batching, rng):
    learner, settings = make(SMALL, rng, batching=batching, learning_rate=1e-300)
    plan = Plan(text(rng), settings)
    wild = [{k: torch.full_like(x, 9.0) for k, x in s.items()} for s in learner.initial_state(range(3))]
    _, metrics = learner.advance(plan, 2, 1, wild)
    model, window = learner.model(), plan.window(2, range(3))
    nats, _ = model.losses(window, model.initial_state(3))
    assert metrics.loss[0] == pytest.approx(nats.mean(), rel=CARRY)


def test_the_chunking_of_advance_does_not_matter(rng):
    config = ModelConfig(hidden_size=6, dropout_output=0.3)
    settings = train_config(average_decay=0.9, state_reset_probability=0.2, stream_offset="random")
    ids, params = text(rng), random_parameters(config, rng)
    ends = []
    for cuts in ([12], [1, 2, 3, 6], [5, 7]):
        learner = ENGINE.learner(params, config, settings, device="cpu")
        plan, state, step = Plan(ids, settings), learner.initial_state(range(3)), 0
        for num in cuts:
            state, metrics = learner.advance(plan, step, num, state)
            assert len(metrics.loss) == len(metrics.grad_norm) == len(metrics.chars) == num
            step += num
        ends.append(learner.tensors())
    for other in ends[1:]:
        assert other.keys() == ends[0].keys()
        for name, value in other.items():
            np.testing.assert_array_equal(value, ends[0][name])


def test_a_last_window_that_is_shorter_or_has_fewer_rows_is_learnt_from(rng):
    learner, settings = make(SMALL, rng)
    plan = Plan(text(rng, 38), settings)  # lanes of 12: windows of 5, 5 and 2
    _, metrics = learner.advance(plan, 0, 3, learner.initial_state(range(3)))
    assert metrics.chars.tolist() == [15, 15, 6]
    learner, settings = make(SMALL, rng, batching="sliding", stride=5)
    plan = Plan(text(rng, 26), settings)  # five windows: a batch of three, a batch of two
    _, metrics = learner.advance(plan, 0, 2, learner.initial_state(range(3)))
    assert metrics.chars.tolist() == [15, 10]


# -------------------------------------------------------------------------------------- loss, clip, average


def test_the_objective_is_the_mean_or_the_sum_of_the_windows_losses(rng):
    window = batch(rng)
    norms = {}
    for loss in ("mean", "sum"):
        learner, _ = make(SMALL, np.random.default_rng(1), loss=loss, clip_norm=None)
        _, value, norm, chars = learner._update(0, window, learner.initial_state(range(3)))
        norms[loss] = (value, norm)
        assert chars == 15
    assert norms["sum"][0] == pytest.approx(
        norms["mean"][0], rel=1e-12
    )  # reported in nats a character both ways
    assert norms["sum"][1] == pytest.approx(15 * norms["mean"][1], rel=1e-9)


def test_objective_last_learns_from_the_last_prediction_alone(rng):
    window = batch(rng)
    learner, _ = make(SMALL, rng, objective="last", batching="random")
    total, count, _ = learner._loss(0, window, learner.initial_state(range(3)))
    model = learner.model()
    nats, _ = model.losses(window, model.initial_state(3))
    assert count == 3
    assert float(total.detach()) == pytest.approx(nats[:, -1].sum(), rel=CARRY)


@pytest.mark.parametrize(
    ("clip", "ceiling"), [("clip_norm", 0.05), ("clip_value", 0.002), ("clip_norm", 1e9)]
)
def test_clipping_bounds_the_gradient_and_keeps_what_is_below(clip, ceiling, rng):
    window, params = batch(rng), random_parameters(SMALL, rng)
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant", "clip_norm": None}
    learner = TorchLearner(params, SMALL, train_config(**{**settings, clip: ceiling}), device="cpu")
    raw = {name: g.numpy() for name, g in gradients_of(learner, window).items()}
    norm = np.sqrt(sum((g**2).sum() for g in raw.values()))
    _, _, reported, _ = learner._update(0, window, learner.initial_state(range(3)))
    assert reported == pytest.approx(norm, rel=1e-12)  # before clipping
    for name, p in learner.params.items():
        if clip == "clip_norm":
            expected = raw[name] * min(1.0, ceiling / norm)
        else:
            expected = np.clip(raw[name], -ceiling, ceiling)
        np.testing.assert_allclose(params[name] - p.detach().numpy(), expected, rtol=1e-7, atol=1e-15)


def test_each_update_takes_the_scheduled_learning_rate(rng):
    learner, config = make(SMALL, rng, optimizer="sgd", clip_norm=None, warmup=2, learning_rate=0.5)
    learner.set_progress(((0, 0.0), (4, 0.7), (9, 1.0)))
    for step in (0, 1, 3, 7):
        window = batch(rng)
        before = {name: p.detach().clone() for name, p in learner.params.items()}
        gradient = gradients_of(learner, window)["out.bias"].numpy()
        learner._update(step, window, learner.initial_state(range(3)))
        moved = (before["out.bias"] - learner.params["out.bias"].detach()).numpy()
        rate = learning_rate(config, learner.knots, step)
        np.testing.assert_allclose(moved, rate * gradient, rtol=1e-9, atol=1e-15)


def test_the_average_is_exponential_and_forgets_faster_when_young(rng):
    learner, settings = make(SMALL, rng, average_decay=0.6)
    expected = {name: p.detach().numpy().copy() for name, p in learner.params.items()}
    plan, state = Plan(text(rng), settings), learner.initial_state(range(3))
    for step in range(12):
        state, _ = learner.advance(plan, step, 1, state)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, p in learner.params.items():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach().numpy()
            np.testing.assert_allclose(learner.average[name], expected[name], rtol=1e-12, atol=1e-14)
    shipped = learner.model().parameters()
    for name, value in shipped.items():
        np.testing.assert_array_equal(value, learner.average[name])
        assert (value != learner.params[name].detach().numpy()).any()


def test_the_shipped_model_does_not_move_when_training_goes_on(rng):
    learner, settings = make(SMALL, rng)
    model = learner.model()
    before = model.parameters()
    learner.advance(Plan(text(rng), settings), 0, 3, learner.initial_state(range(3)))
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, before[name])


# ------------------------------------------------------------------------------------------------- dropout

SITES = [
    ("char", "plain"),
    ("char", "residual"),
    ("input", "plain"),
    ("input", "residual"),
    ("layer", "plain"),
    ("branch", "residual"),
    ("output", "plain"),
    ("output", "residual"),
]


@pytest.mark.parametrize(("site", "block"), SITES)
def test_every_dropout_site_has_an_effect_where_it_is_configured(site, block, rng):
    config = ModelConfig(
        hidden_size=6, num_layers=2, block=block, embedding_size=6, **{f"dropout_{site}": 0.5}
    )
    learner, _ = make(config, rng)
    window = batch(rng)
    first, again, other = (
        float(learner._loss(step, window, learner.initial_state(range(3)))[0].detach()) for step in (0, 0, 1)
    )
    assert first == again
    assert first != other
    model = learner.model()
    nats = [model.losses(window, model.initial_state(3))[0] for _ in range(2)]
    np.testing.assert_array_equal(*nats)  # off in evaluation
    assert abs(nats[0].sum() - first) > 1e-3


def test_a_mask_is_a_function_of_seed_site_step_lane_and_layer():
    plain = ModelConfig(embedding_size=5, dropout_input=0.5, dropout_layer=0.5, dropout_output=0.5)
    residual = ModelConfig(block="residual", dropout_branch=0.5)
    ones = torch.ones(4, 6, 5)

    def mask(site="layer", seed=1, step=2, lanes=range(4), layer=1, times=1):
        masks = _Masks(residual if site == "branch" else plain, seed, step, lanes)
        for _ in range(times):
            result = masks(site, layer, torch.ones(len(lanes), *ones.shape[1:]))
        return result

    base = mask()
    assert torch.equal(mask(), base)
    for lanes in (range(1), range(2, 4), range(1, 3)):
        assert torch.equal(
            mask(lanes=lanes), base[lanes.start : lanes.stop]
        )  # the same lane in another batch
    assert torch.equal(mask(times=3), base)  # one mask a site, however often it is asked for
    others = [
        mask(seed=2),
        mask(step=3),
        mask(layer=0),
        *(mask(site=s) for s in ("input", "branch", "output")),
    ]
    others += [mask(site="branch", times=2)]  # a block's two branches differ
    for i, one in enumerate([base, *others]):
        assert not any(torch.equal(one, other) for other in [base, *others][i + 1 :])
    assert not any(torch.equal(base[a], base[b]) for a in range(4) for b in range(a))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate):
    masks = _Masks(ModelConfig(dropout_output=rate), 0, 0, range(100))
    kept = masks("output", 0, torch.ones(100, 20, 50, dtype=torch.float64))
    share = float((kept > 0).double().mean())
    deviation = np.sqrt(rate * (1 - rate) / kept.numel())
    assert (
        abs(share - (1 - rate)) < 5 * deviation + 1 / 65536
    )  # five standard deviations, and the rounded rate
    assert float(kept.mean()) == pytest.approx(1.0, abs=5 * deviation / (1 - rate))
    assert len(kept.unique()) == 2


def test_dropout_of_characters_takes_whole_embeddings():
    masks = _Masks(ModelConfig(embedding_size=5, dropout_char=0.5), 0, 0, range(40))
    kept = masks("char", 0, torch.ones(40, 10, 5))
    assert (kept == kept[:, :, :1]).all()
    assert len(kept.unique()) == 2


def test_dropout_reads_sixteen_bits_an_element():
    masks = _Masks(ModelConfig(embedding_size=4, dropout_input=0.25), 9, 5, range(2))
    kept = masks("input", 0, torch.ones(2, 3, 4))
    words = random_bits(9, Purpose.DROPOUT, 5, range(2), 6)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=2).reshape(2, 12)
    np.testing.assert_array_equal(kept.numpy().reshape(2, 12) > 0, halves >= 0.25 * 65536)


# ------------------------------------------------------------------------------- initial state, bias pair


def test_a_normal_initial_state_is_drawn_by_step_and_lane(rng):
    learner, _ = make(
        ModelConfig(cell="lstm", hidden_size=6), rng, initial_state="normal", initial_state_scale=0.3
    )
    state = learner.export_state(learner._fresh(7, range(1, 3)))
    draws = 0.3 * normals(0, Purpose.STATE, 7, [1, 2], 12)
    np.testing.assert_allclose(state[0]["h"], draws[:, :6], rtol=1e-15)
    np.testing.assert_allclose(state[0]["c"], draws[:, 6:], rtol=1e-15)


def test_a_reset_returns_to_the_drawn_initial_state(rng):
    learner, _ = make(SMALL, rng, initial_state="normal", initial_state_scale=2.0)
    window = batch(rng)
    window.resets[:, 0] = True
    wild = [{"h": torch.full((3, 6), 5.0, dtype=torch.float64)}]
    total, _, _ = learner._loss(4, window, wild)
    quiet = Window(window.inputs, window.targets, np.zeros_like(window.resets))
    expected, _, _ = learner._loss(4, quiet, learner._fresh(4, range(3)))
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=CARRY)
    zero, _, _ = learner._loss(4, quiet, learner.import_state([{"h": np.zeros((3, 6))}]))
    assert abs(float(total.detach()) - float(zero.detach())) > 1e-3


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_under_adam_a_pair_moves_its_sum_twice_as_far(cell, rng):
    config, window = ModelConfig(cell=cell, hidden_size=5, init="pytorch"), batch(rng)
    moved = {}
    for bias in ("single", "pair"):
        settings = train_config(
            bias=bias, optimizer="adam", epsilon=1e-12, clip_norm=None, schedule="constant"
        )
        params = initial_parameters(config, V, 3)
        pair = initial_bias_pair(config, V, 3)["layers.0.cell.bias_pair"]
        if bias == "single":  # so that both begin from the same sum, and so with the same gradient
            params["layers.0.cell.bias"][: len(pair)] += pair
        else:
            settings = train_config(
                **{
                    **BASE,
                    "bias": bias,
                    "optimizer": "adam",
                    "epsilon": 1e-12,
                    "clip_norm": None,
                    "schedule": "constant",
                    "seed": 3,
                }
            )
        learner = TorchLearner(params, config, settings, device="cpu")
        before = learner.model().parameters()
        learner._update(0, window, learner.initial_state(range(3)))
        after = learner.model().parameters()
        assert before.keys() == after.keys()
        assert not any(name.endswith("_pair") for name in after)
        moved[bias] = {name: after[name] - before[name] for name in after}
    name = "layers.0.cell.bias"
    H2 = 10 if cell == "gru" else len(moved["single"][name])  # a GRU's n has its second bias inside the reset
    np.testing.assert_allclose(moved["pair"][name][:H2], 2 * moved["single"][name][:H2], rtol=1e-6)
    np.testing.assert_allclose(moved["pair"][name][H2:], moved["single"][name][H2:], rtol=1e-6)
    np.testing.assert_allclose(moved["pair"]["out.bias"], moved["single"]["out.bias"], rtol=1e-6)


def library(cell, rng_seed, hidden, vocab):
    kinds = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    torch.manual_seed(rng_seed)
    return kinds[cell](vocab, hidden, batch_first=True, dtype=torch.float64), torch.nn.Linear(
        hidden, vocab
    ).double()


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_training_with_a_pair_takes_the_steps_of_torchs_own_module(
    cell, rng
):  # golden: torch.nn and torch.optim
    config, H = ModelConfig(cell=cell, hidden_size=5), 5
    rnn, out = library(cell, 11, H, V)
    params = {
        "layers.0.cell.w_ih": rnn.weight_ih_l0,
        "layers.0.cell.w_hh": rnn.weight_hh_l0,
        "layers.0.cell.bias": rnn.bias_ih_l0,
        "out.weight": out.weight,
        "out.bias": out.bias,
    }
    params = {name: p.detach().numpy().copy() for name, p in params.items()}
    second = rnn.bias_hh_l0.detach().numpy().copy()
    if cell == "gru":
        params["layers.0.cell.bias_hn"] = second[2 * H :]
        second = second[: 2 * H]
    settings = train_config(
        bias="pair", optimizer="adam", clip_norm=None, schedule="constant", learning_rate=0.01
    )
    learner = TorchLearner(params, config, settings, device="cpu")
    with torch.no_grad():
        learner.params["layers.0.cell.bias_pair"].copy_(torch.tensor(second))
    optimiser = torch.optim.Adam([*rnn.parameters(), *out.parameters()], lr=0.01, betas=(0.9, 0.99))
    for step in range(6):
        window = batch(rng)
        learner._update(step, window, learner.initial_state(range(3)))
        optimiser.zero_grad()
        h, _ = rnn(torch.nn.functional.one_hot(torch.tensor(window.inputs), V).double())
        logits = out(h).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, torch.tensor(window.targets).flatten()).backward()
        optimiser.step()
    ours, bias = learner.model().parameters(), (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().numpy()
    if cell == "gru":
        bias[2 * H :] = rnn.bias_ih_l0.detach().numpy()[2 * H :]
        np.testing.assert_allclose(
            ours["layers.0.cell.bias_hn"], rnn.bias_hh_l0.detach()[2 * H :], **ROUNDING
        )
    np.testing.assert_allclose(ours["layers.0.cell.bias"], bias, **ROUNDING)
    np.testing.assert_allclose(ours["layers.0.cell.w_hh"], rnn.weight_hh_l0.detach(), **ROUNDING)
    np.testing.assert_allclose(ours["out.weight"], out.weight.detach(), **ROUNDING)


# ------------------------------------------------------------------------------ tensors, divergence, precision


def test_a_new_learner_goes_on_from_the_tensors_of_another(rng):
    config = ModelConfig(cell="lstm", hidden_size=6, dropout_output=0.2)
    params, ids = random_parameters(config, rng), text(rng)
    settings = train_config(average_decay=0.9, bias="pair")
    plan = Plan(ids, settings)
    learner = ENGINE.learner(params, config, settings, device="cpu")
    state, _ = learner.advance(plan, 0, 6, learner.initial_state(range(3)))
    tensors, saved = learner.tensors(), learner.export_state(state)
    assert {name.split(".")[0] for name in tensors} == {"param", "moment", "average"}
    other = ENGINE.learner(initial_parameters(config, V, 99), config, settings, device="cpu")
    other.load_tensors(tensors)
    learner.advance(plan, 6, 6, state)
    other.advance(plan, 6, 6, other.import_state(saved))
    for name, value in learner.tensors().items():
        np.testing.assert_array_equal(other.tensors()[name], value)


def test_tensors_are_copies(rng):
    learner, settings = make(SMALL, rng, average_decay=0.5)
    plan = Plan(text(rng), settings)
    state, _ = learner.advance(plan, 0, 1, learner.initial_state(range(3)))
    tensors = learner.tensors()
    before = {name: value.copy() for name, value in tensors.items()}
    learner.advance(plan, 1, 2, state)
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_gradient_that_is_not_finite_names_step_and_parameter_and_moves_nothing(rng):
    learner, settings = make(SMALL, rng)
    with torch.no_grad():
        learner.params["layers.0.cell.w_hh"][0, 0] = float("nan")
    before = learner.tensors()
    plan = Plan(text(rng), settings)
    with pytest.raises(DivergedError, match=r"step 7: the gradient of [\w.]+ is not finite"):
        learner.advance(plan, 7, 2, learner.initial_state(range(3)))
    for name, value in learner.tensors().items():
        np.testing.assert_array_equal(value, before[name])


def test_parameter_norms_are_euclidean(rng):
    learner, _ = make(SMALL, rng)
    norms = learner.parameter_norms()
    for name, p in learner.params.items():
        assert norms[name] == pytest.approx(np.linalg.norm(p.detach().numpy()), rel=1e-12)


@every_stack
def test_bfloat16_trains_every_cell_with_float32_weights(config, rng):
    learner, settings = make(config, rng, precision="bfloat16", state_reset_probability=0.3)
    boundary = Plan(text(rng), settings, boundary_id=2)
    state, metrics = learner.advance(boundary, 0, 3, learner.initial_state(range(3)))
    assert np.isfinite(metrics.loss).all()
    assert all(p.dtype == torch.float32 for p in learner.params.values())
    assert all(x.dtype == torch.float32 for layer in state for x in layer.values())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_that_of_parameters_moments_and_state(precision, rng):
    learner, settings = make(SMALL, rng, precision=precision)
    state, _ = learner.advance(Plan(text(rng), settings), 0, 1, learner.initial_state(range(3)))
    kinds = {x.dtype for n, x in learner.tensors().items() if not n.endswith(".step")}
    assert kinds == {np.dtype(precision)} == {x.dtype for x in learner.export_state(state)[0].values()}


def test_evaluation_network_is_the_trained_one(rng):
    learner, _ = make(SMALL, rng)
    window = batch(rng)
    begin = random_state([{"h": (6,)}], 3, rng)
    logits, _ = network.forward(
        SMALL, learner.params, torch.tensor(window.inputs), learner.import_state(begin)
    )
    model = learner.model()
    ours, _ = model.forward(window.inputs, model.import_state(begin))
    np.testing.assert_allclose(ours, logits.detach().numpy(), rtol=0, atol=CARRY)
