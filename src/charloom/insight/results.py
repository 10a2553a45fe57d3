"""What an inspection holds, and how much it looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from charloom.insight.connectivity import Connectivity
from charloom.insight.context import FarContext
from charloom.insight.course import Course
from charloom.insight.embedding import Embedding
from charloom.insight.errors import Errors
from charloom.insight.gates import Gates
from charloom.insight.gradient_flow import GradientFlow
from charloom.insight.jacobian import StepJacobian
from charloom.insight.plain import plain
from charloom.insight.units import Units
from charloom.training.verdict import Verdict

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is looked at; a shorter text lowers the numbers (`fitted`).

    Attributes:
        num_lags: the farthest lag of the gradients.
        num_losses: losses of each passage that gradients begin from.
        num_passages: passages of the gradients.
        jacobian_steps: steps whose singular values are averaged.
        jacobian_lags: factors of the longest product of Jacobians.
        reach: most characters of context given.
        targets: predictions behind the context curve, of each stretch; and behind the far context, in all.
        stretches: of the context curve.
        unit_chars: characters of each passage that gates and units are watched on.
        unit_passages: how many of them.
        lean_lags: the farthest character that a prediction may lean on.
        lean_rows: predictions of the heat-map.
        error_chars: held-out characters whose losses are cut into groups.
        ngram_chars: training characters counted by the n-grams.
    """

    num_lags: int = 200
    num_losses: int = 16
    num_passages: int = 4
    jacobian_steps: int = 3
    jacobian_lags: int = 16
    reach: int = 100
    targets: int = 128
    stretches: int = 4
    unit_chars: int = 512
    unit_passages: int = 8
    lean_lags: int = 64
    lean_rows: int = 64
    error_chars: int = 16_000
    ngram_chars: int = 1_000_000

    def fitted(self, num_chars: int) -> Sizes:
        """The sizes that a text of this length has room for."""
        third, quarter = num_chars // 3, num_chars // 4
        return replace(
            self,
            num_lags=min(self.num_lags, third),
            num_losses=min(self.num_losses, third),
            jacobian_lags=min(self.jacobian_lags, third),
            reach=min(self.reach, quarter),
            targets=min(self.targets, quarter),
            unit_chars=min(self.unit_chars, num_chars - 1),
            lean_lags=min(self.lean_lags, third),
            lean_rows=min(self.lean_rows, third),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ContextCurve:
    """Loss against the context given; `context` has the definitions.

    Attributes:
        loss_nats: after 1, 2, … characters.
        enough_chars: from there on, more context gains under 1 %.
        far: what context beyond the nearest characters is good for; None where documents reset the state.
        order_share: of `far`.
    """

    loss_nats: Float[Array, "K"]
    enough_chars: int | None
    far: FarContext | None
    order_share: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that was found.

    Attributes:
        gradient_flow: gradients by the lag, as trained and at initialisation.
        memory_horizon_chars: the trained network's; None beyond all lags measured.
        jacobian: of every layer.
        context_curve: loss against the context given.
        gates: saturation and timescales.
        connectivity: which characters the predictions of one passage lean on.
        passage: that passage, character by character.
        units: what single units stand for.
        embedding: what was learnt of the characters; None where the text holds fewer than three.
        errors: where the bits are lost.
        held_out_nats: mean loss on the held-out text, each character read with what stands before it.
        train_nats: the same of the end of the training text; None without one.
        verdicts: what to make of it.
        num_chars: held-out characters given.
        course: what the run recorded of its training; None where there is no record.
    """

    gradient_flow: GradientFlow
    memory_horizon_chars: int | None
    jacobian: tuple[StepJacobian, ...]
    context_curve: ContextCurve
    gates: Gates
    connectivity: Connectivity
    passage: tuple[str, ...]
    units: Units
    embedding: Embedding | None
    errors: Errors
    held_out_nats: float
    train_nats: float | None
    verdicts: tuple[Verdict, ...]
    num_chars: int
    course: Course | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        document: dict[str, Any] = plain(self)
        return document
