"""The documents that charloom reads: run configuration, events, checkpoints, model card, session, lock.

Settings (`text`, `model`, `train`, `sample`) are objects here; `charloom.config` declares each of them with its type and
bounds and checks it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Size = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=100_000)]
Settings = dict[str, Any]


class CorpusRecord(Struct, frozen=True):
    """The text of a run."""

    name: Text
    sources: list[Text]
    in_memory: bool
    val: Text | None
    test: Text | None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    num_chars: Count
    vocab_size: Count
    unit: Literal["char", "byte"]
    vocab: Settings | UnsetType = UNSET


class CardCorpus(Struct, frozen=True):
    """What a model card says of the text."""

    name: Text | None = None
    sha256: Text | None = None
    num_chars: Count | None = None


class VerdictRecord(Struct, frozen=True):
    """A verdict, as `charloom.training.verdict.Verdict`; null where a number was not finite."""

    kind: Text
    says: Text
    number: float | None = None
    threshold: float | None = None
    advice: Text = ""
    figure: Text | None = None
    settings: Settings = {}
    more_steps: Count = 0
    text: Text = ""


class FactsRecord(Struct, frozen=True):
    """The facts of a run, as `charloom.training.facts.Facts`, without the settings; null where not finite."""

    history: list[tuple[Count, float]]
    last_step: Count
    best_step: int
    passes: float | None
    learning_rate_share: float
    train_chars: Count
    val_loss: float | None
    train_loss: float | None
    uniform_loss: float | None
    train_history: list[float] = []
    train_time_s: Size = 0.0
    stopped_early: bool = False
    standard_error: float | None = None
    gap_growth: float | None = None
    order0_loss: float | None = None
    ngram_loss: float | None = None
    xz_loss: float | None = None
    overlap: float = 0.0
    repeats_from: Count | None = None
    held_out_file: bool = False
    unit: Text = "char"


class CardResults(Struct, frozen=True):
    """The results in a model card, as far as it has them."""

    protocol: Text = ""
    steps: Count | None = None
    best_step: int | None = None
    chars_seen: Count | None = None
    train_time_s: Size | None = None
    wall_time_s: Size | None = None
    val_loss_nats: float | None = None
    val_bits_per_char: float | None = None
    val_bits_per_byte: float | None = None
    val_standard_error_nats: float | None = None
    val_chars: Count | None = None
    train_loss_nats: float | None = None
    ngram_bits_per_char: float | None = None
    ngram_order: int | None = None
    xz_bits_per_char: float | None = None
    baseline_train_chars: Count | None = None
    verdicts: list[VerdictRecord] = []
    facts: FactsRecord | None = None


class RunResults(CardResults, frozen=True, kw_only=True):
    """The results of a finished run."""

    protocol: Text
    steps: Count
    best_step: int
    chars_seen: Count
    train_time_s: Size
    wall_time_s: Size
    val_loss_nats: float | None
    val_bits_per_char: float | None
    ngram_bits_per_char: float | None
    ngram_order: int | None
    xz_bits_per_char: float | None
    verdicts: list[VerdictRecord]


class AsTaken(Struct, frozen=True):
    """The steps that a run took, and its plan of the learning rate."""

    steps: Count
    plan: Text


class Origin(Struct, frozen=True):
    """The model or run that a run came from, and the settings that a branch changed."""

    path: Text
    step: Count | None = None
    corpus: CardCorpus | None = None
    changed: Settings = {}


class RunConfig(Struct, frozen=True):
    """``config.json`` of a run, as far as it is written."""

    text: Settings = {}
    model: Settings = {}
    train: Settings = {}
    sample: Settings = {}
    corpus: CorpusRecord | UnsetType = UNSET
    versions: dict[str, Any] = {}
    created: Text = ""
    recipe: Text = ""
    schema: Literal[1] = 1
    results: RunResults | UnsetType = UNSET
    as_taken: AsTaken | UnsetType = UNSET
    init_from: Origin | UnsetType = UNSET
    branched_from: Origin | UnsetType = UNSET
    teacher: Origin | UnsetType = UNSET


class CompleteRunConfig(RunConfig, frozen=True, kw_only=True):
    """``config.json`` with everything that a training records at its start."""

    text: Settings
    model: Settings
    train: Settings
    corpus: CorpusRecord
    versions: dict[str, Any]
    created: Text
    recipe: Text


class SampleRecord(Struct, frozen=True):
    """The settings of `sample` that a model carries; `SampleConfig` checks all but the prompt."""

    is_open: ClassVar[bool] = True  # so other names are no names of a newer version
    prompt: Text = ""


class RecipeDocument(Struct, frozen=True):
    """A recipe; its settings may also stand at the top level, and `charloom.config` checks each."""

    about: Text = ""
    source: Text = ""
    text: Settings = {}
    model: Settings = {}
    train: Settings = {}
    sample: SampleRecord = SampleRecord()
    as_published: dict[str, Text] = {}


class Card(Struct, frozen=True):
    """A model's card. Everything in it may be missing."""

    corpus: CardCorpus = CardCorpus()
    recipe: Text | None = None
    sample: SampleRecord = SampleRecord()
    train: Settings = {}
    versions: dict[str, Any] = {}
    created: Text = ""
    step: int | None = None
    chars_seen: Count | None = None
    results: CardResults = CardResults()
    init_from: Origin | None = None
    branched_from: Origin | None = None
    teacher: Origin | None = None
    runs: list[Text] = []


