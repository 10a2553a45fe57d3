"""``charloom plan``: say what a training would come to, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.failures import UsageError
from charloom.cli.flags import ValidationFile, option, verb
from charloom.cli.output import Show, quoted
from charloom.cli.train import RecipeName, TestFile, Text
from charloom.config import ModelConfig, TextConfig, TrainConfig, to_dict
from charloom.memory import Need, shown_bytes

if TYPE_CHECKING:
    from charloom.forecast import Forecast
    from charloom.text import Corpus

Devices = Annotated[
    str | None,
    option("devices to compare, with commas, such as cpu,cuda:0 [default: the one that train uses]"),
]


def plan(
    show: Show,
    *text: Text,
    recipe: RecipeName = None,
    devices: Devices = None,
    val: ValidationFile = None,
    test: TestFile = None,
    **settings: Any,
) -> None:
    """Plan.

    Takes the words of `charloom train` and trains nothing: it prints the settings that train would use, and what they
    come to on this machine: speed, characters read, bits per character with an interval that holds four times in five,
    memory, and energy where the processor reports it. It measures the speed with updates on the text, for up to ten
    seconds, and the text with an n-gram.
    """
    from charloom.forecast import forecast
    from charloom.recipes import find_recipe
    from charloom.recipes.set_up import check_job, settings_for

    first, *others = _devices(devices, settings)
    show.progress("reading the text")
    chosen = settings if first is None else settings | {"device": first}
    corpus, resolved = check_job(*text, recipe=recipe, val=val, test=test, **chosen)
    named = None if recipe is None else find_recipe(recipe)
    plans = [resolved, *(settings_for(corpus, named, settings | {"device": device}) for device in others)]
    found = []
    for own in plans:
        show.note("measuring the speed of training here, for up to 10 seconds")
        found.append(forecast(corpus, own, progress=show.progress))
        show.notes(*found[-1].notes)
        _print(show, corpus, found[-1])
    show.line(f"next:\n  {_command(text, recipe, val, test, settings)}")
    show.object({"text": _text_json(corpus), "plans": [_json(one) for one in found], **_json(found[0])})


def _devices(devices: str | None, settings: Mapping[str, Any]) -> list[str | None]:
    """The devices to forecast for; None is the one that the settings choose."""
    if devices is None:
        return [None]
    if settings.get("device") is not None:
        what, why = "--devices and --device are both given", "each names where to train"
        raise UsageError(what, why=why, fix="keep one of them")
    names: list[str | None] = [name.strip() for name in devices.split(",")]
    if not all(names):
        what, why = f"devices is {devices!r}", "a name is empty"
        raise UsageError(what, why=why, fix="separate names with single commas: --devices cpu,cuda")
    return names


def _print(show: Show, corpus: Corpus, found: Forecast) -> None:
    """The forecast in a few lines."""
    resolved, speed = found.resolved, found.speed
    unit = corpus.vocab.unit
    show.line(f"{corpus.name}: {resolved.reason}")
    show.line(f"  network     {_network(resolved.model_config)}, {found.num_params:,} parameters")
    show.line(
        f"  speed       {speed.chars_per_s:,.0f} characters a second on {speed.device}, {_threads(speed.threads)} "
        f"({speed.steps:,} updates measured)"
    )
    show.line(
        f"  training    {found.steps:,} updates, {found.read_chars:,} characters, {found.epochs:.1f} passes, "
        f"{_seconds(found.wall_s)} in all"
    )
    show.line(f"  expected    {_expected(found, unit)}")
    need = Need("the training", found.memory)
    show.line(f"  memory      {shown_bytes(need.total)}: {need.arithmetic()}")
    show.line(f"  energy      {_energy(found)}")


def _expected(found: Forecast, unit: str) -> str:
    if found.estimate is None or found.facts is None:
        return f"no loss: {found.no_estimate}"
    one = found.estimate
    beyond = "; beyond what was measured, so the interval is doubled" if one.is_extrapolated else ""
    return (
        f"{one.bits_per_char:.3f} bits/{unit}, 80 % interval {one.low:.3f} to {one.high:.3f} "
        f"(n-gram of order {found.facts.best_order}: {found.facts.best_bits:.3f}){beyond}"
    )


def _network(config: ModelConfig) -> str:
    block = "residual " if config.block == "residual" else ""
    layers = f"{config.num_layers} {block}{config.cell} layer{'s' * (config.num_layers > 1)}"
    return f"{layers} of {config.hidden_size} units"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number > 1)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _energy(found: Forecast) -> str:
    if found.joules is None:
        return "not known: the processor's counters (RAPL) cannot be read here"
    return f"{found.joules / 3600:.2f} Wh of the processor, at {found.speed.watts:.0f} W"


def _command(
    text: tuple[str, ...], recipe: str | None, val: str | None, test: str | None, settings: Mapping[str, Any]
) -> str:
    """The training that was planned."""
    named = {"recipe": recipe, "val": val, "test": test, **settings}
    words = ["charloom", "train", *map(quoted, text)]
    for name, value in named.items():
        if name in settings or value is not None:
            words += _flag(name, value)
    return " ".join(words)


def _flag(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return [f"--{flag}", "none" if value is None else quoted(shown)]


def _text_json(corpus: Corpus) -> dict[str, Any]:
    held_out = corpus.validation
    return {
        "name": corpus.name,
        "train_chars": len(corpus.train),
        "validation_chars": 0 if held_out is None else len(held_out),
        "vocab_size": len(corpus.vocab),
        "unit": corpus.vocab.unit,
    }


def _json(found: Forecast) -> dict[str, Any]:
    """One forecast; its units are in its keys."""
    one, facts, speed = found.estimate, found.facts, found.speed
    return {
        "device": speed.device,
        "model": to_dict(found.resolved.model_config),
        "train": to_dict(found.resolved.train_config),
        "recipe": found.resolved.recipe,
        "reason": found.resolved.reason,
        "num_params": found.num_params,
        "chars_per_s": speed.chars_per_s,
        "threads": speed.threads,
        "steps": found.steps,
        "chars_seen": found.read_chars,
        "epochs": found.epochs,
        "wall_time_s": found.wall_s,
        "bits_per_char": None if one is None else one.bits_per_char,
        "bits_per_char_low": None if one is None else one.low,
        "bits_per_char_high": None if one is None else one.high,
        "interval_level": 0.8,
        "is_extrapolated": None if one is None else one.is_extrapolated,
        "no_estimate": found.no_estimate,
        "ngram_bits_per_char": None if facts is None else facts.best_bits,
        "ngram_order": None if facts is None else facts.best_order,
        "memory_bytes": {**found.memory, "total": sum(found.memory.values())},
        "energy_j": found.joules,
        "watts": speed.watts,
    }


app = verb(
    TextConfig,
    ModelConfig,
    TrainConfig,
    usage="plan [TEXT...] [--minutes X] [--devices cpu,cuda] [settings of train]",
    examples="""
        charloom plan tales.txt --minutes 2
        charloom plan tales.txt --recipe flash --minutes 2 --json
        charloom plan names.txt --documents line --steps 40 --devices cpu
    """,
)(plan)
