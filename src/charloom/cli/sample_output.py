"""Where the samples of ``charloom sample`` go: standard output, a file for each, a page, or the JSON object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charloom.cli.failures import UsageError
from charloom.cli.novelty import SamplesNovelty, marks, to_json
from charloom.cli.output import Show

if TYPE_CHECKING:
    from charloom.generation import Sample


class Output(NamedTuple):
    """Where samples go instead of standard output, and what separates them there; None = not asked for."""

    separator: str | None = None
    out_dir: Path | None = None
    html: Path | None = None

    @property
    def has_files(self) -> bool:
        """Whether the samples are written to files."""
        return self.out_dir is not None or self.html is not None

    def check(self, show: Show) -> None:
        """Refuse a separator that separates nothing, and a folder in which samples would be overwritten.

        Raises:
            UsageError: --separator, and no sample is printed as text.
            RunError: the folder has samples already.
        """
        from charloom.errors import RunError

        if self.separator is not None and (show.as_json or self.has_files):
            elsewhere = "--json" if show.as_json else "--html" if self.out_dir is None else "--out-dir"
            what, why = f"--separator and {elsewhere} are both given", "then no samples are printed as text"
            raise UsageError(what, why=why, fix="keep one")
        if self.out_dir is not None and next(self.out_dir.glob("sample-*.txt"), None) is not None:
            what, why = (
                f"{self.out_dir} contains samples",
                "they would be overwritten or mixed with the new ones",
            )
            raise RunError(what, why=why, fix="name another folder with --out-dir, or remove them")


def print_samples(
    show: Show,
    samples: Sequence[Sample],
    copies: SamplesNovelty | None,
    *,
    separator: str | None,
    are_documents: bool,
) -> None:
    """Print finished samples: with the separator between them, if given.

    Otherwise documents without newlines are printed one per line, and several others under headings.
    """
    from charloom.generation import visible
    from charloom.report.samples import marked_parts

    if show.as_json:
        return
    one_line = not any("\n" in sample.prompt + sample.text for sample in samples)
    headings = separator is None and len(samples) > 1 and not (are_documents and one_line)
    spans = [[] for _ in samples] if copies is None else [one.spans for one in copies.each]
    for number, (sample, copied) in enumerate(zip(samples, spans, strict=True), 1):
        if headings:
            blank = "" if number == 1 else "\n"
            show.line(f"{blank}=== sample {number} of {len(samples)} ===")
        elif separator is not None and number > 1:
            show.text(separator)
        show.text(visible(sample.prompt), dim=True)
        for part, mark in marked_parts(sample.text, copied):
            show.text(visible(part), mark=mark)
        if separator is None or number == len(samples):
            show.line()
    if separator and (num := sum(separator in one.prompt + one.text for one in samples)):
        show.notes(f"{num:,} of the samples contain the separator; --out-dir or --json keeps them apart")


def write_files(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """Write each sample, exactly as generated, to a file of its own: sample-1.txt, …; the folder is made."""
    from charloom.files import atomic_write, make_folder

    make_folder(folder)
    width, paths = len(str(len(samples))), []
    for number, one in enumerate(samples, 1):
        path = folder / f"sample-{number:0{width}}.txt"
        atomic_write(path, (one.prompt + one.text).encode("utf-8", "backslashreplace"))
        paths.append(path)
    return paths


def write_samples_page(
    path: Path,
    model: str,
    samples: Sequence[Sample],
    settings: dict[str, Any],
    copies: SamplesNovelty | None,
) -> None:
    """Write the samples to a page."""
    from charloom.files import atomic_write
    from charloom.report.samples import samples_page

    shown = {"model": model, **{name: value for name, value in settings.items() if value is not None}}
    title, copied = f"Written by {Path(model).name}", None if copies is None else marks(copies)
    atomic_write(path, samples_page(list(samples), title=title, settings=shown, marks=copied))


def as_json(
    samples: Sequence[Sample], elapsed_s: float, unseen: float | None, paths: Sequence[Path]
) -> dict[str, Any]:
    """The samples for the JSON object, with their files if there are any."""
    chars = sum(len(sample.text) for sample in samples)
    files = [{"file": str(path)} for path in paths] or [{} for _ in samples]
    return {
        "samples": [
            {"prompt": s.prompt, "text": s.text, "finish_reason": s.finish_reason, "seed": s.seed}
            | ({} if s.log_probs is None else {"logprobs_nats": list(s.log_probs)})
            | file
            for s, file in zip(samples, files, strict=True)
        ],
        "chars_per_s": chars / elapsed_s if elapsed_s > 0 else math.nan,
        **({} if unseen is None else {"unseen_share": unseen}),
    }


def with_novelty(result: dict[str, Any], copies: SamplesNovelty | None) -> dict[str, Any]:
    """Add the copies to the JSON object; null if the corpus is not available."""
    each = [None] * len(result["samples"]) if copies is None else [to_json(one) for one in copies.each]
    samples = [sample | {"novelty": novelty} for sample, novelty in zip(result["samples"], each, strict=True)]
    return result | {"samples": samples, "novelty": None if copies is None else copies.whole}
