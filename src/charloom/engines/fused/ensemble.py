"""An ensemble of fused models that generates in one compiled loop: every member reads, and their mean is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, byref
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.engines import DecodeOutput, DecodeState, SamplingParams
from charloom.engines.contract import unflatten_state
from charloom.engines.ensemble import EnsembleModel
from charloom.engines.fused.helper_threads import HelperThreads, shares
from charloom.engines.fused.model import ROWS_A_THREAD, FusedModel, not_a_distribution
from charloom.engines.fused.passes import new_samples, new_thread_contexts, new_workspace, sampling_rules
from charloom.kernels.library import declarations, library, pointer

if TYPE_CHECKING:
    from numpy import ndarray as Array


class FusedEnsemble(EnsembleModel):
    """The `EnsembleModel` and the `BatchDecoder` of fused models; several samples are divided among `threads`."""

    def __init__(self, members: Sequence[FusedModel], *, threads: int, portable: bool = False) -> None:
        super().__init__(members)
        self._fused, self._threads, self.dtype = tuple(members), threads, members[0].dtype
        self._helpers = HelperThreads()
        compiled = library()
        assert compiled is not None, "load_engine asks first"
        flavour = "portable" if portable else "float64" if self.dtype == np.float64 else "float32"
        self._decode = compiled.function("decode_ensemble", flavour)

    def decode(
        self,
        before: DecodeState,
        params: SamplingParams | Sequence[SamplingParams],
        num_chars: int,
        *,
        log_probs: bool = False,
    ) -> DecodeOutput:
        """Generate and read up to `num_chars` characters per sample."""
        B = len(before.positions)
        ids, scores = np.empty((B, num_chars), np.int64), np.empty((B, num_chars * log_probs))
        logits = np.array(before.logits, self.dtype, order="C")
        recent, positions = np.array(before.recent, np.int64, order="C"), np.array(before.positions, np.int64)
        numbers = np.array(before.samples, np.int64)
        states = [one.flat_state(own) for one, own in zip(self._fused, self.split(before.state), strict=True)]
        each = [params] * B if isinstance(params, SamplingParams) else params
        rules = sampling_rules(each, self.vocab_size)
        calls, kept = [], []
        for rows in shares(B, min(self._threads, B // ROWS_A_THREAD)):
            members, owners = self._members([state[rows] for state in states], rows.stop - rows.start)
            samples = new_samples(logits[rows], states[0][rows], recent[rows], positions[rows], numbers[rows])
            found = np.empty((len(members), rows.stop - rows.start, self.vocab_size), self.dtype)
            passed = (members, len(members), pointer(found), rules.row(rows.start), byref(samples))
            outputs = (pointer(ids[rows]), pointer(scores[rows]) if log_probs else None)
            calls.append((*passed, self.vocab_size, num_chars, *outputs))
            kept.append((owners, found, samples))
        if self._helpers.run(self._decode, calls) < 0:
            raise not_a_distribution()
        state = [
            layer
            for one, flat in zip(self._fused, states, strict=True)
            for layer in unflatten_state(one.config, flat)
        ]
        after = DecodeState(logits, state, recent, positions, before.samples)
        return DecodeOutput(after, ids, positions - before.positions, scores)

    def _members(self, states: Sequence[Array], num_rows: int) -> tuple[Any, list[Any]]:
        """The members as the compiled loop reads them, and the owners of the memory that they point to."""
        kind = declarations().structs["Member"]
        members, owners = (kind * len(states))(), []
        for member, model, state in zip(members, self._fused, states, strict=True):
            net, (context,) = model.net, new_thread_contexts(model.net, num_rows, 1)
            parts = (net.struct, new_workspace(net, num_rows), context)
            member.net, member.work, member.context = map(addressof, parts)
            member.state = pointer(state)
            owners += [parts, state]
        return members, owners
