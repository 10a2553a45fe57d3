"""The settings: four frozen dataclasses, each field declared once with its default, meaning and bounds.

Every field is also the flag ``--field-name``, a key of a recipe's TOML and a row of the reference page. "Off" is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.config.plan import parse_plan
from charloom.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which ids are held out."""

    encoding: str | None = setting(
        None, "encoding of the text; none = byte-order mark, UTF-8, then a guess that is stated"
    )
    unit: Literal["char", "byte"] = setting("char", "what one id stands for: a code point or a UTF-8 byte")
    normalization: Literal["nfc", "nfkc", "none"] = setting(
        "nfc", "Unicode normal form applied to the text and to prompts"
    )
    min_count: int = setting(1, "characters seen less often become <unk>", at_least=1)
    vocab_from: Literal["all", "train"] = setting(
        "all", "the part whose characters make the vocabulary; train adds <unk>"
    )
    documents: str = setting("none", "where documents end: none, line, blank-line, file, or a separator text")
    val_fraction: float = setting(
        0.1, "share of the text, at its end, held out for validation", at_least=0.0, below=1.0
    )
    take_chars: int | None = setting(
        None, "use only this many characters from the start; none = all", at_least=1
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.documents:
            raise ConfigError(
                "documents is empty",
                why="a separator needs at least one character",
                fix="use none, line, blank-line, file or a separator text",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What the network is. Its parameters' names and shapes follow from this and the vocabulary's size."""

    cell: Literal["elman", "lstm", "gru", "mingru"] = setting("gru", "the recurrent cell")
    activation: Literal["tanh", "sigmoid", "relu"] = setting("tanh", "the elman cell's activation")
    hidden_size: int = setting(
        256, "width of a layer (plain), of the residual stream (residual)", at_least=1, at_most=65_536
    )
    num_layers: int = setting(1, "recurrent layers", at_least=1, at_most=64)
    embedding_size: int | None = setting(
        None, "width of the character embedding; none = one-hot input", at_least=1, at_most=65_536
    )
    block: Literal["plain", "residual"] = setting(
        "plain", "plain stacks cells; residual wraps each in norm, convolution and gated MLP"
    )
    conv_width: int = setting(4, "taps of the residual block's causal convolution", at_least=1, at_most=64)
    expansion: float = setting(
        1.5, "the cell's width inside a residual block, as a multiple of hidden_size", above=0.0, at_most=16.0
    )
    mlp_ratio: float = setting(
        2.0,
        "the gated MLP's width as a multiple of hidden_size; 0 leaves the MLP out",
        at_least=0.0,
        at_most=16.0,
    )
    dropout_char: float = setting(
        0.0, "dropout of whole characters read: their embedding becomes zero", at_least=0.0, below=1.0
    )
    dropout_input: float = setting(0.0, "dropout on what the first layer reads", at_least=0.0, below=1.0)
    dropout_layer: float = setting(0.0, "dropout between plain layers", at_least=0.0, below=1.0)
    dropout_branch: float = setting(
        0.0, "dropout on what a residual branch adds to the stream", at_least=0.0, below=1.0
    )
    dropout_recurrent: float = setting(
        0.0, "dropout of recurrent weights, drawn once a window (DropConnect)", at_least=0.0, below=1.0
    )
    dropout_output: float = setting(0.0, "dropout on what the output layer reads", at_least=0.0, below=1.0)
    tie_embeddings: bool = setting(False, "the output layer reuses the embedding's weights")
    forget_bias: float = setting(1.0, "initial bias of the LSTM's forget gate")
    init: Literal["orthogonal", "pytorch", "normal", "uniform"] = setting(
        "orthogonal",
        "initial weights: orthogonal recurrence, PyTorch's uniform 1/sqrt(H), normal or uniform of init_scale",
    )
    init_scale: float | None = setting(
        None, "standard deviation of init normal, bound of init uniform", above=0.0
    )
    init_out: Literal["same", "pytorch", "normal", "uniform"] = setting(
        "same", "initial weights of the output layer; uniform and normal set its bias to 0"
    )
    init_out_scale: float | None = setting(None, "standard deviation or bound of init_out", above=0.0)

    def __post_init__(self) -> None:
        check_bounds(self)
        for site in ("init", "init_out"):
            if getattr(self, site) in ("normal", "uniform") and getattr(self, f"{site}_scale") is None:
                raise ConfigError(
                    f"{site} is {getattr(self, site)} and {site}_scale is not set",
                    why="a normal or uniform draw needs its scale",
                    fix=f"set --{site.replace('_', '-')}-scale, for example 0.01",
                )
        self._check_dropout()
        width = self.hidden_size if self.block == "residual" else None
        if width is not None and self.embedding_size not in (None, width):
            raise ConfigError(
                f"embedding_size is {self.embedding_size} and hidden_size is {width}",
                why="the residual stream begins with the embedding, so both have one width",
                fix="leave out --embedding-size, or set it to hidden_size",
            )
        if self.tie_embeddings and self.block == "plain" and self.embedding_size != self.hidden_size:
            raise ConfigError(
                f"tie_embeddings with embedding_size {self.embedding_size} and hidden_size {self.hidden_size}",
                why="one matrix serves as both, so both widths must be equal",
                fix=f"set --embedding-size {self.hidden_size}",
            )

    def _check_dropout(self) -> None:
        """Refuse a dropout whose site this network does not have: it would silently do nothing."""
        one_hot = self.block == "plain" and self.embedding_size is None
        missing = {
            "dropout_char": (
                one_hot,
                "a one-hot character has no embedding to drop",
                "set --embedding-size, for example 32",
            ),
            "dropout_input": (
                one_hot,
                "a one-hot input has no features to drop",
                "set --embedding-size, for example 32",
            ),
            "dropout_layer": (
                self.block == "residual",
                "residual layers have no dropout between them",
                "use --dropout-branch",
            ),
            "dropout_recurrent": (
                self.cell == "mingru",
                "the gates of a minGRU read no state: it has no recurrent weights",
                "use --dropout-branch or --dropout-output",
            ),
            "dropout_branch": (
                self.block == "plain",
                "plain layers have no branches",
                "use --dropout-layer or --dropout-output",
            ),
        }
        for name, (absent, why, fix) in missing.items():
            if absent and getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", why=why, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train: batching, optimiser, budget, and where to run."""

    batching: Literal["stream", "random", "sliding"] = setting(
        "stream", "contiguous lanes with carried state, random windows, or windows every stride characters"
    )
    stride: int = setting(1, "distance between sliding windows in characters", at_least=1)
    objective: Literal["every", "last"] = setting(
        "every", "predict at every time step, or after the window's last one only"
    )
    loss: Literal["mean", "sum"] = setting(
        "mean", "what is differentiated: the mean over the window's predictions or their sum"
    )
    batch_size: int = setting(32, "rows read side by side", at_least=1, at_most=1_000_000)
    bptt_length: int = setting(64, "time steps per truncated-BPTT window", at_least=1, at_most=1_000_000)
    optimizer: Literal["adamw", "adam", "sgd", "adagrad", "rmsprop", "muon"] = setting(
        "adamw", "the optimiser; muon uses adamw where a parameter is no hidden matrix"
    )
    learning_rate: float = setting(4e-3, "peak step size of the optimiser", above=0.0)
    beta1: float = setting(
        0.9,
        "decay of the first moment (adam, adamw), momentum (sgd, rmsprop use it only when set there)",
        at_least=0.0,
        below=1.0,
    )
    beta2: float = setting(
        0.99, "decay of the second moment (adam, adamw), smoothing of rmsprop", at_least=0.0, below=1.0
    )
    momentum: float = setting(0.0, "momentum of sgd and rmsprop", at_least=0.0, below=1.0)
    epsilon: float = setting(1e-8, "added to the root of the second moment", above=0.0)
    epsilon_inside_root: bool = setting(False, "adagrad adds epsilon before the root is taken")
    weight_decay: float = setting(
        0.0, "decoupled decay of weight matrices (adamw, muon), L2 elsewhere", at_least=0.0
    )
    schedule: Literal["constant", "cosine", "wsd"] = setting(
        "cosine", "course of the learning rate: constant, cosine, or warm-up, stable, decay"
    )
    warmup: int = setting(0, "steps over which the learning rate rises linearly", at_least=0)
    final_lr_fraction: float = setting(
        0.05, "the learning rate's last value as a share of its peak (cosine, wsd)", at_least=0.0, at_most=1.0
    )
    decay_fraction: float = setting(0.3, "share of the run over which wsd decays", above=0.0, at_most=1.0)
    clip_norm: float | None = setting(1.0, "ceiling on the gradient norm; none = no clipping", above=0.0)
    clip_value: float | None = setting(
        None, "ceiling on each gradient element; none = no clipping", above=0.0
    )
    average_decay: float | None = setting(
        None, "decay per step of the exponential weight average; none = no averaging", at_least=0.0, below=1.0
    )
    epochs: float | None = setting(None, "budget: passes over the training text", above=0.0)
    steps: int | None = setting(None, "budget: optimiser updates", at_least=1)
    minutes: float | None = setting(None, "budget: minutes of wall clock", above=0.0)
    max_epochs: float | None = setting(
        None,
        "a budget in minutes is cut to this many passes, beyond which a small text is only memorised; none = no limit",
        above=0.0,
    )
    plan: str | None = setting(
        None, "learning-rate plan of an earlier run, as its config.json records it (step:progress,...)"
    )
    patience: int | None = setting(
        None, "stop after this many validations without a better one; none = never", at_least=1
    )
    validate_every: int | None = setting(
        None, "steps between validations; none = about twenty a run", at_least=1
    )
    sample_every: int | None = setting(None, "steps between samples shown; none = a few a run", at_least=1)
    watch: int | None = setting(
        None,
        "steps between looks at gates and at gradients by lag, for events.jsonl; none = never",
        at_least=1,
    )
    stream_offset: Literal["fixed", "random"] = setting(
        "random", "where a stream epoch begins: always at the lane's start, or shifted by less than a window"
    )
    order: Literal["sequential", "shuffled"] = setting("sequential", "order of sliding windows")
    drop_last: bool = setting(False, "leave out an epoch's ragged last window or batch")
    wrap_targets: bool = setting(
        False, "a lane's last target in an epoch is its own first character, as a published program has it"
    )
    state_reset: Literal["epoch", "wrap"] = setting(
        "epoch", "stream state returns to its start at each epoch, or only where the text wraps round"
    )
    state_reset_probability: float = setting(
        0.0, "chance that a stream lane's state is reset before a window", at_least=0.0, at_most=1.0
    )
    initial_state: Literal["zeros", "normal"] = setting("zeros", "the state after a reset")
    initial_state_scale: float = setting(0.1, "standard deviation of initial_state normal", above=0.0)
    freeze: str | None = setting(
        None, "parameters that never learn: names or patterns with *, separated by commas; none = all learn"
    )
    bias: Literal["single", "pair"] = setting(
        "single", "one bias a gate, or PyTorch's two (trained apart, saved as their sum)"
    )
    seed: int = setting(0, "every random draw is a function of this number", at_least=0, below=2**64)
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    engine: Literal["auto", "torch", "scratch", "fused"] = setting("auto", "auto, torch, scratch or fused")
    precision: Literal["float32", "float64", "bfloat16"] = setting(
        "float32",
        "arithmetic of training; bfloat16 rounds the factors of products, where a GPU or a CPU with AMX multiplies those faster",
    )
    threads: int | None = setting(
        None, "processor threads; none = every core this process may use", at_least=1, at_most=4096
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        named = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(
                f"{' and '.join(named)} are both set",
                why="a run has one budget",
                fix=f"keep one of --{' and --'.join(named)}",
            )
        if self.plan is not None and (last := parse_plan(self.plan)[-1][0]) != self.steps:
            raise ConfigError(
                f"plan ends at step {last} and steps is {self.steps}",
                why="a plan maps every step of the run to progress",
                fix=f"set --steps {last}, the number the earlier run took",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How to turn probabilities into text."""

    length: int = setting(500, "characters to write; 0 = until interrupted or stopped", at_least=0)
    count: int = setting(1, "how many samples", at_least=1, at_most=10_000_000)
    temperature: float = setting(1.0, "above 1 bolder, below 1 safer, 0 greedy", at_least=0.0)
    top_k: int | None = setting(None, "keep the k likeliest characters; none = all", at_least=1)
    top_p: float | None = setting(
        None, "keep the smallest set with at least this probability; none = all", above=0.0, at_most=1.0
    )
    min_p: float | None = setting(
        None,
        "keep characters with at least this share of the likeliest one's probability; none = all",
        at_least=0.0,
        at_most=1.0,
    )
    repetition_penalty: float | None = setting(
        None,
        "divides the odds of characters written of late, above 1 against repetition; none = off",
        above=0.0,
    )
    repetition_window: int = setting(
        32, "how many characters count as written of late", at_least=1, at_most=65_536
    )
    seed: int | None = setting(
        None, "same seed, same text; none = drawn and printed", at_least=0, below=2**64
    )
    unknown: Literal["error", "skip", "similar", "replace"] = setting(
        "error", "what to do with a prompt character that the model does not know"
    )
    batch: int = setting(64, "samples written side by side", at_least=1, at_most=65_536)
    engine: Literal["auto", "torch", "scratch", "fused"] = setting("auto", "auto, torch, scratch or fused")
    precision: Literal["float32", "float64", "int8"] = setting(
        "float32",
        "arithmetic of the forward pass; int8 = matrices of the fused engine in bytes, twice as fast",
    )
    threads: int | None = setting(
        None, "threads of the fused engine; none = one for a single sample, all for several", at_least=1
    )

    def __post_init__(self) -> None:
        check_bounds(self)
