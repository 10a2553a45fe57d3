"""What this engine runs and trains so far; all else is refused before any work, with the engine that does it."""

from __future__ import annotations

from charloom.config import ModelConfig, TrainConfig
from charloom.engines.draws import SITES
from charloom.errors import ConfigError


def check_model(config: ModelConfig) -> None:
    """Refuse every network but a plain Elman one of one layer.

    Raises:
        ConfigError: naming the setting.
    """
    _refuse(
        {
            f"cell is {config.cell!r}": config.cell != "elman",
            f"block is {config.block!r}": config.block != "plain",
            f"num_layers is {config.num_layers}": config.num_layers != 1,
            "tie_embeddings is on": config.tie_embeddings,
        },
        "the fused engine runs plain Elman networks of one layer, with an output layer of their own, so far",
        "--engine auto or scratch",
    )


def check_training(config: ModelConfig, train_config: TrainConfig) -> None:
    """Refuse what the online trainer does not train.

    Raises:
        ConfigError: naming the setting.
    """
    check_model(config)
    dropout = {site: getattr(config, f"dropout_{site}") for site in SITES}
    _refuse(
        {
            f"batch_size is {train_config.batch_size}": train_config.batch_size != 1,
            **{f"dropout_{site} is {rate}": rate > 0 for site, rate in dropout.items()},
            f"bias is {train_config.bias!r}": train_config.bias != "single",
            f"optimizer is {train_config.optimizer!r}": train_config.optimizer == "muon",
            f"precision is {train_config.precision!r}": train_config.precision == "bfloat16",
            f"freeze is {train_config.freeze!r}": train_config.freeze is not None,
            "wrap_targets is on": train_config.wrap_targets,
        },
        "the fused engine's online trainer reads one stream, in float32 or float64, and has none of dropout, bias pair, "
        "muon, frozen parameters and wrapped targets",
        "--engine auto or scratch",
    )


def resolve_device(name: str) -> str:
    """``cpu``, also for ``auto``.

    Raises:
        ConfigError: another device.
    """
    if name not in ("auto", "cpu"):
        raise ConfigError(
            f"device is {name!r}",
            why="the fused engine computes on the processor",
            fix="use --device cpu, or --engine torch",
        )
    return "cpu"


def _refuse(cases: dict[str, bool], why: str, instead: str) -> None:
    for what, refused in cases.items():
        if refused:
            raise ConfigError(what, why=why, fix=f"use {instead}")
