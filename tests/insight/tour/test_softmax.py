"""The distributions of the tour, against a plain softmax and filters computed by hand."""

import math

import pytest

from charloom.insight.tour.softmax import distributions

from .small import CLOSE, softmax


def test_softmax_at_three_temperatures(rng):
    logits = rng.normal(size=7) * 2
    names = list("abcdefg")
    for one, temperature in zip(distributions(logits, names), (0.5, 1, 2), strict=False):
        probs = softmax(logits.tolist(), temperature)
        ranked = sorted(zip(probs, names, strict=True), reverse=True)
        assert one.temperature == temperature
        assert [each.char for each in one.chars] == [name for _, name in ranked]
        assert [each.probability for each in one.chars] == pytest.approx([p for p, _ in ranked], rel=CLOSE)
        assert one.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in probs), rel=CLOSE)


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 0.1), (3, 0.5), (5, 0.9), (7, 1.0), (99, 0.999)])
def test_filtered_distributions_are_renormalised(rng, top_k, top_p):
    logits = rng.normal(size=7)
    names = list("abcdefg")
    *_, by_k, by_p = distributions(logits, names, top_k=top_k, top_p=top_p)
    ranked = sorted(zip(softmax(logits.tolist()), names, strict=True), reverse=True)
    reached, smallest = 0.0, 0
    while reached < top_p and smallest < 7:
        reached, smallest = reached + ranked[smallest][0], smallest + 1
    for one, size in ((by_k, min(top_k, 7)), (by_p, 7 if top_p == 1 else smallest)):
        kept = ranked[:size]
        total = sum(p for p, _ in kept)
        assert [each.char for each in one.chars] == [name for _, name in kept]
        assert [each.probability for each in one.chars] == pytest.approx(
            [p / total for p, _ in kept], rel=1e-9
        )
    assert (by_k.name, by_p.name) == (f"top-k {top_k}", f"top-p {top_p:g}")
    assert (by_k.top_k, by_k.top_p, by_p.top_k, by_p.top_p) == (top_k, None, None, top_p)
