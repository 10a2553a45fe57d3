"""The application: which function answers which path."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from charloom import __version__
from charloom.schema import MalformedError, json_value
from charloom.serve.answers import (
    DONE_EVENT,
    Completion,
    error_event,
    json_bytes,
    model_list,
    model_object,
)
from charloom.serve.batcher import Batcher
from charloom.serve.completions import BYTES_PER_TOKEN, CompletionRequest, find_model, parse_request
from charloom.serve.counters import Counters
from charloom.serve.guard import Guard, at_end
from charloom.serve.job import Job, TextPart
from charloom.serve.limits import Limits
from charloom.serve.memory_pool import MemoryPool, MemoryShare
from charloom.serve.openapi import description
from charloom.serve.page import PAGE_HEADERS, REPORTS, front_page
from charloom.serve.refusal import Refusal, internal, invalid, too_slow
from charloom.serve.served_model import ServedModel
from charloom.serve.side_thread import SMALL_BYTES, SideThread
from charloom.serve.throttle import Throttle
from charloom.serve.tokenizer import detokenized, tokenized, tokenizer_info

MAX_CONTAINERS = 1024
"""Lists and objects in a request: one for each prompt, and what a client adds as its metadata."""

_EVENT_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Service:
    """The models, and a function for each path.

    Args:
        models: by name; the first answers requests that name none.
        limits: of the server.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.counters = Counters()
        self.batcher = Batcher(models, limits, self.counters)
        self.is_stopping = False
        self._bodies = MemoryPool("the bodies of other requests", limits.max_arriving_bytes)
        self._scores = MemoryPool("the log-probabilities of other requests", limits.max_score_bytes)
        self.throttle = Throttle(limits.refusal_share)
        self._side_thread = SideThread(self.throttle)

    def close(self) -> None:
        """End the threads; what is left fails."""
        self.batcher.close()
        self._side_thread.close()

    def stop(self) -> None:
        """Take no further requests."""
        self.is_stopping = True
        self.batcher.stop_admitting()

    async def completions(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        async with self._body(request) as content:
            self.batcher.check_room()  # before any work for it
            parsed = await self._side_thread.run(len(content), self._parsed_request, content)
        at_end(request).enter_context(self._scores.share()).grow(parsed.score_bytes)
        job = Job(
            parsed.choices,
            deadline_s=self.limits.deadline_s,
            streams=parsed.streams,
            max_pending=self.limits.max_pending_chars,
            on_change=self.batcher.wake,
        )
        self.batcher.submit(job)
        at_end(request).callback(
            job.cancel
        )  # a client that takes nothing ends the answer, but not its iterator
        completion = Completion(parsed.model)
        if parsed.streams:
            events = self._events(job, parsed, completion)
            return StreamingResponse(events, media_type="text/event-stream", headers=_EVENT_HEADERS)
        pieces = await self._whole(job, request)
        return _json(await self._side_thread.run(parsed.score_bytes, completion.whole, job, pieces))

    def _parsed_request(self, content: bytes) -> CompletionRequest:
        return parse_request(_parsed(content), self.models, self.limits)

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, whose memory is taken as it arrives and given back at the end."""
        with self._bodies.share() as share:
            try:
                async with asyncio.timeout(self.limits.body_s):
                    content = await _whole_body(request, self.limits.max_body_bytes, share)
            except TimeoutError:
                raise too_slow("the body of the request", self.limits.body_s) from None
            yield content

    async def _events(
        self, job: Job, parsed: CompletionRequest, completion: Completion
    ) -> AsyncIterator[bytes]:
        try:
            async with contextlib.aclosing(job.pieces()) as arriving:
                async for pieces in arriving:
                    num_bytes = sum(len(piece.tokens) for piece in pieces) * BYTES_PER_TOKEN
                    yield await self._side_thread.run(num_bytes, completion.events, pieces)
        except Refusal as refusal:
            yield error_event(refusal.envelope())
            return
        finally:
            self._count_left(job)
        if parsed.include_usage:
            yield completion.usage_event(job)
        yield DONE_EVENT

    async def _whole(self, job: Job, request: Request) -> list[TextPart]:
        """All pieces; if the client leaves first, the job is cancelled."""
        writing = asyncio.create_task(_collected(job))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                job.cancel()
                raise Refusal(499, "the client left", code="cancelled")
            return writing.result()
        finally:
            for task in (writing, leaving):
                task.cancel()
            self._count_left(job)

    def _count_left(self, job: Job) -> None:
        """Count a job that its client has left before it was complete."""
        if any(choice.finish_reason is None for choice in job.choices):
            self.counters.cancelled += 1

    async def list_models(self, _request: Request) -> Response:
        """``GET /v1/models``."""
        return _json(json_bytes(model_list(self.models.values())))

    async def one_model(self, request: Request) -> Response:
        """``GET /v1/models/{id}``."""
        model = find_model(request.path_params["id"], self.models)
        return _json(json_bytes(model_object(model, with_vocabulary=True)))

    async def tokenizer_info(self, _request: Request) -> Response:
        """``GET /tokenizer_info``."""
        return _json(json_bytes(tokenizer_info(find_model(None, self.models))))

    async def tokenize(self, request: Request) -> Response:
        """``POST /tokenize`` and ``POST /detokenize``."""
        convert = tokenized if request.url.path == "/tokenize" else detokenized
        async with self._body(request) as content:
            return _json(await self._side_thread.run(len(content), self._converted, content, convert))

    def _converted(self, content: bytes, convert: Callable[[Any, ServedModel], dict[str, Any]]) -> bytes:
        given = _parsed(content)
        name = given.get("model") if isinstance(given, dict) else None
        if not isinstance(name, str | None):
            raise invalid("model", "model must be of type string")
        return json_bytes(convert(given, find_model(name, self.models)))

    async def health(self, _request: Request) -> Response:
        """``GET /health``."""
        status = "stopping" if self.is_stopping else "ok"
        return _json(json_bytes({"status": status}), status=503 if self.is_stopping else 200)

    async def metrics(self, _request: Request) -> Response:
        """``GET /metrics``."""
        text = self.counters.text(self.batcher.gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, _request: Request) -> Response:
        """``GET /openapi.json``."""
        return _json(json_bytes(description(__version__)))

    async def front(self, request: Request, *, needs_key: bool) -> Response:
        """``GET /``."""
        del request
        return HTMLResponse(front_page(self.models.values(), needs_key=needs_key), headers=PAGE_HEADERS)

    async def report(self, request: Request) -> Response:
        """``GET /reports/{id}``: what ``charloom inspect`` wrote for a run."""
        model = find_model(request.path_params["id"], self.models)
        if model.report is None or not model.has_report:
            raise Refusal(404, f"the run {model.name!r} was not inspected", code="no_report")
        try:
            size = model.report.stat()
        except OSError as error:  # it has gone since
            raise Refusal(404, f"the report of {model.name!r} cannot be read", code="no_report") from error
        return FileResponse(model.report, media_type="text/html", headers=PAGE_HEADERS, stat_result=size)


def create_app(
    service: Service,
    *,
    key: str | None = None,
    names: Iterable[str] | None = None,
    trusted: Iterable[str] = (),
) -> ASGIApp:
    """The application of a service, behind its `Guard`, whose arguments the others are."""
    routes = [
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{id:path}", service.one_model),
        Route("/tokenizer_info", service.tokenizer_info),
        Route("/tokenize", service.tokenize, methods=["POST"]),
        Route("/detokenize", service.tokenize, methods=["POST"]),
        Route("/health", service.health),
        Route("/metrics", service.metrics),
        Route("/openapi.json", service.openapi),
        Route(f"{REPORTS}/{{id:path}}", service.report),
        Route("/", partial(service.front, needs_key=key is not None)),
    ]
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _refuse, Refusal: _refuse, Exception: _fail}
    )
    return Guard(
        app,
        key=key,
        names=names,
        trusted=trusted,
        counters=service.counters,
        throttle=service.throttle,
        send_s=service.limits.send_s,
    )


async def _refuse(request: Request, error: Exception) -> Response:
    """The envelope for what Starlette refuses (no such path, another method) and for our own refusals."""
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path[:100]}: {error.detail}"
        error = Refusal(error.status_code, message, code=code, headers=error.headers or {})
    assert isinstance(error, Refusal)
    return _json(json_bytes(error.envelope()), status=error.status, headers=error.headers)


async def _fail(_request: Request, _error: Exception) -> Response:
    """The envelope for a fault of our own, which the `Guard` logs."""
    refusal = internal()
    return _json(json_bytes(refusal.envelope()), status=refusal.status)


def _json(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status_code=status, media_type="application/json", headers=headers)


async def _whole_body(request: Request, most: int, share: MemoryShare) -> bytes:
    """The body, of which no more than `most` bytes are read."""
    announced = request.headers.get("content-length", "0")
    parts, size = [], int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    if size <= most:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                break
            if size > SMALL_BYTES:
                share.grow(len(part))
            parts.append(part)
    if size > most:
        what = f"the body has more than {most} bytes, the limit of this server"
        raise Refusal(413, what, code="body_too_large", headers={"Connection": "close"})
    return b"".join(parts)


def _parsed(body: bytes) -> Any:
    try:
        return json_value(body, most_containers=MAX_CONTAINERS)
    except MalformedError as error:
        raise invalid(None, f"the body cannot be read: {error}", code="invalid_json") from error


async def _collected(job: Job) -> list[TextPart]:
    async with contextlib.aclosing(job.pieces()) as arriving:
        return [piece async for pieces in arriving for piece in pieces]


async def _left(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
