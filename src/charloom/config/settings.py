"""The settings: four frozen dataclasses, each field declared once with its default, meaning and bounds.

Each field is also the flag ``--field-name``, a recipe key and a row of the reference page; ``None`` is "off".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.config.plan import parse_plan
from charloom.config.separators import NAMED_SEPARATORS, parse_replacements, unescaped
from charloom.errors import ConfigError

_VAL_FRACTION = 0.1
_MOST_EPOCHS, _MOST_STEPS, _MOST_MINUTES = 1e6, 10**12, 1e6
"""Bounds of a budget, far beyond any use: minutes are two years."""

DECOUPLED_DECAY = ("adamw", "muon")
"""Optimisers that decay the weights themselves; the others add the decay to the gradient (L2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which ids are held out."""

    encoding: str | None = setting(
        None, "text encoding; none = detect from a byte-order mark, UTF-8, then a guess that is reported"
    )
    column: str | None = setting(
        None,
        "column of a .csv, .tsv, .jsonl, .json or .parquet file that has the text; each row is a document",
    )
    unit: Literal["char", "byte"] = setting(
        "char", "what each id represents: a code point, or a byte of the file as it is"
    )
    clean_bytes: bool = setting(
        False,
        "with unit byte: decode and normalise the text first, as with unit char, and encode it as UTF-8",
    )
    normalization: Literal["nfc", "nfd", "nfkc", "nfkd", "none"] = setting(
        "nfc", "Unicode normalisation applied to the text and to prompts; changes are counted and shown"
    )
    replace_chars: str | None = setting(
        None,
        "characters to replace in the text and in prompts: U+FFFD= leaves one out, U+2019=' replaces one; "
        "separated by commas",
    )
    min_count: int = setting(1, "characters that occur less often become <unk>", at_least=1)
    vocab_from: Literal["all", "train"] = setting(
        "all", "the part of the text that defines the vocabulary; train adds <unk>"
    )
    documents: str = setting(
        "none",
        r"document separator: none, line, blank-line, file (or row of a table), or a string, in which \n is a "
        r"newline, \t a tab and \\ a backslash",
    )
    keep_separator: Literal["no", "begin", "end"] = setting(
        "no", "a separator string is dropped, or kept at the beginning or at the end of a document"
    )
    val_fraction: float = setting(
        _VAL_FRACTION, "fraction of the text held out for validation", at_least=0.0, below=1.0
    )
    val_count: int | None = setting(
        None, "documents held out for validation, instead of a fraction; none = by val_fraction", at_least=1
    )
    split: Literal["contiguous", "random"] = setting(
        "contiguous", "what is held out: the end of the text, or documents drawn at random"
    )
    split_seed: int = setting(
        0, "seed of a random split; --seed does not change what is held out", at_least=0, below=2**64
    )
    take_chars: int | None = setting(None, "characters to use, from the start; none = all", at_least=1)

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.documents:
            raise ConfigError(
                "documents is empty",
                why="a separator needs at least one character",
                fix="use none, line, blank-line, file or a separator string",
            )
        if self.column is not None and self.documents == "none":
            object.__setattr__(self, "documents", "file")  # each row is a document
        self._check_separator()
        self._check_cleaning()
        self._check_split()

    @property
    def is_raw(self) -> bool:
        """Whether the ids are the bytes of the text as they are: nothing is decoded, normalised or replaced."""
        return self.unit == "byte" and not self.clean_bytes

    def _check_separator(self) -> None:
        if self.keep_separator == "no":
            return
        named = self.documents in NAMED_SEPARATORS
        if named or not unescaped(self.documents).strip("\n"):
            raise ConfigError(
                f"keep_separator is {self.keep_separator} and documents is {self.documents}",
                why="newlines at either end of a document are always dropped, so nothing would be kept",
                fix="omit --keep-separator, or give a separator string such as --documents '\\n>'",
            )

    def _check_cleaning(self) -> None:
        if self.replace_chars is not None:
            parse_replacements(self.replace_chars)
        if self.clean_bytes and self.unit == "char":
            raise ConfigError(
                "clean_bytes is on and unit is char",
                why="there are no bytes to clean: a text of characters is always decoded and normalised",
                fix="omit --clean-bytes, or add --unit byte",
            )
        given = {name: getattr(self, name) for name in ("encoding", "replace_chars")}
        given["normalization"] = None if self.normalization in ("nfc", "none") else self.normalization
        for name in [name for name, value in given.items() if value is not None and self.is_raw]:
            raise ConfigError(
                f"{name} is {given[name]!r} and unit is byte",
                why="the bytes of the text are read as they are, so nothing is decoded, normalised or replaced",
                fix=f"omit --{name.replace('_', '-')}, or add --clean-bytes",
            )

    def _check_split(self) -> None:
        needs_documents = {"split": self.split == "random", "val_count": self.val_count is not None}
        for name in [name for name, used in needs_documents.items() if used and self.documents == "none"]:
            raise ConfigError(
                f"{name} is {getattr(self, name)} and documents is none",
                why="whole documents are drawn and counted, and this text is one stream",
                fix=f"say what separates them, such as --documents line, or omit --{name.replace('_', '-')}",
            )
        if self.val_count is not None and self.val_fraction != _VAL_FRACTION:
            raise ConfigError(
                f"val_count is {self.val_count} and val_fraction is {self.val_fraction:g}",
                why="both say how much is held out",
                fix="keep only one of --val-count and --val-fraction",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network; with the vocabulary's size it determines the name and shape of every parameter."""

    cell: Literal["elman", "lstm", "gru", "mingru"] = setting("gru", "the recurrent cell")
    activation: Literal["tanh", "sigmoid", "relu"] = setting("tanh", "activation of the elman cell")
    hidden_size: int = setting(
        256, "width of each layer (plain) or of the residual stream (residual)", at_least=1, at_most=65_536
    )
    num_layers: int = setting(1, "number of recurrent layers", at_least=1, at_most=64)
    embedding_size: int | None = setting(
        None, "width of the character embedding; none = one-hot input", at_least=1, at_most=65_536
    )
    block: Literal["plain", "residual"] = setting(
        "plain", "plain stacks cells; residual adds a norm, a convolution and a gated MLP to each"
    )
    conv_width: int = setting(4, "taps of the causal convolution in a residual block", at_least=1, at_most=64)
    expansion: float = setting(
        1.5, "cell width inside a residual block, as a multiple of hidden_size", above=0.0, at_most=16.0
    )
    mlp_ratio: float = setting(
        2.0, "width of the gated MLP as a multiple of hidden_size; 0 = no MLP", at_least=0.0, at_most=16.0
    )
    dropout_char: float = setting(
        0.0, "dropout of whole input characters: the embedding is set to zero", at_least=0.0, below=1.0
    )
    dropout_input: float = setting(0.0, "dropout on the input of the first layer", at_least=0.0, below=1.0)
    dropout_layer: float = setting(0.0, "dropout between plain layers", at_least=0.0, below=1.0)
    dropout_branch: float = setting(0.0, "dropout after each residual branch", at_least=0.0, below=1.0)
    dropout_recurrent: float = setting(
        0.0, "dropout of recurrent weights, drawn once per window (DropConnect)", at_least=0.0, below=1.0
    )
    dropout_output: float = setting(0.0, "dropout on the input of the output layer", at_least=0.0, below=1.0)
    tie_embeddings: bool = setting(False, "use the embedding's weights in the output layer too")
    forget_bias: float = setting(1.0, "initial bias of the LSTM's forget gate")
    init: Literal["orthogonal", "pytorch", "normal", "uniform"] = setting(
        "orthogonal",
        "initial weights: orthogonal recurrence, PyTorch's uniform 1/sqrt(H), or normal or uniform of init_scale",
    )
    init_scale: float | None = setting(
        None, "standard deviation for init normal, bound for init uniform", above=0.0
    )
    init_out: Literal["same", "pytorch", "normal", "uniform"] = setting(
        "same", "initial weights of the output layer; uniform and normal set its bias to 0"
    )
    init_out_scale: float | None = setting(None, "standard deviation or bound for init_out", above=0.0)

    def __post_init__(self) -> None:
        check_bounds(self)
        for site in ("init", "init_out"):
            if getattr(self, site) in ("normal", "uniform") and getattr(self, f"{site}_scale") is None:
                raise ConfigError(
                    f"{site} is {getattr(self, site)} and {site}_scale is not set",
                    why="a normal or uniform distribution needs a scale",
                    fix=f"set --{site.replace('_', '-')}-scale, for example 0.01",
                )
        self._check_dropout()
        if self.block == "residual" and self.embedding_size not in (None, self.hidden_size):
            raise ConfigError(
                f"embedding_size is {self.embedding_size} and hidden_size is {self.hidden_size}",
                why="the residual stream starts as the embedding, so the two must have the same width",
                fix="leave out --embedding-size, or set it to hidden_size",
            )
        if self.tie_embeddings and self.block == "plain" and self.embedding_size != self.hidden_size:
            raise ConfigError(
                f"tie_embeddings with embedding_size {self.embedding_size} and hidden_size {self.hidden_size}",
                why="both layers share one matrix, so the two widths must be equal",
                fix=f"set --embedding-size {self.hidden_size}",
            )

    def _check_dropout(self) -> None:
        """Refuse dropout at a place that this network does not have: it would silently have no effect."""
        plain, embed = self.block == "plain", "set --embedding-size, for example 32"
        one_hot = plain and self.embedding_size is None
        missing = {
            "dropout_char": (one_hot, "a one-hot character has no embedding to drop", embed),
            "dropout_input": (one_hot, "a one-hot input has no features to drop", embed),
            "dropout_layer": (not plain, "there is none between residual layers", "use --dropout-branch"),
            "dropout_recurrent": (
                self.cell == "mingru",
                "a minGRU has no recurrent weights: its gates do not depend on the state",
                "use --dropout-branch or --dropout-output",
            ),
            "dropout_branch": (
                plain,
                "plain layers lack branches",
                "use --dropout-layer or --dropout-output",
            ),
        }
        for name, (absent, why, fix) in missing.items():
            if absent and getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", why=why, fix=fix)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How to sample text from probabilities."""

    length: int = setting(500, "characters to generate; 0 = until interrupted or stopped", at_least=0)
    count: int = setting(1, "number of samples", at_least=1, at_most=10_000_000)
    temperature: float = setting(1.0, "above 1 bolder, below 1 safer, 0 greedy", at_least=0.0)
    top_k: int | None = setting(None, "keep the k likeliest characters; none = all", at_least=1)
    top_p: float | None = setting(
        None, "keep the smallest set with at least this probability; none = all", above=0.0, at_most=1.0
    )
    min_p: float | None = setting(
        None, "minimum probability relative to the likeliest character; none = all", at_least=0.0, at_most=1.0
    )
    repetition_penalty: float | None = setting(
        None, "divides the odds of recent characters: above 1 discourages repetition; none = off", above=0.0
    )
    repetition_window: int = setting(
        32, "how many recent characters the repetition penalty covers", at_least=1, at_most=65_536
    )
    seed: int | None = setting(
        None, "same seed, same text; none = random, and printed", at_least=0, below=2**64
    )
    unknown: Literal["error", "skip", "similar", "replace"] = setting(
        "error", "what to do with prompt characters outside the vocabulary"
    )
    batch: int = setting(64, "samples generated in parallel", at_least=1, at_most=65_536)
    engine: Literal["auto", "torch", "scratch", "fused"] = setting("auto", "auto, torch, scratch or fused")
    precision: Literal["float32", "float64", "int8"] = setting(
        "float32", "arithmetic of the forward pass; int8 = 8-bit matrices (fused engine), twice as fast"
    )
    threads: int | None = setting(
        None, "threads of the fused engine; none = one for a single sample, all for several", at_least=1
    )
    portable: bool = setting(
        False, "the same text on every processor and in the browser; slower (fused engine, float32 or int8)"
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.portable and self.precision == "float64":
            raise ConfigError(
                "portable is on and precision is 'float64'",
                why="the portable order of sums is for float32",
                fix="use --precision float32 or int8, or leave --portable out",
            )
