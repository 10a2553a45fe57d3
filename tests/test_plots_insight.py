"""Figures of an inspection show exactly the measurements."""

import math

import numpy as np
import pytest

from charloom.insight.context import FarContext
from charloom.insight.error_analysis import Group
from charloom.insight.gradient_flow import Flow, GradientFlow, describe
from charloom.insight.results import ContextCurve
from charloom.insight.training_curve import training_curve
from charloom.plots import compared_lags, context, far_context, gradient_lags, who_wins
from charloom.plots import training_curve as draw_training_curve
from tests.insight.test_training_curve import events_of

pytest.importorskip("matplotlib")

TELEPHONE_PX = 350  # of a screen of 390, without the page's margins
LEGIBLE_PX = 8


def flow_of(*curves):
    arrays = tuple(describe(i, "h", np.array(curve)) for i, curve in enumerate(curves))
    return Flow(arrays, None)


def test_gradients_are_drawn_as_shares_of_lag_0():
    ax = gradient_lags(GradientFlow(2, 1, flow_of([4.0, 2.0, 1.0]), flow_of([2.0, 0.2, 0.02])))
    trained, before, *_ = ax.get_lines()
    assert trained.get_ydata().tolist() == [1.0, 0.5, 0.25]
    assert before.get_ydata() == pytest.approx([1.0, 0.1, 0.01])
    assert (trained.get_linestyle(), before.get_linestyle()) == ("-", ":")
    assert trained.get_color() == before.get_color()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "layer 0 h",
        "before training",
        "1 %: memory horizon",
    ]


def test_zero_gradients_and_non_finite_values_are_not_drawn():
    ax = gradient_lags(GradientFlow(2, 1, flow_of([1.0, np.inf, 0.5]), flow_of([0.0, 0.0, 0.0])))
    (drawn, _) = [line for line in ax.get_lines() if len(line.get_xdata()) == 3] + [None]
    assert np.isnan(drawn.get_ydata()[1])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["layer 0 h", "1 %: memory horizon"]


def test_networks_are_compared_by_their_farthest_reaching_array():
    flows = {"a $ b": flow_of([1.0, 0.5, 0.004], [1.0, 0.9, 0.8]), "other": flow_of([1.0, 0.001, 0.0])}
    ax = compared_lags(flows)
    assert ax.get_lines()[0].get_ydata().tolist() == [1.0, 0.9, 0.8]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a $ b", "other", "1 %: memory horizon"]
    ax.figure.draw_without_rendering()  # a dollar sign is not parsed as math


def test_context_and_far_context_are_drawn_in_bits():
    far = FarContext((1, 4), np.array([2.0, 1.5]), np.array([2.5, 1.6]), 1.4, 10, 5)
    curve = ContextCurve(np.array([3.0, 2.0, 1.0]), 3, far, (None, None))
    assert context(curve).get_lines()[0].get_ydata() == pytest.approx(np.array([3, 2, 1]) / math.log(2))
    left_out, shuffled, whole = far_context(far).get_lines()
    assert left_out.get_ydata() == pytest.approx(np.array([2.0, 1.5]) / math.log(2))
    assert shuffled.get_ydata() == pytest.approx(np.array([2.5, 1.6]) / math.log(2))
    assert whole.get_ydata() == pytest.approx([1.4 / math.log(2)] * 2)


def test_the_best_ngram_is_drawn_with_the_network():
    groups = [
        Group("space", 10, 1.0, (2.0, 1.5), "network", 0.6),
        Group("digit", 5, 3.0, (2.5, 2.6), "order 1", 0.2),
    ]
    best, network = who_wins(groups).get_lines()
    assert (best.get_xdata().tolist(), network.get_xdata().tolist()) == ([1.5, 2.5], [1.0, 3.0])
    assert [t.get_text() for t in who_wins(groups).get_yticklabels()] == ["space (10)", "digit (5)"]


def test_a_training_curve_with_all_annotations():
    loss = np.concatenate([np.linspace(3, 0.3, 600), np.full(400, 0.3)])
    loss[800:830] = 4.0
    observed = [(100, {"w_hh": 0.1}), (820, {"w_hh": 9.0})]
    found = training_curve(
        events_of(loss, signals=observed, validations=[(500, 2.0), (1000, 2.5)]), clip_norm=5.0
    )
    ax = draw_training_curve(found, published=[(0, 600, "waking up")])
    texts = [text.get_text() for text in ax.texts]
    assert "published: waking up" in texts
    assert "memorising" in texts
    assert ax.get_yscale() == "log"
    (above,) = ax.child_axes
    assert above.get_xlabel() == "passes over the text"
    legend = {text.get_text() for text in ax.get_legend().get_texts()}
    assert legend == {
        *("training loss (nats)", "gradient norm, all", "clipped above 5: 0% of updates"),
        *("gradient norm, each parameter", "held-out loss (nats)", "blow-up at 801, w_hh"),
    }
    ax.figure.draw_without_rendering()


def drawn():
    """Figures with everything that has a label."""
    loss = np.concatenate([np.linspace(3, 0.3, 600), np.full(400, 0.3)])
    loss[800:830] = 4.0
    events = events_of(loss, signals=[(100, {"w_hh": 0.1})], validations=[(500, 2.0), (1000, 2.5)])
    groups = [Group("space", 10, 1.0, (2.0, 1.5), "network", 0.6)]
    return [
        draw_training_curve(training_curve(events, clip_norm=5.0), published=[(0, 600, "waking up")]),
        gradient_lags(GradientFlow(2, 1, flow_of([1.0, 0.9, 0.5]), flow_of([1.0, 0.5, 0.4]))),
        who_wins(groups),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_figure_is_legible_on_a_telephone_and_its_legend_covers_nothing(number):
    ax = drawn()[number]
    ax.figure.draw_without_rendering()
    pixels_per_point = TELEPHONE_PX / (72 * ax.figure.get_figwidth())
    texts = [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
    texts += ax.get_legend().get_texts()
    assert min(text.get_fontsize() for text in texts if text.get_text()) * pixels_per_point >= LEGIBLE_PX
    legend, label = ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()
    assert legend.y1 <= label.y0
    assert legend.y0 >= 0
    assert legend.x0 >= 0
    assert legend.x1 <= ax.figure.bbox.x1
