"""The settings of a training, and those of them that dynamic evaluation has too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.config.plan import parse_plan
from charloom.errors import ConfigError

_MOST_EPOCHS, _MOST_STEPS, _MOST_MINUTES = 1e6, 10**12, 1e6
"""Bounds of a budget, far beyond any use: minutes are two years."""

DECOUPLED_DECAY = ("adamw", "muon")
"""Optimisers that decay the weights themselves; the others add the decay to the gradient (L2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train: batching, optimiser, budget and hardware."""

    batching: Literal["stream", "random", "sliding"] = setting(
        "stream", "contiguous lanes with carried state, random windows, or a window every stride characters"
    )
    stride: int = setting(1, "distance between sliding windows in characters", at_least=1)
    objective: Literal["every", "last"] = setting(
        "every", "predict at every time step, or only after the last one of a window"
    )
    loss: Literal["mean", "sum"] = setting("mean", "differentiate the mean or the sum of a window's losses")
    batch_size: int = setting(32, "sequences processed in parallel", at_least=1, at_most=1_000_000)
    bptt_length: int = setting(64, "time steps per truncated-BPTT window", at_least=1, at_most=1_000_000)
    optimizer: Literal["adamw", "adam", "sgd", "adagrad", "rmsprop", "muon"] = setting(
        "adamw", "the optimiser; muon uses adamw for all parameters but hidden matrices"
    )
    learning_rate: float = setting(4e-3, "peak step size of the optimiser", above=0.0)
    beta1: float = setting(
        0.9, "decay of the first moment (adam, adamw); sgd and rmsprop use momentum", at_least=0.0, below=1.0
    )
    beta2: float = setting(
        0.99, "decay of the second moment (adam, adamw), smoothing of rmsprop", at_least=0.0, below=1.0
    )
    momentum: float = setting(0.0, "momentum of sgd and rmsprop", at_least=0.0, below=1.0)
    epsilon: float = setting(1e-8, "added to the square root of the second moment", above=0.0)
    epsilon_inside_root: bool = setting(False, "add epsilon inside the square root (adagrad)")
    weight_decay: float = setting(
        0.0, "weight decay of matrices: decoupled (adamw, muon), L2 (other optimisers)", at_least=0.0
    )
    schedule: Literal["constant", "cosine", "wsd"] = setting(
        "cosine", "learning-rate schedule: constant, cosine, or wsd (warm-up, stable, decay)"
    )
    warmup: int = setting(0, "steps over which the learning rate rises linearly", at_least=0)
    final_lr_fraction: float = setting(
        0.05, "final learning rate as a fraction of its peak (cosine, wsd)", at_least=0.0, at_most=1.0
    )
    decay_fraction: float = setting(0.3, "fraction of the run over which wsd decays", above=0.0, at_most=1.0)
    clip_norm: float | None = setting(1.0, "maximum gradient norm; none = no clipping", above=0.0)
    clip_value: float | None = setting(None, "limit on each gradient element; none = no clipping", above=0.0)
    average_decay: float | None = setting(
        None, "decay per step of the weights' moving average; none = no averaging", at_least=0.0, below=1.0
    )
    epochs: float | None = setting(
        None, "budget: passes over the training text", above=0.0, at_most=_MOST_EPOCHS
    )
    steps: int | None = setting(None, "budget: optimiser updates", at_least=1, at_most=_MOST_STEPS)
    minutes: float | None = setting(
        None, "budget: minutes of wall-clock time", above=0.0, at_most=_MOST_MINUTES
    )
    max_epochs: float | None = setting(
        None,
        "stop a budget in minutes after this many passes, to avoid memorising; none = never",
        above=0.0,
        at_most=_MOST_EPOCHS,
    )
    plan: str | None = setting(
        None, "learning-rate plan of an earlier run, copied from its config.json (step:progress,...)"
    )
    patience: int | None = setting(
        None, "stop after this many validations without improvement; none = never", at_least=1
    )
    validate_every: int | None = setting(
        None, "steps between validations; none = about twenty per run, ten steps apart or more", at_least=1
    )
    sample_every: int | None = setting(None, "steps between samples; none = a few per run", at_least=1)
    watch: int | None = setting(
        None, "steps between records of gates and gradients by lag in events.jsonl; none = never", at_least=1
    )
    stream_offset: Literal["fixed", "random"] = setting(
        "random", "where a stream epoch starts: at the start of each lane, or shifted by less than a window"
    )
    order: Literal["sequential", "shuffled"] = setting("sequential", "order of sliding windows")
    drop_last: bool = setting(False, "skip an incomplete window or batch at the end of an epoch")
    wrap_targets: bool = setting(
        False, "make a lane's last target in an epoch its own first character, as in a published program"
    )
    state_reset: Literal["epoch", "wrap"] = setting(
        "epoch", "reset the state of a stream at each epoch, or only when the text wraps round"
    )
    state_reset_probability: float = setting(
        0.0, "probability that the state of a lane is reset before a window", at_least=0.0, at_most=1.0
    )
    initial_state: Literal["zeros", "normal"] = setting("zeros", "the state after a reset")
    initial_state_scale: float = setting(0.1, "standard deviation for initial_state normal", above=0.0)
    teacher_weight: float = setting(
        0.5,
        "with a teacher: the share of its distribution in the targets of the text, the rest being the text's own characters",
        at_least=0.0,
        at_most=1.0,
    )
    written_chars: int = setting(
        0,
        "with a teacher: characters that it writes, which are trained on after the text with its probabilities as targets",
        at_least=0,
        at_most=10**9,
    )
    freeze: str | None = setting(
        None, "parameters not to train: names or patterns with *, separated by commas; none = train all"
    )
    bias: Literal["single", "pair"] = setting(
        "single", "one bias per gate, or two as in PyTorch (trained separately, saved as their sum)"
    )
    seed: int = setting(0, "seed of every random draw", at_least=0, below=2**64)
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    engine: Literal["auto", "torch", "scratch", "fused"] = setting("auto", "auto, torch, scratch or fused")
    precision: Literal["float32", "float64", "bfloat16"] = setting(
        "float32",
        "arithmetic of training; bfloat16 rounds the factors of matrix products if a GPU or a CPU (AMX, AVX-512 BF16) multiplies them faster",
    )
    threads: int | None = setting(
        None, "CPU threads; none = one per core available to this process", at_least=1, at_most=4096
    )

    lane_groups: int | None = setting(
        None,
        "parts of the batch whose gradients are added in a fixed order, so that bits do not depend on threads and "
        "ranks; none = one for each thread of all ranks",
        at_least=1,
        at_most=65_536,
    )
    sync_every: int | None = setting(
        None,
        "steps that each replica takes alone before their weights are averaged (DiLoCo), for slow links; "
        "none = gradients are added in every step",
        at_least=1,
        at_most=_MOST_STEPS,
    )
    replicas: int | None = setting(
        None,
        "with sync_every: parts of the batch that train alone between averages; none = one for each rank",
        at_least=1,
        at_most=65_536,
    )
    peer_timeout_s: float = setting(
        120.0,
        "seconds after which another rank that does not answer counts as hung",
        at_least=1.0,
        at_most=1e5,
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        named = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(
                f"{' and '.join(named)} are {'both' if len(named) == 2 else 'all'} set",
                why="a run has one budget",
                fix=f"keep only one of --{' and --'.join(named)}",
            )
        if self.plan is not None and (last := parse_plan(self.plan)[-1][0]) != self.steps:
            raise ConfigError(
                f"plan ends at step {last} and steps is {self.steps}",
                why="a plan maps every step of the run to progress",
                fix=f"set --steps {last}, as in the earlier run",
            )
        if self.wrap_targets and self.batching != "stream":
            raise ConfigError(
                f"wrap_targets is on and batching is {self.batching}",
                why="only a stream has lanes that wrap",
                fix="use --batching stream, or leave out --wrap-targets",
            )
        if self.objective == "last" and self.batching == "stream":
            raise ConfigError(
                "objective is last and batching is stream",
                why="a carried stream predicts at every time step",
                fix="use --batching sliding or --batching random",
            )


DYNAMIC_SETTINGS = (
    "optimizer",
    "learning_rate",
    "beta1",
    "beta2",
    "momentum",
    "epsilon",
    "epsilon_inside_root",
    "weight_decay",
    "clip_norm",
    "clip_value",
    "bptt_length",
    "freeze",
)
"""The fields of `TrainConfig` that say how to learn while scoring; the others are fixed there."""
