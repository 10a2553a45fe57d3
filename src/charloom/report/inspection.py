"""What an inspection found, as one HTML page: why a network learns, and why it forgets.

Each section asks one question, answers it in a sentence with its numbers, and draws what the sentence says. Nothing is fetched, no
script runs, no text is read as markup; every number lies in the page as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import plots
from charloom.generation import sign, visible
from charloom.insight.errors import Group
from charloom.insight.results import Inspection
from charloom.pages import html_page, json_download
from charloom.plots.figures import THEME_STYLE
from charloom.report import parts
from charloom.report.course import course_section
from charloom.report.parts import LEVELS, row, section, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """Draw an inspection.

    Args:
        found: what was measured.
        title: heading of the page; plain text.
        summary: sentences to stand below it: the model, the text, and how both were read.
        numbers: what the page offers as JSON.
        published: stages of the same training as somebody else read them: (first step, last step, name).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    said = "".join(f"<p>{escape(visible(sentence))}</p>\n" for sentence in summary)
    body = [
        said,
        json_download(numbers, name="inspection.json"),
        _verdicts(found),
        "" if found.course is None else course_section(found.course, published),
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
        style=parts.STYLE + parts.choice_style(most) + THEME_STYLE + _STYLE,
        body="".join(body),
    )


def pictures(found: Inspection, published: Sequence[tuple[int, int, str]] = ()) -> Iterator[tuple[str, Axes]]:
    """Every picture of an inspection under its name, for a paper; `published` as for the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if found.course is not None:
        yield "course", plots.training_course(found.course, published=published)
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
    for one in found.verdicts:
        alarm = "" if one.kind == "healthy" else " alarm"
        made.append(
            f'<div class="verdict{alarm}">\n<h3>{escape(one.kind)}</h3>\n<p>{escape(one.says)}</p>\n'
            f'<p class="remark">measured {_number(one.number)}, held against {one.threshold:.3g}</p>\n'
            f"<p>What to do: {escape(one.advice)}</p>\n</div>\n"
        )
    return section("What the numbers say", (), "".join(made))


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "beyond all that was looked at"


def _flow(found: Inspection) -> str:
    flow = found.gradient_flow
    horizon = found.memory_horizon_chars
    reach = (
        f"{horizon} characters"
        if horizon is not None
        else f"more than the {flow.num_lags} characters measured"
    )
    caption = f"The gradient of one loss in the states before it, as a share of what it is at lag 0; it falls to 1 % after {reach}."
    rows = [
        row(
            f"{when}, layer {one.layer} {one.array}",
            one.decay_per_char,
            one.half_life_chars,
            one.horizon_chars,
        )
        for when, arrays in (("trained", flow.trained.arrays), ("before training", flow.initial.arrays))
        for one in arrays
    ]
    heads = ("state", "left after each character", "half-life in characters", "horizon in characters")
    if not any(one.grad_norm_by_lag[0] > 0 for one in flow.initial.arrays):
        caption += (
            " Before training a residual block lets no gradient into its state, so there is nothing to draw."
        )
    return section(
        "How far back does a mistake teach?",
        (
            f"Each of {flow.num_losses} losses was followed back through the unrolled network, in float64, character by character.",
            "What no gradient reaches, training cannot connect with the mistake.",
        ),
        parts.picture("flow", plots.gradient_lags(flow), caption)
        + table("Decay of the gradient", heads, rows),
    )


def _context(found: Inspection) -> str:
    curve = found.context_curve
    used = (
        "the curve's end is not finite"
        if curve.enough_chars is None
        else f"more than {curve.enough_chars} characters gain it under 1 %"
    )
    sentences = [f"Given more context, the model guesses better; {used}."]
    if curve.far is not None:
        sentences += [
            _order(kept, share) for kept, share in zip(curve.far.kept_chars, curve.order_share, strict=True)
        ]
    caption = "Loss by the number of characters read since a state of zero; every point is a mean over the same characters."
    return section(
        "How much context does it use?", sentences, parts.picture("context", plots.context(curve), caption)
    )


def _order(kept: int, share: float | None) -> str:
    beyond = f"the characters beyond the nearest {kept}"
    if share is None:
        return f"All {beyond[4:]} gain under 1 %."
    if share > 1:
        return (
            f"To shuffle {beyond} costs {share:.1f} times as much as to leave them out: it reads their order."
        )
    return f"Of what {beyond} gain, {share:.0%} is lost when they are shuffled."


def _jacobian(found: Inspection) -> str:
    rows = [
        row(
            f"layer {one.layer}",
            float(one.singular_values[0]),
            float(one.singular_values[-1]),
            float(one.growth_per_char[0]),
        )
        for one in found.jacobian
    ]
    heads = ("layer", "largest singular value", "smallest", "growth a character (natural log)")
    return section(
        "What does one step do to the state?",
        (
            "Directions with a singular value below 1 are forgotten a little at every step; one step rarely tells, so products are shown too.",
        ),
        parts.picture(
            "values",
            plots.singular_values(found.jacobian),
            "The singular values of one step, from the largest.",
        )
        + parts.picture(
            "gains", plots.gains(found.jacobian), "The largest gain of several steps taken together."
        )
        + table("Jacobians of the state", heads, rows),
    )


def _gates(found: Inspection) -> str:
    seen = found.gates
    rows = [row(f"layer {one.layer} {one.gate}", one.saturated_fraction) for one in seen.saturation]
    content = parts.picture(
        "saturation",
        plots.saturation(seen),
        "Every unit, by how often it is shut and how often open; a unit on the line is always one or the other.",
    ) + table("Saturation", ("gate", "share of values below 0.1 or above 0.9"), rows)
    if seen.timescales:
        slow = [
            row(f"layer {one.layer}", one.median_chars, _finite(one.longest_chars)) for one in seen.timescales
        ]
        content += parts.picture(
            "timescales", plots.timescales(seen), "How long the units keep what they hold, from the slowest."
        ) + table("Timescales in characters", ("layer", "median unit", "slowest"), slow)
    return section("How do its gates stand?", (f"Watched over {seen.num_chars:,} characters.",), content)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _leaning(found: Inspection) -> str:
    seen, passage = found.connectivity, found.passage
    options = []
    for i, lean in enumerate(seen.lean):
        at = seen.first + i
        options.append(
            (escape(sign(passage[at])), f"{sign(passage[at])}, character {at}", _leaned(passage, at, lean))
        )
    caption = "How far a prediction leans on the character so many back, on the average of the passage."
    chosen = parts.choice(
        "lean", "Choose the character that is predicted:", options, as_list=False, checked=len(options) - 1
    )
    return section(
        "Which characters does a prediction lean on?",
        (
            "The darker a character, the more the prediction of the underlined one would move if it were moved a little.",
        ),
        chosen + parts.picture("leaning", plots.leaning(seen), caption),
    )


def _leaned(passage: Sequence[str], at: int, lean: np.ndarray) -> str:
    """The passage up to the character predicted; the newest character read stands at lag 0."""
    levels = np.zeros(at + 1, int)
    most = lean.max()
    if most > 0:
        shades = np.ceil(LEVELS * np.sqrt(lean / most) - 0.5).astype(int)
        levels[at - 1 - np.arange(len(lean))] = np.clip(shades, 0, LEVELS)
    return parts.coloured(passage[: at + 1], levels, target=at)


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
            options.append((escape(says), says, parts.coloured(seen.excerpt, _levels(shown.values))))
        content += parts.choice("unit", "Choose a unit to see it on the text:", options)
    else:
        content += '<p class="remark">No unit follows a feature more closely than chance would have it.</p>\n'
    return section(
        "What do single units stand for?",
        (
            "A unit is explained by a feature as far as its value differs between the feature's classes.",
            "The threshold is what the best of all units reaches by chance, with the labels shifted around the text.",
        ),
        content,
    )


def _unit_name(layer: int, array: str, number: int) -> str:
    return f"layer {layer} {array} {number}"


def _levels(values: np.ndarray) -> np.ndarray:
    """Shades around the median, the darkest from the 95th percentile of the distance on."""
    away = values - np.median(values)
    widest = np.quantile(np.abs(away), 0.95)
    if widest <= 0:
        return np.zeros(len(values), int)
    shades: np.ndarray = np.clip(np.rint(LEVELS * away / widest), -LEVELS, LEVELS).astype(int)
    return shades


def _characters(found: Inspection) -> str:
    seen = found.embedding
    if seen is None:
        return section(
            "What has it learnt of the characters?", ("The text holds fewer than three characters.",), ""
        )
    clusters = [
        row(one.name, float(one.num_members), one.together, one.p_value, one.together_random)
        for one in seen.clusters
    ]
    heads = (
        "kind",
        "members",
        "nearer to each other than to others (cosine)",
        "by chance (p)",
        "before training",
    )
    near = [
        f"<tr><td>{parts.char(char)}</td><td>{' '.join(f'{parts.char(other)} {cosine:.2f}' for other, cosine in nearest)}</td></tr>\n"
        for char, nearest in zip(seen.chars, seen.neighbours, strict=True)
    ]
    caption = f"The {len(seen.chars)} characters of the text by what reading them adds ({seen.source} rows), on two principal axes."
    return section(
        "What has it learnt of the characters?",
        (),
        parts.picture("characters", plots.character_map(seen), caption)
        + (table("Do kinds of characters stand together?", heads, clusters) if clusters else "")
        + f"<details><summary>The nearest neighbours of each character</summary>\n{table('Cosines', ('character', 'nearest'), near)}</details>\n",
    )


def _errors(found: Inspection) -> str:
    overall = found.errors.overall
    sentences = [f"{overall.bits_per_char:.3f} bits a character over {overall.num_chars:,} characters."]
    if overall.winner is not None:
        best = min(overall.ngram_bits_per_char)
        order = overall.ngram_bits_per_char.index(best) + 1
        sentences.append(
            f"The best n-gram, order {order}, needs {best:.3f}; the network is ahead of it on {overall.ahead_fraction:.0%} of the characters."
        )
    content = ""
    for name, groups in _cuts(found).items():
        caption = f"What characters cost by {name}."
        rows = [row(one.name, float(one.num_chars), one.bits_per_char, one.winner or "–") for one in groups]
        content += parts.picture(f"errors {name}", plots.who_wins(groups), caption)
        content += f"<details><summary>The numbers</summary>\n{table(caption, ('group', 'characters', 'bits per character', 'cheapest'), rows)}</details>\n"
    return section("Where does it lose its bits?", sentences, content)
