"""Models without a network: each row is computed with integers only, so no batch can change a bit."""

import numpy as np

from charloom.text.vocabulary import Vocabulary

BYTES = Vocabulary("byte", tuple(range(256)))
MODULUS = 1_000_003


class HashModel:
    """Looks up logits by a hash of all ids read so far: one lost or extra id changes everything that follows."""

    def __init__(self, vocab):
        self.vocab_size = len(vocab)
        self.table = np.random.default_rng(7).normal(scale=2.0, size=(997, len(vocab))).astype(np.float32)
        self.forwards = []  # the shape of each `forward`
        self.batches = []  # the number of rows of each `step`

    def initial_state(self, batch_size):
        return [{"h": np.zeros((batch_size, 1), np.int64)}, {"c": np.zeros((batch_size, 2, 1), np.int64)}]

    def forward(self, ids, state):
        self.forwards.append(ids.shape)
        logits = []
        for t in range(ids.shape[1]):
            row, state = self._read(ids[:, t], state)
            logits.append(row)
        return np.stack(logits, axis=1), state

    def step(self, ids, state):
        self.batches.append(len(ids))
        return self._read(ids, state)

    def _read(self, ids, state):
        h, c = state[0]["h"], state[1]["c"]
        assert len(ids) == len(h) == len(c)
        h = (h * 31 + ids[:, None] + 1) % MODULUS
        c = (c * 17 + h[:, None]) % MODULUS
        return self.table[(h[:, 0] + c[:, 0, 0]) % len(self.table)], [{"h": h}, {"c": c}]

    def export_state(self, state):
        return state

    def import_state(self, state):
        return state


class ScriptModel(HashModel):
    """Generates, repeatedly, the ids that `scripts` has for the last id of the prompt."""

    def __init__(self, vocab, scripts):
        super().__init__(vocab)
        self.scripts = scripts

    def forward(self, ids, state):
        self.forwards.append(ids.shape)
        state = [{"h": np.stack([ids[:, -1], np.zeros(len(ids), np.int64)], axis=1)}]
        return np.repeat(self._logits(state)[:, None], ids.shape[1], axis=1), state

    def step(self, ids, state):
        self.batches.append(len(ids))
        state = [{"h": state[0]["h"] + [0, 1]}]
        return self._logits(state), state

    def _logits(self, state):
        logits = np.zeros((len(state[0]["h"]), self.vocab_size), np.float32)
        for row, (prompt_id, position) in enumerate(state[0]["h"].tolist()):
            script = self.scripts[prompt_id]
            logits[row, script[position % len(script)]] = 100.0
        return logits


def scripted(vocab, text):
    """A model that generates `text` repeatedly after any prompt."""
    ids = vocab.encode(text).tolist() if isinstance(text, str) else list(text)
    return ScriptModel(vocab, dict.fromkeys(range(len(vocab)), ids))
