"""Failures of a request, in the envelope that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

RETRY_AFTER_S = 1

MAX_HEAD_BYTES = 16 << 10
"""Largest head of a request: its line and headers."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer other than 200.

    Args:
        status: the HTTP status.
        message: what happened, why, and how to fix it.
        code: a word for programs.
        param: the field of the request that is wrong.
        headers: to send along.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers)

    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def invalid(param: str | None, message: str, *, code: str = "invalid_value") -> Refusal:
    """A request that cannot be served as it is written."""
    return Refusal(400, message, code=code, param=param)


def busy(num_choices: int, num_held: int, most: int) -> Refusal:
    """There is no place for the request now."""
    return full(
        f"the server holds {num_held} texts of at most {most}, and this request asks for {num_choices}"
    )


def crowded(most: int) -> Refusal:
    """All connections are taken."""
    return full(f"the server has {most} connections, the most that it takes")


def full(what: str) -> Refusal:
    """There is no place or memory for the request now."""
    return Refusal(429, f"{what}: try again soon", code="busy", headers={"Retry-After": str(RETRY_AFTER_S)})


def large_head() -> Refusal:
    """The line and the headers of a request are too long."""
    what = f"the head of the request has more than {MAX_HEAD_BYTES} bytes, the limit of this server"
    return Refusal(431, what, code="head_too_large", headers={"Connection": "close"})


def stopping() -> Refusal:
    """The server is about to exit."""
    return Refusal(503, "the server is stopping", code="stopping", headers={"x-should-retry": "false"})


def too_late(deadline_s: float) -> Refusal:
    """The request took too long; it would again."""
    return Refusal(
        504,
        f"the request took longer than {deadline_s:g} s: ask for fewer characters",
        code="deadline",
        headers={"x-should-retry": "false"},
    )


def too_slow(what: str, waited_s: float) -> Refusal:
    """The client kept the server waiting."""
    return Refusal(
        408,
        f"{what} did not arrive within {waited_s:.0f} s",
        code="too_slow",
        headers={"Connection": "close"},
    )


def internal() -> Refusal:
    """A fault of the server; the log says more."""
    return Refusal(500, "the server failed; its log says where", code="internal_error")
