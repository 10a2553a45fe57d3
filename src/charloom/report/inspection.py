"""An inspection as one HTML page: why a network learns, and why it forgets.

Each section asks one question and answers it in a sentence with numbers, and a figure. Nothing is fetched, no
script runs, no text is read as markup, and all numbers are embedded as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import plots
from charloom.generation import sign, visible
from charloom.insight.error_analysis import Group
from charloom.insight.results import Inspection
from charloom.plots.figures import THEME_STYLE
from charloom.report import elements
from charloom.report.elements import LEVELS, row, section, table
from charloom.report.page import char_markup, html_page, json_download, paragraphs
from charloom.report.training_curve import training_curve_section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CALM = ("healthy", "well-fitted", "nothing-to-gain")
"""Verdicts that are no reason for concern."""

_STYLE = """
.verdict { border-inline-start: 4px solid var(--c1); padding-inline-start: 0.8rem; margin: 0.8rem 0; }
.verdict.alarm { border-color: var(--c2); }
.verdict h3 { margin: 0; }
main { max-width: 50rem; }
"""


def inspection_page(
    found: Inspection,
    *,
    title: str,
    summary: Sequence[str],
    numbers: Mapping[str, Any],
    published: Sequence[tuple[int, int, str]] = (),
) -> str:
    """Render an inspection.

    Args:
        found: the measurements.
        title: heading of the page; plain text.
        summary: sentences below the heading about the model and the text.
        numbers: offered as a JSON download.
        published: stages of the same training as published: (first step, last step, name).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    body = [
        paragraphs(summary),
        json_download(numbers, name="inspection.json"),
        _verdicts(found),
        "" if found.course is None else training_curve_section(found.course, published),
        _flow(found),
        _context(found),
        _jacobian(found),
        _gates(found),
        _leaning(found),
        _units(found),
        _characters(found),
        _errors(found),
    ]
    most = max(len(found.connectivity.lean), len(found.units.shown), 1)
    return html_page(
        title=visible(title),
        style=elements.STYLE + elements.choice_style(most) + THEME_STYLE + _STYLE,
        body="".join(body),
    )