class OtherLine(Struct, frozen=True):
    """A line of ``events.jsonl`` of a kind that this version does not know."""

    step: Count = 0


class EventLine(Struct, frozen=True):
    """A line of ``events.jsonl``; each kind below has more names."""

    step: Count


class StartedLine(EventLine, frozen=True):
    """Training starts."""

    num_params: Count
    steps_per_epoch: Count
    device: Text
    threads: Count
    notes: list[Text]
    ranks: Count = 1
    lane_groups: Count = 1
    replicas: Count = 1
    kernels: Text = ""
    memory: dict[str, Count] = {}


class ProgressLine(EventLine, frozen=True):
    """Some updates are done: a loss and a gradient norm for each."""

    first_step: Count
    progress: float
    loss: list[float]
    grad_norm: list[float]
    learning_rate: float
    chars_per_s: float
    time_left_s: float | None

    def __post_init__(self) -> None:
        """Check that every update has both numbers."""
        number = self.step - self.first_step
        if not len(self.loss) == len(self.grad_norm) == number:
            raise ValueError(f"Expected a loss and a grad_norm for each of the {number} updates")


class ParameterLine(Struct, frozen=True):
    """One parameter in one update."""

    grad_norm: float | None
    weight_norm: float | None
    update_ratio: float | None


class SignalsLine(EventLine, frozen=True):
    """What an update did to each parameter."""

    clip_rate: float | None
    parameters: dict[str, ParameterLine]


class WatchedLine(EventLine, frozen=True):
    """What the monitor measured."""

    numbers: dict[str, Any]


class EpochLine(EventLine, frozen=True):
    """A pass over the text is complete."""

    epoch: Count
    loss: float


class ValidationLine(EventLine, frozen=True):
    """The held-out text was scored."""

    loss: float
    train_loss: float
    best: bool


class SampledLine(EventLine, frozen=True):
    """A sample was written."""

    text: Text


class SavedLine(EventLine, frozen=True):
    """A checkpoint was written."""

    path: Text


class FinishedLine(EventLine, frozen=True):
    """Training has ended."""

    reason: Text
    best_step: int
    chars_seen: Count
    verdicts: list[VerdictRecord]


class DivergedLine(EventLine, frozen=True):
    """Training has diverged."""

    what: Text
    non_finite: dict[str, Count]
    verdict: VerdictRecord | None = None


class ResumedLine(Struct, frozen=True):
    """A resume from a step; lines of later steps before it are superseded."""

    resumed_from: Count


EVENT_LINES: dict[str, type[Struct]] = {
    "started": StartedLine,
    "progress": ProgressLine,
    "signals": SignalsLine,
    "watched": WatchedLine,
    "epochend": EpochLine,
    "validation": ValidationLine,
    "sampled": SampledLine,
    "saved": SavedLine,
    "finished": FinishedLine,
    "diverged": DivergedLine,
}
"""The structure of each kind of event; a newer version may write others, which are kept."""


class LoopRecord(Struct, frozen=True):
    """The scalars of a checkpoint, as `charloom.training.state.LoopState`."""

    step: Count
    knots: list[tuple[Count, float]] | None
    elapsed_s: Size
    train_time_s: Size
    chars_seen: Count
    best_step: int
    best_loss: float | None
    worse_since_best: Count
    history: list[tuple[Count, float]]
    since_validation: tuple[float, Count]
    in_epoch: tuple[float, Count]
    validation_chars: Count = 30_000
    report_chars: Count = 1_000_000


class Holder(Struct, frozen=True):
    """The process that holds a lock."""

    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    host: Text | None = None
    boot: Text | None = None
    started: Text | None = None


class SessionRecord(Struct, frozen=True):
    """A saved session, without its arrays."""

    config: Settings
    seed: Annotated[int, Meta(ge=0)]
    sample: Count = 0
    recent: list[list[int]] | None = None
    positions: list[Count] | None = None
