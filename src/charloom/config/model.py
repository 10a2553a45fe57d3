"""The settings of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.declare import check_bounds, setting
from charloom.errors import ConfigError


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