def pictures(found: Inspection, published: Sequence[tuple[int, int, str]] = ()) -> Iterator[tuple[str, Axes]]:
    """Every figure of an inspection with its name, for a paper; `published` as for the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if found.course is not None:
        yield "course", plots.training_curve(found.course, published=published)
    yield "gradient-flow", plots.gradient_lags(found.gradient_flow)
    yield "context-curve", plots.context(found.context_curve)
    if found.context_curve.far is not None:
        yield "far-context", plots.far_context(found.context_curve.far)
    yield "jacobian-values", plots.singular_values(found.jacobian)
    yield "jacobian-gains", plots.gains(found.jacobian)
    yield "gate-saturation", plots.saturation(found.gates)
    if found.gates.timescales:
        yield "gate-timescales", plots.timescales(found.gates)
    yield "connectivity", plots.leaning(found.connectivity)
    yield "connectivity-map", plots.leaning_map(found.connectivity, found.passage)
    if found.embedding is not None:
        yield "characters", plots.character_map(found.embedding)
    for name, groups in _cuts(found).items():
        yield f"errors-{name.replace(' ', '-')}", plots.who_wins(groups)


def _cuts(found: Inspection) -> dict[str, tuple[Group, ...]]:
    return {
        "class": found.errors.by_class,
        "place in the word": found.errors.by_word_position,
        "place in the line": found.errors.by_line_position,
    }


def _verdicts(found: Inspection) -> str:
    made = []
    findings = () if found.memory in found.verdicts else (found.memory,)
    for one in (*found.verdicts, *findings):
        advice = f"<p>Advice: {escape(one.advice)}</p>\n" if one in found.verdicts else ""
        alarm = "" if one.kind in CALM else " alarm"
        made.append(
            f'<div class="verdict{alarm}">\n<h3>{escape(one.kind if advice else f"memory: {one.kind}")}</h3>\n<p>{escape(one.says)}</p>\n'
            f'<p class="remark">measured {_number(one.number)}, threshold {one.threshold:.3g}</p>\n'
            f"{advice}</div>\n"
        )
    return section("Verdict", (), "".join(made))


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "beyond the measured range"


def _flow(found: Inspection) -> str:
    flow, horizon = found.gradient_flow, found.memory_horizon_chars
    reach = (
        f"more than the {flow.num_lags} characters measured" if horizon is None else f"{horizon} characters"
    )
    caption = f"Gradient of one loss in earlier states, as a share of its value at lag 0; it falls to 1 % after {reach}."
    rows = [
        row(f"{when}, layer {d.layer} {d.array}", d.decay_per_char, d.half_life_chars, d.horizon_chars)
        for when, arrays in (("trained", flow.trained.arrays), ("before training", flow.initial.arrays))
        for d in arrays
    ]
    heads = ("state", "factor per character", "half-life in characters", "horizon in characters")
    if not any(one.grad_norm_by_lag[0] > 0 for one in flow.initial.arrays):
        caption += " An untrained residual block has no gradient in its state, so no dotted line is drawn."
    sentences = (
        f"{flow.num_losses} losses were backpropagated through the unrolled network, in float64, step by step.",
        "Training cannot connect an error with characters that its gradient does not reach.",
    )
    content = elements.picture("flow", plots.gradient_lags(flow), caption)
    content += table("Decay of the gradient", heads, rows)
    return section("How far back do gradients reach?", sentences, content)


def _context(found: Inspection) -> str:
    curve = found.context_curve
    sentences = [f"More than {curve.enough_chars} characters of context improve the loss by less than 1 %."]
    if curve.enough_chars is None:
        sentences = ["The loss is not finite at the end of the curve."]
    if curve.far is not None:
        sentences += map(_order, curve.far.kept_chars, curve.order_share)
    caption = "Loss by the number of characters read since a zero state; all points are means over the same characters."
    picture = elements.picture("context", plots.context(curve), caption)
    return section("How much context does it use?", sentences, picture)


def _order(kept: int, share: float | None) -> str:
    beyond = f"the characters beyond the nearest {kept}"
    if share is None:
        return f"Together, {beyond} improve the loss by less than 1 %."
    if share > 1:
        return f"Shuffling {beyond} costs {share:.1f} times as much as removing them: the model depends on their order."
    return f"Shuffling {beyond} loses {share:.0%} of the improvement that they bring."


def _jacobian(found: Inspection) -> str:
    rows = [
        row(f"layer {one.layer}", *map(float, (*one.singular_values[[0, -1]], one.growth_per_char[0])))
        for one in found.jacobian
    ]
    heads = ("layer", "largest singular value", "smallest", "growth per character (natural log)")
    sentence = (
        "Each step shrinks the state along directions with a singular value below 1; "
        "a single step is rarely conclusive, so products of steps are shown too."
    )
    content = elements.picture(
        "values", plots.singular_values(found.jacobian), "Singular values of one step, largest first."
    )
    content += elements.picture("gains", plots.gains(found.jacobian), "Largest gain over several steps.")
    content += table("Jacobians of the state", heads, rows)
    return section("What does one step do to the state?", (sentence,), content)


def _gates(found: Inspection) -> str:
    seen = found.gates
    rows = [row(f"layer {one.layer} {one.gate}", one.saturated_fraction) for one in seen.saturation]
    caption = (
        "Each unit by how often its gate is closed and open; a unit on the line is always one or the other."
    )
    content = elements.picture("saturation", plots.saturation(seen), caption)
    content += table("Saturation", ("gate", "share of values below 0.1 or above 0.9"), rows)
    if seen.timescales:
        rows = [
            row(
                f"layer {one.layer}",
                one.median_chars,
                one.longest_chars if np.isfinite(one.longest_chars) else None,
            )
            for one in seen.timescales
        ]
        caption = "How long the units retain their state, slowest first."
        content += elements.picture("timescales", plots.timescales(seen), caption)
        content += table("Timescales in characters", ("layer", "median unit", "slowest"), rows)
    sentence = f"Measured over {seen.num_chars:,} characters."
    return section("How saturated are its gates?", (sentence,), content)


def _leaning(found: Inspection) -> str:
    seen, passage = found.connectivity, found.passage
    options = []
    for at, lean in enumerate(seen.lean, seen.first):
        shown = sign(passage[at])
        options.append((escape(shown), f"{shown}, character {at}", _leaned(passage, at, lean)))
    legend, last = "Choose a predicted character:", len(options) - 1
    content = elements.choice("lean", legend, options, as_list=False, checked=last)
    caption = "Average dependence of predictions on a character by its distance, over the passage."
    content += elements.picture("leaning", plots.leaning(seen), caption)
    sentence = "The darker a character, the more a small perturbation of it changes the prediction of the underlined one."
    return section("Which characters does a prediction depend on?", (sentence,), content)


def _leaned(passage: Sequence[str], at: int, lean: np.ndarray) -> str:
    """The passage up to the predicted character; the newest character read has lag 0."""
    levels = np.zeros(at + 1, int)
    most = lean.max()
    if most > 0:
        shades = np.ceil(LEVELS * np.sqrt(lean / most) - 0.5).astype(int)
        levels[at - 1 - np.arange(len(lean))] = np.clip(shades, 0, LEVELS)
    return elements.coloured(passage[: at + 1], levels, target=at)


def _units(found: Inspection) -> str:
    seen = found.units
    rows = [
        row(
            one.name.replace("_", " "),
            _unit_name(*one.best[0][0]) if one.best else "–",
            one.best[0][1] if one.best else None,
            one.threshold,
            float(one.num_units_above),
            one.false_positive_rate,
        )
        for one in seen.features
    ]
    heads = ("feature", "best unit", "share explained", "threshold", "units above it", "false positives")
    content = table(f"{seen.num_units:,} units over {seen.num_chars:,} characters", heads, rows)
    if seen.shown:
        options = []
        for shown in seen.shown:
            says = f"{_unit_name(*shown.unit)}: {shown.feature.replace('_', ' ')}, {shown.explained:.0%}"
            options.append((escape(says), says, elements.coloured(seen.excerpt, _levels(shown.values))))
        content += elements.choice("unit", "Choose a unit to show its values on the text:", options)
    else:
        content += '<p class="remark">No unit follows a feature more closely than expected by chance.</p>\n'
    sentences = (
        "The share explained is the part of a unit's variance between the classes of a feature.",
        "The threshold is the largest share of any unit by chance, with the labels rotated along the text.",
    )
    return section("What do single units represent?", sentences, content)


def _unit_name(layer: int, array: str, number: int) -> str:
    return f"layer {layer} {array} {number}"


def _levels(values: np.ndarray) -> np.ndarray:
    """Shades around the median; the darkest from the 95th percentile of the distance."""
    away = values - np.median(values)
    widest = np.quantile(np.abs(away), 0.95)
    if widest <= 0:
        return np.zeros(len(values), int)
    return np.asarray(np.clip(np.rint(LEVELS * away / widest), -LEVELS, LEVELS), int)


def _characters(found: Inspection) -> str:
    title, seen = "What has it learnt about the characters?", found.embedding
    if seen is None:
        return section(title, ("The text has fewer than three distinct characters.",), "")
    caption = f"The {len(seen.chars)} characters by their input weights ({seen.source} rows), on two principal axes."
    content = elements.picture("characters", plots.character_map(seen), caption)
    if seen.clusters:
        similarity = "cosine among members minus cosine to others"
        heads = ("kind", "members", similarity, "p value", "before training")
        rows = [
            row(one.name, float(one.num_members), one.together, one.p_value, one.together_random)
            for one in seen.clusters
        ]
        content += table("Do characters of one kind cluster?", heads, rows)
    near = [
        f"<tr><td>{char_markup(char)}</td><td>{' '.join(f'{char_markup(other)} {cosine:.2f}' for other, cosine in nearest)}</td></tr>\n"
        for char, nearest in zip(seen.chars, seen.neighbours, strict=True)
    ]
    content += _details(
        "Nearest neighbours of each character", table("Cosines", ("character", "nearest"), near)
    )
    return section(title, (), content)


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def _errors(found: Inspection) -> str:
    overall = found.errors.overall
    part = "all" if overall.num_chars == found.num_chars - 1 else "the first"
    sentences = [
        f"{overall.bits_per_char:.3f} bits per character over {part} {overall.num_chars:,} of the "
        f"{found.num_chars - 1:,} held-out predictions."
    ]
    if overall.winner is not None:
        best = min(overall.ngram_bits_per_char)
        order = overall.ngram_bits_per_char.index(best) + 1
        sentences.append(
            f"The best n-gram, order {order}, needs {best:.3f}; the network beats it on {overall.ahead_fraction:.0%} of the characters."
        )
    content, heads = "", ("group", "characters", "bits per character", "best model")
    for name, groups in _cuts(found).items():
        caption = f"Cost of characters by {name}."
        rows = [row(one.name, float(one.num_chars), one.bits_per_char, one.winner or "–") for one in groups]
        content += elements.picture(f"errors {name}", plots.who_wins(groups), caption)
        content += _details("Show the numbers", table(caption, heads, rows))
    return section("Where are its errors?", sentences, content)
