"""``charloom info``: describe a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.cli.flags import ModelPath, verb
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.ensemblefile import EnsembleFile
    from charloom.modelfile import ModelFile


def info(show: Show, model: ModelPath, /) -> None:
    """Describe a model.

    Everything is read from the model file; neither the corpus nor torch is needed.
    """
    from charloom.ensemblefile import EnsembleFile, read_model_or_ensemble
    from charloom.runs import Run, is_shared_folder

    path = place = Path(model)
    if path.is_dir():
        path = Run(path).model_path if is_shared_folder(path) else Run.open(path).model_path
    file = read_model_or_ensemble(path)
    if isinstance(file, EnsembleFile):
        facts = _facts_of_ensemble(path, file)
        _print_ensemble(show, facts, place)
    else:
        facts = _facts(path, file)
        _print(show, facts, place)
    show.notes(*_newer_names(file, path, place))
    show.object(facts)


def _newer_names(file: ModelFile | EnsembleFile, path: Path, place: Path) -> list[str]:
    """Notes on what a newer version has recorded in the cards, and in the configuration of a run."""
    from charloom.ensemblefile import EnsembleFile
    from charloom.modelfile import newer_names_of_card
    from charloom.runs import Run, newer_names

    cards = [(f"the card of {path}", file.card)]
    if isinstance(file, EnsembleFile):
        cards += [(f"the card of member {n} of {path}", one.card) for n, one in enumerate(file.members, 1)]
    notes = [note for source, card in cards for note in newer_names_of_card(card, source)]
    return notes + (list(newer_names(Run(place))) if Run(place).config_path.is_file() else [])


def _facts(path: Path, file: ModelFile) -> dict[str, Any]:
    from charloom.config import to_dict

    return {
        "num_params": sum(int(array.size) for array in file.parameters.values()),
        "parameters": {name: list(array.shape) for name, array in file.parameters.items()},
        "config": to_dict(file.model_config),
        **_facts_of_text(path, file),
    }


def _facts_of_text(path: Path, file: ModelFile | EnsembleFile) -> dict[str, Any]:
    from charloom.config import to_dict

    vocab = file.vocab
    return {
        "model": str(path),
        "bytes": path.stat().st_size,
        "text": to_dict(file.text_config),
        "unit": vocab.unit,
        "vocab_size": len(vocab),
        "vocab": "".join(map(chr, vocab.symbols)) if vocab.unit == "char" else None,
        "specials": list(vocab.specials),
        "card": file.card,
    }


def _facts_of_ensemble(path: Path, file: EnsembleFile) -> dict[str, Any]:
    members = [_facts(path, member) for member in file.members]
    kept = ("num_params", "parameters", "config", "card")
    return {
        **_facts_of_text(path, file),
        "num_params": file.num_params,
        "members": [{name: member[name] for name in kept} for member in members],
    }


def _print_ensemble(show: Show, facts: dict[str, Any], place: Path) -> None:
    from charloom.cli.output import quoted

    members = facts["members"]
    show.line(f"model:    an ensemble of {len(members)}: the mean of their probabilities")
    size = (
        f"{facts['num_params']:,} parameters, {facts['bytes']:,} bytes, vocabulary of {facts['vocab_size']:,}"
    )
    show.line(f"size:     {size}")
    show.line(f"sample:   charloom sample {quoted(place)} --length 300 --temperature 0.7")
    for number, member in enumerate(members, 1):
        show.line()
        show.line(f"member {number}")
        lines = _headline({**facts, **member}, place)
        show.line("\n".join(line for line in lines if not line.startswith(("size:", "sample:"))))
        show.line(f"size:     {member['num_params']:,} parameters")
    show.line()
    _print_vocabulary(show, facts)


def _print_vocabulary(show: Show, facts: dict[str, Any]) -> None:
    from charloom.generation.escape import visible

    _print_settings(show, "text", facts["text"])
    specials = f", and {' '.join(facts['specials'])}" if facts["specials"] else ""
    show.line(f"vocabulary: {facts['vocab_size']:,} ids, one per {facts['unit']}{specials}")
    if facts["vocab"] is not None:
        show.line(visible(facts["vocab"].replace("\n", "␊")))


def _print(show: Show, facts: dict[str, Any], place: Path) -> None:
    show.line("\n".join(_headline(facts, place)))
    show.line()
    _print_settings(show, "model", facts["config"])
    show.line("parameters:")
    for name, shape in facts["parameters"].items():
        show.line(f"  {name:<24} {' x '.join(map(str, shape))}")
    _print_vocabulary(show, facts)
    _print_card(show, facts["card"])


def _headline(facts: dict[str, Any], place: Path) -> list[str]:
    """The five lines that matter: what, trained on what, how large, how good, how to sample."""
    from charloom.cli.output import quoted
    from charloom.progress import clock

    config, card, unit = facts["config"], facts["card"], facts["unit"]
    results, corpus = card.get("results", {}), card.get("corpus", {})
    plural = "layer" if config["num_layers"] == 1 else "layers"
    network = (
        f"{config['cell']}, {config['num_layers']} {plural} of {config['hidden_size']}, {config['block']}"
    )
    trained = "unknown, its card does not say"
    if corpus:
        trained = f"{corpus.get('name')}, {corpus.get('num_chars', 0):,} characters"
    if "steps" in results:
        trained += f", in {results['steps']:,} steps ({clock(results.get('train_time_s', 0.0))} of updates)"
    beside = [("n-gram", "ngram_bits_per_char"), ("xz", "xz_bits_per_char")]
    figures = [f"{name} {results[key]:.3f}" for name, key in beside if results.get(key) is not None]
    held_out = "not measured"
    if results.get("val_bits_per_char") is not None:
        held_out = f"{results['val_bits_per_char']:.3f} bits/{unit}" + f" ({', '.join(figures)})" * bool(
            figures
        )
    documents = facts["text"]["documents"] != "none"
    size = (
        f"{facts['num_params']:,} parameters, {facts['bytes']:,} bytes, vocabulary of {facts['vocab_size']:,}"
    )
    return [
        f"model:    {network}",
        f"text:     {trained}",
        f"size:     {size}",
        f"held out: {held_out}",
        f"sample:   charloom sample {quoted(place)} {'--count 20' if documents else '--length 300'} --temperature 0.7",
    ]


def _print_settings(show: Show, title: str, settings: dict[str, Any]) -> None:
    show.line(f"{title} settings:")
    for name, value in settings.items():
        show.line(f"  {name:<16} {'none' if value is None else value}")


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
