"""The result of an inspection, and the sizes of its measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from charloom.insight.connectivity import Connectivity
from charloom.insight.context import FarContext
from charloom.insight.embedding import Embedding
from charloom.insight.error_analysis import ErrorAnalysis
from charloom.insight.gates import Gates
from charloom.insight.gradient_flow import GradientFlow
from charloom.insight.jacobian import StepJacobian
from charloom.insight.json_values import json_ready
from charloom.insight.training_curve import TrainingCurve
from charloom.insight.units import Units
from charloom.summary import Summarised, Summary, short_fields
from charloom.training.verdict import Verdict

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the measurements; `fitted` reduces them for a short text.

    Attributes:
        num_lags: the farthest lag of the gradients.
        num_losses: losses per passage whose gradients are followed.
        num_passages: passages for the gradients.
        jacobian_steps: steps whose singular values are averaged.
        jacobian_lags: factors of the longest product of Jacobians.
        reach: maximum characters of context.
        targets: predictions of the context curve per passage, and of the far context in total.
        stretches: passages for the context curve.
        unit_chars: characters of each passage for gates and units.
        unit_passages: number of those passages.
        lean_lags: the farthest character in the connectivity.
        lean_rows: predictions in the heat map.
        error_chars: held-out characters for the error analysis.
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
        """The sizes that a text of this length allows."""
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
    """Loss by the amount of context, as defined in `context`.

    Attributes:
        loss_nats: after 1, 2, … characters.
        enough_chars: characters beyond which more context gains under 1 %.
        far: the use of characters beyond the nearest; None if documents reset the state.
    """

    loss_nats: Float[Array, "K"]
    enough_chars: int | None
    far: FarContext | None
    order_share: tuple[float | None, ...]

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(Summarised):
    """All measurements of one model.

    Attributes:
        memory_horizon_chars: the trained network's; None if beyond all lags measured.
        connectivity: which characters the predictions of one passage depend on.
        passage: the characters of that passage.
        embedding: the learnt characters; None if the text has fewer than three.
        errors: bits by group of characters.
        held_out_nats: mean loss on the whole held-out text, stream protocol: the figure of `train` and `eval`.
        train_nats: by the same protocol on the end of the training text; None without one.
        verdicts: the judge's verdict on the run, the same as at the end of `train`, or an alarm about its memory.
        memory: the finding on the gradients: healthy, vanishing, exploding or silent.
        num_chars: characters of the held-out text.
        course: the training curve recorded by the run; None without a record.
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
    errors: ErrorAnalysis
    held_out_nats: float
    train_nats: float | None
    verdicts: tuple[Verdict, ...]
    num_chars: int
    memory: Verdict
    course: TrainingCurve | None = None

    def summary(self) -> Summary:
        """The loss, the verdicts, and how far the network remembers."""
        bits = self.held_out_nats / math.log(2)
        title = f"Inspection: {bits:.4f} bits per character on {self.num_chars:,} characters of held-out text"
        verdicts = [(verdict.kind, f"{verdict.says}; advice: {verdict.advice}") for verdict in self.verdicts]
        memory = ("memory", self.gradient_flow.summary().title.partition(": ")[2])
        return Summary(title, (*verdicts[:1], memory, *verdicts[1:]))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        document: dict[str, Any] = json_ready(self)
        return document
