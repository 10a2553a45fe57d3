"""Models that differ in their training seed only, with the spread of their loss."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from charloom.api.model import Model


@dataclass(frozen=True, repr=False)
class SeedModels:
    """The models of ``charloom.train(…, seeds=N)``: a sequence of them, and how much their figures vary.

    Attributes:
        models: one per seed.
        seeds: of each model.
    """

    models: tuple[Model, ...]
    seeds: tuple[int, ...]

    @property
    def val_bits_per_char(self) -> tuple[float, ...]:
        """Of each model, on the held-out text (stream protocol); empty if nothing was held out."""
        found = [model.card["results"]["val_bits_per_char"] for model in self.models]
        return () if None in found else tuple(found)

    @property
    def mean_bits_per_char(self) -> float | None:
        """The mean over the seeds; None if nothing was held out."""
        return statistics.mean(found) if (found := self.val_bits_per_char) else None

    @property
    def sd_bits_per_char(self) -> float | None:
        """The standard deviation over the seeds (n − 1); None if nothing was held out."""
        return statistics.stdev(found) if (found := self.val_bits_per_char) else None

    def __len__(self) -> int:
        return len(self.models)

    def __getitem__(self, index: int) -> Model:
        return self.models[index]

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __repr__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        if self.mean_bits_per_char is None:
            return f"SeedModels(seeds {seeds})"
        spread = f"{self.mean_bits_per_char:.4f} ± {self.sd_bits_per_char:.4f}"
        return f"SeedModels(seeds {seeds}: {spread} bits, mean ± sd on held-out text)"
