"""A model file bound to engines, the basis of every use of a trained model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from charloom.api.keywords import refuse_unknown, takes_settings
from charloom.api.settings import SampleSettings
from charloom.config import SampleConfig, TextConfig, from_dict
from charloom.engines import EngineModel, load_engine
from charloom.ensemblefile import EnsembleFile, bound, write_ensemble
from charloom.errors import CharloomError, RunError, missing_extra
from charloom.files import atomic_write
from charloom.modelfile import ModelFile, single_network_needed, write_model
from charloom.run_corpus import Source, corpus_of
from charloom.runs import Run, results_line
from charloom.summary import Summarised, Summary
from charloom.text import Corpus, Vocabulary

if TYPE_CHECKING:
    from charloom.page import PagePrecision


@dataclass(frozen=True, repr=False)
class BoundModel(Summarised):
    """A model file whose parameters are bound to an engine on first use; `Model` adds the verbs.

    Attributes:
        file: parameters, configurations, vocabulary and card; of an ensemble, those of its members.
        run: the run folder the model was loaded from, or None.
        engine: torch, scratch or fused; auto is fused on a CPU, and scores with torch on other devices.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: float32 or float64; the fused engine also has int8.
        trained_on: the corpus it was trained on in this process, or None; `corpus` returns or reads it.
    """

    file: ModelFile | EnsembleFile
    run: Run | None = None
    engine: str = "auto"
    device: str = "cpu"
    precision: str = "float32"
    trained_on: Corpus | None = dataclasses.field(default=None, repr=False, compare=False)
    _decoders: dict[Any, EngineModel] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def summary(self) -> Summary:
        """The network, its results on held-out text, its corpus and its run."""
        card = self.card
        what, num_params = _network_of(self.file)
        title = f"{what}, {num_params:,} parameters, vocabulary of {len(self.vocab)}"
        results, corpus = card.get("results", {}), card.get("corpus", {})
        rows = [
            ("held out", results_line(results, self.vocab.unit)),
            ("run", "" if self.run is None else str(self.run.path)),
            ("corpus", f"{corpus['name']}, {corpus['num_chars']:,} characters" if corpus else ""),
            *((verdict["kind"], verdict["says"]) for verdict in results.get("verdicts", ())),
        ]
        return Summary(title, tuple((label, text) for label, text in rows if text))

    @property
    def vocab(self) -> Vocabulary:
        """The characters that the model knows."""
        return self.file.vocab

    @property
    def card(self) -> dict[str, Any]:
        """The corpus, settings and results of its training."""
        return self.file.card

    @property
    def network(self) -> ModelFile:
        """The file of a single network.

        Raises:
            ModelFileError: the model is an ensemble.
        """
        if isinstance(self.file, EnsembleFile):
            raise single_network_needed("the model")
        return self.file

    @cached_property
    def bound(self) -> EngineModel:
        """The parameters bound to the scoring engine, with `initial_state`, `forward` and `step`."""
        task: Literal["training", "scoring"] = "scoring" if self.device == "cpu" else "training"
        engine = load_engine(self.engine, task=task)
        return bound(self.file, engine, device=self.device, precision=self.precision)

    def decoder(self, config: SampleConfig) -> EngineModel:
        """Bind the parameters to the engine that generates, which `config` may name; cached for the next call."""
        engine = self.engine if config.engine == "auto" else config.engine
        task: Literal["training", "writing"] = "writing" if self.device in ("auto", "cpu") else "training"
        precision = self.precision if config.precision == "float32" else config.precision
        key = (engine, precision, config.threads, config.portable)
        if key not in self._decoders:
            self._decoders[key] = bound(
                self.file,
                load_engine(engine, task=task),
                device=self.device,
                precision=precision,
                threads=config.threads,
                portable=config.portable,
            )
        return self._decoders[key]

    @property
    def default_prompt(self) -> str:
        """The prompt of the recipe if the model knows all its characters; otherwise empty."""
        prompt: str = self.card.get("sample", {}).get("prompt", "")
        return "" if self.vocab.unknown(prompt) else prompt

    @takes_settings(SampleConfig)
    def sample_config(self, **settings: Unpack[SampleSettings]) -> SampleConfig:
        """Resolve sampling settings: those given, then the recipe's, then the defaults."""
        refuse_unknown(BoundModel.sample_config, settings)
        defaults = {name: value for name, value in self.card.get("sample", {}).items() if name != "prompt"}
        return from_dict(SampleConfig, {**defaults, **settings}, source="sample")

    def save(self, path: Source) -> None:
        """Write the model, or the ensemble with all its members, as one safetensors file."""
        if isinstance(self.file, EnsembleFile):
            write_ensemble(Path(path), self.file)
        else:
            write_model(Path(path), self.file)

    def export_onnx(self, path: Source) -> None:
        """Write the network as one ONNX file, with its state as inputs and outputs (see `charloom.export.onnx`).

        Raises:
            MissingExtraError: the onnx package is not installed.
            ModelFileError: the weights are too large for the format.
        """
        from charloom.export import shareable, write_onnx

        write_onnx(Path(path), shareable(self.network))

    def export_html(
        self,
        path: Source,
        *,
        precision: PagePrecision = "float16",
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        """Write one page that generates text in a browser, offline (see `charloom.page`).

        Args:
            path: the file to write.
            precision: how the weights are stored; with float32 and int8 the page writes the text of
                ``sample(portable=True)`` with the same seed.
            on_note: as in `export_card`.

        Raises:
            ConfigError: charloom was installed without the WebAssembly module, or a weight is too large for float16.
        """
        from charloom.api.exports import page_with_facts

        place = Path(path)
        name = place.stem if self.run is None else self.run.path.resolve().name
        note = on_note or warnings.warn
        atomic_write(place, page_with_facts(self, title=name, precision=precision, on_note=note))

    def export_card(self, path: Source, *, on_note: Callable[[str], None] | None = None) -> None:
        """Write a model card in Markdown: recorded facts, a sample, and the longest copy from the training text.

        `on_note` receives a sentence if the training text is not available, and so not compared.
        """
        from charloom.api.exports import card_of

        place = Path(path)
        name = place.stem if self.run is None else self.run.path.resolve().name
        atomic_write(place, card_of(self, title=name, on_note=on_note or warnings.warn))

    def export_hub(self, folder: Source, *, on_note: Callable[[str], None] | None = None) -> list[Path]:
        """Write a folder for the Hugging Face Hub: weights, config.json, and a card with a program that loads them.

        Args:
            folder: a new one, or an earlier export; `charloom.export.push_hub_folder` uploads it.
            on_note: as in `export_card`.

        Raises:
            RunError: the folder has other files.
        """
        from charloom.api.exports import write_hub_export

        return write_hub_export(self, Path(folder), on_note=on_note or warnings.warn)

    def torch_module(self) -> Any:
        """Return the network as a `torch.nn.Module`: ``logits, state = module(ids, state)``."""
        return torch_module_code().CharModule(
            self.network.model_config, self.network.parameters, len(self.vocab)
        )

    def reading(self, encoding: str | None = None) -> TextConfig:
        """Return how to read another text for this model: as its training text, but completely.

        Args:
            encoding: of that text; None = detect it.
        """
        return dataclasses.replace(self.file.text_config, encoding=encoding, take_chars=None)

    def corpus(self) -> Corpus:
        """Return the corpus that the model was trained on; a loaded model reads its run's again and checks it.

        Raises:
            RunError: the model was loaded without its run, or the corpus was changed, moved or given in memory.
        """
        if self.trained_on is not None:
            return self.trained_on
        if self.run is None:
            what, why = (
                "this model was loaded without its run",
                "only a run folder records where its corpus is",
            )
            raise RunError(what, why=why, fix="name a text, or the run folder")
        return corpus_of(self.run)

    def corpus_or_note(self, on_note: Callable[[str], None], *, cannot: str) -> Corpus | None:
        """Read the corpus as `corpus` does; if it is not available, return None and note what charloom cannot do."""
        try:
            return self.corpus()
        except CharloomError as error:
            on_note(f"cannot {cannot}: {error.what}")
            return None


def _network_of(file: ModelFile | EnsembleFile) -> tuple[str, int]:
    """What a file contains, and its number of parameters."""
    if isinstance(file, EnsembleFile):
        return f"Ensemble of {len(file.members)} models", file.num_params
    network, num_params = file.model_config, sum(int(array.size) for array in file.parameters.values())
    return (
        f"Model: {network.num_layers} x {network.cell} of {network.hidden_size}, {network.block}",
        num_params,
    )


def torch_module_code() -> Any:
    """Import the module that converts models to and from torch.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "torch_module and from_torch")
    from charloom.engines.torch import module

    return module
