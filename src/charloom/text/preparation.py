"""Prepare a corpus of any size: texts become a file of ids in bounded memory, and a killed preparation is taken up again.

    sources → numbers, in one pass, in the work folder           every 64 MB the state is written down
    numbers → ids with their checksums → renamed into place      when all symbols are known

The work folder takes two bytes for each character while the work lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.text.catalogue import with_known_corpora
from charloom.text.checksums import CheckedIds
from charloom.text.corpus import Corpus
from charloom.text.encode import Encoded, encode_parts, id_blocks
from charloom.text.inputs import TEXT, TextInput, absolute, corpus_name, find_inputs
from charloom.text.pipes import can_be_read_once
from charloom.text.prepared import is_room_for, open_prepared, stored_stamps, write_ids
from charloom.text.reading_need import preparing_need
from charloom.text.source_text import OutdatedError, Reading
from charloom.text.sources import BLOCK
from charloom.text.stamps import Stamp, stamp_of, stamps_of
from charloom.text.unpack import MAX_EXPANSION
from charloom.text.workspace import EVERY_BYTES, Workspace

Report = Callable[[float], None]
"""Is told the share of the work that is done, from 0 to 1."""

_TOO_MANY = ["there are too many sources to keep a checksum of each: --check compares the ids only"]
_READING = 0.85  # of the time, about; the rest is for writing the ids


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    config: TextConfig | None = None,
    *,
    val: str | Path | None = None,
    test: str | Path | None = None,
    stdin: BinaryIO | None = None,
    block_size: int = BLOCK,
    max_expansion: int = MAX_EXPANSION,
    report: Report | None = None,
) -> dict[str, Any]:
    """Encode texts to an id file, in bounded memory; `out` appears complete or not at all.

    If the process is killed, the same call goes on where it was, and the file is the same, byte for byte. It begins
    again if a source has changed, after a power cut, with standard input or pipes, and without compiled kernels.

    Args:
        sources: as in `read_corpus`.
        out: the file to write, in a folder that must exist.
        config: how to read the texts; the file records it, and it can no longer be changed.
        val: a text to validate on.
        test: a text used only for testing.
        stdin: the stream that ``-`` reads.
        block_size: bytes read at a time.
        max_expansion: bytes per compressed byte above which a compressed file of more than 1 GiB is refused.
        report: told about progress.

    Returns:
        ``chars``, ``bytes`` (of text, decompressed), ``vocab_size``, ``bytes_per_s`` (of what this call read),
        ``peak_rss_bytes`` (of the whole process; None if the system does not report it), ``resumed_bytes`` (of text
        that a killed call had read) and ``notes``.

    Raises:
        DataError: as `read_corpus`.
        RunError: `out` cannot be written, or another process is preparing it.
    """
    out, config, started = Path(out), config or TextConfig(), time.perf_counter()
    sources, known = with_known_corpora(sources)
    how: dict[str, Any] = {"block_size": block_size, "max_expansion": max_expansion}

    once = any(can_be_read_once(source) for source in (*sources, val or "", test or ""))

    def found_inputs(*, may_assume: bool) -> tuple[dict[str, Sequence[TextInput]], list[str]]:
        found = find_inputs(sources, config, val=val, test=test, stdin=stdin, **how)
        for text in _readings(found[0]):
            text.may_assume = may_assume
        return found

    inputs, notes = found_inputs(may_assume=not once)
    preparing_need([text.source.path for text in _readings(inputs)], config).check()
    before = [stamp_of(text.source.path) for text in _readings(inputs) if text.source.path is not None]
    names = [*absolute(sources), str(val), str(test)]
    with Workspace(out, None if once else _job(config, names, before, block_size)) as space:
        try:
            journal, encoded = _encode(inputs, config, space, report)
        except OutdatedError:
            space.start_over()
            inputs, notes = found_inputs(may_assume=False)
            journal, encoded = _encode(inputs, config, space, report)
        notes = [*known, *notes, *encoded.notes]
        corpus = _without_ids(encoded, config, corpus_name(sources), absolute(sources), notes)
        stamps = stamps_of(_readings(inputs))
        kept, blocks = stamps if is_room_for(stamps) else [], _reported(encoded, report)
        space.finish(lambda handle: write_ids(handle, corpus, blocks, _extents(encoded), stamps=kept))
    num_bytes = sum(text.num_bytes for text in _readings(inputs))
    return {
        "chars": corpus.num_chars,
        "bytes": num_bytes,
        "vocab_size": len(encoded.vocab),
        "bytes_per_s": (num_bytes - journal.resumed_bytes) / (time.perf_counter() - started),
        "peak_rss_bytes": peak_rss_bytes(),
        "resumed_bytes": journal.resumed_bytes,
        "notes": [*notes, *_changed_meanwhile(before, stamps), *_TOO_MANY[: len(stamps) - len(kept)]],
    }


def _job(
    config: TextConfig, names: list[str], stamps: Sequence[Stamp | None], block_size: int
) -> dict[str, Any]:
    """What decides the result of a preparation: work on another job is not taken up."""
    files = [asdict(stamp) for stamp in stamps if stamp is not None]
    return {"config": asdict(config), "sources": names, "stamps": files, "block_size": block_size}


def check_prepared(path: str | Path, report: Report | None = None) -> dict[str, Any]:
    """Compare all checksums of a prepared file, and its sources with what was read of them.

    Returns:
        ``chunks``, the number of checksums (0 if the file was written before there were any), and ``sources``: the
        name of each → unchanged, changed or missing.

    Raises:
        DataError: it is not a prepared corpus, or is damaged.
    """
    path = Path(path)
    ids, stamps = open_prepared(path).train, stored_stamps(path)
    assert isinstance(ids, CheckedIds)
    num_chunks = ids.verify_file()
    findings: dict[str, str] = {}
    for number, stamp in enumerate(stamps, 1):
        findings[stamp.name] = stamp.compare()
        if report is not None:
            report(number / len(stamps))
    return {"chunks": num_chunks, "sources": findings}


def peak_rss_bytes() -> int | None:
    """The peak memory of this process; None on Windows, which does not report it."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Journal:
    """Writes the state of a reading to the work folder every `EVERY_BYTES` bytes, and reports progress."""

    def __init__(
        self, space: Workspace, inputs: Mapping[str, Sequence[TextInput]], report: Report | None
    ) -> None:
        self._space, self._report = space, report
        self._saved_at = self.resumed_bytes = 0
        self._text: Reading | None = None
        self._earlier_bytes = self._earlier_progress = 0  # of the texts before this one
        sizes = [stamp_of(text.source.path) for text in _readings(inputs) if text.source.path is not None]
        self._total = sum(stamp.size for stamp in sizes if stamp is not None)

    def begin(self) -> dict[str, Any] | None:
        """What was written down last, if there is anything."""
        state = self._space.state
        if state is None:
            return None
        encoder: dict[str, Any] = state["encoder"]
        finished = sum(num_bytes for num_bytes, _, _ in encoder["finished"])
        self._earlier_bytes = self._earlier_progress = finished
        self.resumed_bytes = self._saved_at = finished + encoder["text"]["num_bytes"]
        return encoder

    def note(self, text: Reading, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state down if enough has been read since the last time."""
        if text is not self._text:
            if self._text is not None:
                self._earlier_bytes += self._text.num_bytes
                self._earlier_progress += self._text.progress
            self._text = text
        num_bytes = self._earlier_bytes + text.num_bytes
        if num_bytes - self._saved_at >= EVERY_BYTES:
            self._space.save(state())
            self._saved_at = num_bytes
        if self._report is not None and self._total:
            self._report(_READING * min(1.0, (self._earlier_progress + text.progress) / self._total))


def _encode(
    inputs: Mapping[str, Sequence[TextInput]], config: TextConfig, space: Workspace, report: Report | None
) -> tuple[_Journal, Encoded]:
    journal = _Journal(space, inputs, report)
    return journal, encode_parts(inputs, config, space.spool, journal)


def _readings(inputs: Mapping[str, Sequence[TextInput]]) -> list[Reading]:
    return [text for texts in inputs.values() for text in texts if isinstance(text, Reading)]


def _reported(encoded: Encoded, report: Report | None) -> Iterator[Any]:
    """The ids of all parts, in blocks."""
    total, done = sum(part.length for part in encoded.parts.values()), 0
    for part in encoded.parts.values():
        for block in id_blocks(part, encoded.vocab):
            yield block
            done += len(block)
            if report is not None:
                report(_READING + (1 - _READING) * done / total)


def _extents(encoded: Encoded) -> dict[str, list[int]]:
    """Name of each part of the corpus → its first id in the file and the one after its last."""
    starts, num_ids = {}, 0
    for role, part in encoded.parts.items():
        starts[role] = num_ids
        num_ids += part.length
    return {
        name: [starts[role] + start, starts[role] + stop]
        for name, (role, start, stop) in encoded.extents.items()
    }


def _without_ids(
    encoded: Encoded, config: TextConfig, name: str, sources: tuple[str, ...], notes: list[str]
) -> Corpus:
    """What the header says of a corpus whose ids are still numbers in a work folder."""
    return Corpus(
        name=name,
        vocab=encoded.vocab,
        config=config,
        train=np.empty(0, encoded.vocab.dtype),
        validation=None,
        test=None,
        sha256=encoded.sha256,
        num_chars=encoded.parts[TEXT].num_chars,
        sources=sources,
        notes=tuple(notes),
    )


def _changed_meanwhile(before: Sequence[Stamp | None], after: Sequence[Stamp]) -> list[str]:
    """A note for each source that was written to while it was read."""
    files = {stamp.name: (stamp.size, stamp.mtime_ns) for stamp in before if stamp is not None}
    return [
        f"{stamp.name} was written to while it was read: prepare it again when it is complete"
        for stamp in after
        if files.get(stamp.name) != (stamp.size, stamp.mtime_ns)
    ]
