"""The settings that the online trainer supports; others are refused before training starts."""

from __future__ import annotations

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.draws import SITES
from charloom.errors import ConfigError


def check_training(config: ModelConfig, train_config: TrainConfig) -> None:
    """Refuse settings that the online trainer does not support, with a ConfigError."""
    dropout = {site: getattr(config, f"dropout_{site}") for site in SITES}
    cases = {
        f"cell is {config.cell!r}": config.cell != "elman",
        f"block is {config.block!r}": config.block != "plain",
        f"num_layers is {config.num_layers}": config.num_layers != 1,
        "tie_embeddings is on": config.tie_embeddings,
        f"batch_size is {train_config.batch_size}": train_config.batch_size != 1,
        **{f"dropout_{site} is {rate}": rate > 0 for site, rate in dropout.items()},
        f"bias is {train_config.bias!r}": train_config.bias != "single",
        f"optimizer is {train_config.optimizer!r}": train_config.optimizer == "muon",
        f"precision is {train_config.precision!r}": train_config.precision == "bfloat16",
        f"freeze is {train_config.freeze!r}": train_config.freeze is not None,
        "wrap_targets is on": train_config.wrap_targets,
    }
    for what, refused in cases.items():
        if refused:
            raise ConfigError(
                what,
                why="the fused engine's online trainer supports only a plain Elman network of one layer with a "
                "separate output layer, on one stream, in float32 or float64, without dropout, bias pair, muon, "
                "frozen parameters and wrapped targets",
                fix="use --engine auto or scratch",
            )
