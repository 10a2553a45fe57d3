"""A session: one text that is fed and continued, in any order, as often as you like.

    session.feed("Once upon")    the model reads
    session.write(200)           the model writes, and reads what it wrote
    other = session.fork()       the same point in the same text, from which both go on by themselves
    session.save(path)           all of it in one file, without the model

What is written depends on seed, text so far and settings alone, not on how it was cut into calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import SampleConfig, TextConfig, from_dict, to_dict
from charloom.engines import Rows
from charloom.generation.pens import new_pen
from charloom.generation.prompts import encode_prompt
from charloom.generation.reading import READ_LENGTH, first_rows, with_opening
from charloom.generation.rows import Row
from charloom.generation.writer import choice_of, remembered
from charloom.modelfile import check_tensors, damaged, load_tensors, read_header, write_tensors

if TYPE_CHECKING:
    from charloom.engines import Model
    from charloom.text.vocabulary import Vocabulary

FORMAT = "charloom-session-1"
"""What the header of a saved session names."""


class Session:
    """A text in the making; `begin` makes one, `Model.session` for a loaded model.

    Args:
        model: any engine's.
        vocab: its vocabulary.
        text_config: how its training text was read; what is fed gets the same normal form.
        config: temperature, filters, penalty; its length and count are not read.
        seed: of every draw.
        rows: where the text stands, one row; None before anything was read.
    """

    def __init__(
        self,
        model: Model,
        vocab: Vocabulary,
        text_config: TextConfig,
        config: SampleConfig,
        *,
        seed: int,
        rows: Rows | None = None,
    ) -> None:
        self._model, self._vocab, self._text_config = model, vocab, text_config
        self._config, self.seed, self._rows = config, seed, rows

    @classmethod
    def begin(
        cls, model: Model, vocab: Vocabulary, text_config: TextConfig, config: SampleConfig, *, seed: int
    ) -> Session:
        """A session in which nothing was read yet."""
        return cls(model, vocab, text_config, config, seed=seed)

    def feed(self, text: str) -> tuple[str, ...]:
        """Let the model read a text behind all that was read and written.

        Returns:
            One note for each unknown character that `config.unknown` left out or changed.

        Raises:
            UnknownCharacterError: as `encode_prompt`; nothing was read then.
        """
        ids, notes = encode_prompt(text, self._vocab, self._config.unknown, self._text_config)
        if self._rows is None:
            opening = with_opening(ids, self._vocab)
            self._rows = first_rows(self._model, [opening], [0], remembered(self._config))
            return notes
        for start in range(0, len(ids), READ_LENGTH):
            self._rows = self._read(self._rows, ids[start : start + READ_LENGTH])
        return notes

    def _read(self, rows: Rows, ids: Any) -> Rows:
        logits, state = self._model.forward(ids[None], rows.state)
        recent = rows.recent
        if recent.shape[1] > 0:  # by age, and back to where position turns
            W, turn = recent.shape[1], int(rows.positions[0]) % recent.shape[1]
            by_age = np.concatenate([np.roll(recent[0], -turn), ids])[-W:]
            recent = np.roll(by_age, turn)[None]
        return replace(rows, logits=logits[:, -1], state=state, recent=recent)

    def write(self, length: int) -> str:
        """Let the model write so many characters; fewer where it ends the document."""
        return "".join(self.stream(length))

    def stream(self, length: int = 0) -> Iterator[str]:
        """Yield characters one by one, as they come; 0 = until the model ends the document, or for ever.

        A character that was written and not yet taken stays in the session only if the iterator is run to its end.
        """
        if self._rows is None:
            self.feed("")
        assert self._rows is not None
        row = Row(0, "", self._vocab, length=length or None)
        pen = new_pen(self._model, self._rows, choice_of(self._config, self._vocab, self.seed))
        while row.finish_reason is None:
            ids, lengths, _ = pen.write(row.most)
            yield from row.read(ids[0, : lengths[0]])
        self._rows = pen.rows()

    def fork(self) -> Session:
        """A session at the same point: nothing is copied until one of the two goes on."""
        return Session(
            self._model, self._vocab, self._text_config, self._config, seed=self.seed, rows=self._rows
        )

    def with_seed(self, seed: int) -> Session:
        """A fork that goes on with other draws."""
        other = self.fork()
        other.seed = seed
        return other

    def save(self, path: Path | str) -> None:
        """Write the session, without its model, as one safetensors file."""
        rows, tensors = self._rows, {}
        about = {"seed": self.seed, "config": to_dict(self._config)}
        if rows is not None:
            tensors["logits"] = np.asarray(rows.logits)
            for i, layer in enumerate(self._model.export_state(rows.state)):
                tensors |= {f"state.{i}.{key}": leaf for key, leaf in layer.items()}
            about |= {"recent": rows.recent.tolist(), "positions": rows.positions.tolist()}
        write_tensors(Path(path), tensors, {"format": FORMAT, "session": json.dumps(about)})

    def load(self, path: Path | str) -> Session:
        """The session of a file that `save` wrote with this model.

        Raises:
            ModelFileError: the file is damaged, no session, or another network's.
        """
        path = Path(path)
        header, metadata = read_header(path)
        if metadata.get("format") != FORMAT:
            raise damaged(path, "its header names no session", "name a file that a session was saved to")
        about = json.loads(metadata["session"])
        config = from_dict(SampleConfig, about["config"], source=str(path))
        rows = None
        if header:
            state = self._model.export_state(self._model.initial_state(1))
            shapes = {
                f"state.{i}.{k}": leaf.shape for i, layer in enumerate(state) for k, leaf in layer.items()
            }
            check_tensors(path, header, {"logits": (1, len(self._vocab)), **shapes})
            tensors = load_tensors(path)
            leaves = [{k: tensors[f"state.{i}.{k}"] for k in layer} for i, layer in enumerate(state)]
            recent, positions = (np.array(about[key], np.int64) for key in ("recent", "positions"))
            rows = Rows(
                tensors["logits"], self._model.import_state(leaves), recent, positions, np.zeros(1, np.int64)
            )
        return Session(self._model, self._vocab, self._text_config, config, seed=about["seed"], rows=rows)
