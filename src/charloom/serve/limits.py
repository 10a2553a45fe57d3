"""What one server does at most: every queue, body, text and time has an end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a server. A choice is one text of a request: `n` for each prompt."""

    parallel: int = 64  # choices written together; one whose client is slow does not count
    queue: int = 64  # further choices that wait; a request beyond is answered with 429
    deadline_s: float = 300.0  # of a request, from its arrival
    max_tokens: int = 16_384  # of a choice
    max_prompt_chars: int = 65_536
    max_choices: int = 64  # of a request
    max_body_bytes: int = 1 << 20
    max_pending_chars: int = 4096  # not yet taken by a client, before its choices wait for it
    max_cache_bytes: int = 64 << 20  # of states kept to continue texts from
    max_cached_states: int = 1024
    max_connections: int = 1024  # the one that has waited longest for a request makes room for a new one
    head_s: float = 10.0  # for the head of a request, and between two requests
    body_s: float = 30.0  # for its body
    send_s: float = 60.0  # for a client to take the next 64 kB of its answer
    max_arriving_bytes: int = 64 << 20  # of all bodies at a time that are not small
    refusal_share: float = 0.2  # of the time, for requests that are refused; beyond, their answers wait
    max_score_bytes: int = 512 << 20  # of log-probabilities of all requests at a time; a quarter for one

    @property
    def max_held(self) -> int:
        """Choices that the server holds at a time: written, waiting, or waiting for their clients."""
        return self.parallel + self.queue
