"""The fits of the cost laws find the exponents that made-up measurements were built with."""

import numpy as np
import pytest

from benchmarks.law_costs import _crossing, exponents
from benchmarks.law_fit import Row, fit_loss, huber, power_law, spread_of
from benchmarks.law_texts import respelt
from charloom.forecast.loss_law import predictors
from charloom.forecast.text_facts import TextFacts


def test_a_power_law_has_its_factor_and_exponent():
    x = np.array([64.0, 128, 256, 512])
    found = power_law(x, 7e6 * x**-1.6)
    assert found.factor == pytest.approx(7e6, rel=1e-6)
    assert found.exponent == pytest.approx(-1.6)
    assert found.r2 == pytest.approx(1.0)


def test_what_is_not_a_power_law_is_said_so():
    x = np.array([1.0, 10, 100, 1000])
    assert power_law(x, 50 + x).r2 < 0.9
    assert power_law(x, [3.0, 3, 3, 3]) == (pytest.approx(3.0), pytest.approx(0.0), 1.0)


def test_each_setting_has_an_exponent_of_its_own():
    base = {"hidden": 128, "layers": 2, "window": 64, "batch": 32, "vocabulary": 65, "corpus": 1000}
    rows = [
        {"varied": name, **base, name: value, "speed": speed}
        for name, value, speed in (
            ("hidden", 128, 900.0),
            ("hidden", 256, 300.0),
            ("hidden", 512, 50.0),
            ("window", 16, 100.0),
            ("window", 64, 200.0),
            ("batch", 8, None),
        )
    ]
    found = exponents(rows, "speed")
    assert set(found) == {"hidden", "window"}
    assert found["window"]["exponent"] == pytest.approx(0.5)
    assert found["hidden"]["exponent_at_the_end"] == pytest.approx(np.log2(50 / 300), abs=1e-3)


def made_up_rows(rng, *, noise=0.0, texts=12):
    """Trainings whose loss follows a known law of read characters, gain and kind."""
    rows = []
    for number in range(texts):
        best, gain = rng.uniform(1.5, 3.5), rng.uniform(0.3, 1.2)
        bits = (best * np.exp(gain), 1.2 * best, best)
        facts = TextFacts(int(rng.uniform(1e5, 5e6)), 80, 10_000, bits)
        for kind, extra in (("flash", 0.0), ("best", -0.04)):
            for read in (3e5, 3e6):
                x = predictors(facts, read)
                ratio = 0.02 - 0.08 * x["read"] + 0.3 * x["gain"] + extra + noise * rng.normal()
                rows.append(Row(f"text {number}", facts, read, best * np.exp(ratio), kind))
    return rows


def test_the_loss_law_of_made_up_trainings_is_found(rng):
    law = fit_loss(made_up_rows(rng), ("one", "read", "gain"), ("flash", "best"))
    assert law.coefficients["read"] == pytest.approx(-0.08, abs=0.002)
    assert law.coefficients["gain"] == pytest.approx(0.3, abs=0.03)
    assert law.of_kind == {"flash": 0.0, "best": pytest.approx(-0.04, abs=1e-3)}
    assert max(map(abs, law.residuals)) < 0.02


def test_intervals_hold_for_four_in_five_texts_that_were_left_out(rng):
    law = fit_loss(made_up_rows(rng, noise=0.05, texts=40), ("one", "read", "gain"), ("flash", "best"))
    assert 0.7 < law.coverage < 0.9
    assert np.mean(law.widths) == pytest.approx(1.2816 * 0.05, rel=0.3)


def test_one_odd_row_does_not_bend_the_law(rng):
    x = np.stack([np.ones(40), rng.normal(size=40)], axis=1)
    y = x @ [0.1, 0.5]
    y[7] += 20.0
    assert huber(x, y) == pytest.approx([0.1, 0.5], abs=0.02)


def test_the_spread_holds_for_its_share_of_new_texts(rng):
    residuals = rng.normal(size=399)
    width = spread_of(residuals, np.arange(399))
    assert np.sum(np.abs(residuals) <= width) == 320  # of 400 with a new one
    assert spread_of(np.array([0.1, -0.3]), np.array(["a", "b"])) == 0.3


def test_a_text_counts_once_whatever_the_number_of_its_trainings():
    sizes = np.array([0.1, 0.2, 0.3, 0.4, *[0.9] * 50])
    texts = np.array(["a", "b", "c", "d", *["odd"] * 50])
    assert spread_of(sizes, texts, level=0.6) == 0.3


def test_a_curve_crosses_its_target_between_two_points():
    assert _crossing([(1.0, 4.0), (2.0, 3.0), (4.0, 2.0)], 2.5) == pytest.approx(3.0)
    assert _crossing([(1.0, 2.0)], 2.5) == 1.0
    assert _crossing([(1.0, 4.0)], 2.5) == float("inf")


def test_a_text_in_several_spellings_is_the_same_text():
    text = "abba" * 50
    found = respelt(text, 3)
    assert len(found) == len(text)
    assert 4 <= len(set(found)) <= 6
    letters = {char: (ord(char) - 0x4E00) // 3 for char in found}
    assert [letters[char] for char in found] == [0 if char == "a" else 1 for char in text]
