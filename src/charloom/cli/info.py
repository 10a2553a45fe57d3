"""``charloom info``: what a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from charloom.cli.flags import option, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.modelfile import ModelFile


def info(show: Show, model: Annotated[str, option("a run folder or a model file")], /) -> None:
    """Describe.

    All of it stands in the model file: neither the corpus nor torch is needed.
    """
    from pathlib import Path

    from charloom.modelfile import read_model
    from charloom.runs import Run

    place = Path(model)
    path = Run.open(place).model_path if place.is_dir() else place
    file = read_model(path)
    facts = _facts(path, file)
    if not show.as_json:
        _print(show, facts)
    show.object(facts)


def _facts(path: Any, file: ModelFile) -> dict[str, Any]:
    from charloom.config import to_dict

    vocab = file.vocab
    shapes = {name: list(array.shape) for name, array in file.parameters.items()}
    return {
        "model": str(path),
        "bytes": path.stat().st_size,
        "num_params": sum(int(array.size) for array in file.parameters.values()),
        "parameters": shapes,
        "config": to_dict(file.model_config),
        "text": to_dict(file.text_config),
        "unit": vocab.unit,
        "vocab_size": len(vocab),
        "vocab": "".join(map(chr, vocab.symbols)) if vocab.unit == "char" else None,
        "specials": list(vocab.specials),
        "card": file.card,
    }


def _print(show: Show, facts: dict[str, Any]) -> None:
    from charloom.generation.visible import visible

    show.line(f"{facts['model']}: {facts['bytes']:,} bytes, {facts['num_params']:,} parameters")
    show.line("settings of the model:")
    for name, value in facts["config"].items():
        show.line(f"  {name:<16} {'none' if value is None else value}")
    show.line("parameters:")
    for name, shape in facts["parameters"].items():
        show.line(f"  {name:<24} {' x '.join(map(str, shape))}")
    show.line("settings of the text:")
    for name, value in facts["text"].items():
        show.line(f"  {name:<16} {'none' if value is None else value}")
    specials = f", and {' '.join(facts['specials'])}" if facts["specials"] else ""
    show.line(f"vocabulary: {facts['vocab_size']:,} ids, one a {facts['unit']}{specials}")
    if facts["vocab"] is not None:
        show.line(visible(facts["vocab"].replace("\n", "\x0a".translate({10: "␊"}))))
    _print_card(show, facts["card"])


def _print_card(show: Show, card: dict[str, Any]) -> None:
    show.line("card:")
    for name, value in card.items():
        if name == "verdicts":
            continue
        if isinstance(value, dict):
            show.line(f"  {name}:")
            for key, inner in value.items():
                if key != "verdicts":
                    show.line(f"    {key:<20} {'none' if inner is None else inner}")
        else:
            show.line(f"  {name}: {value}")
    for verdict in card.get("results", {}).get("verdicts", []):
        show.line(f"  {verdict['kind']}: {verdict['says']}")


app = verb(
    usage="info MODEL [options]",
    examples="""
        charloom info runs/tales
        charloom info runs/tales/model.safetensors --json
    """,
)(info)
