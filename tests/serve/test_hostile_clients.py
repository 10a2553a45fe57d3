"""Clients that break HTTP, wait, send too much or take nothing: refused in the envelope, at a bounded price."""

import asyncio
import contextlib
import json
import logging
import select
import socket
import sys
import time
from collections import deque

import pytest

from charloom.serve import Limits
from tests.serve.conftest import asked, got, posted, serving
from tests.serve.sockets import PATIENCE_S, answer_of, listening, request

pytest.importorskip("uvicorn", reason="the server needs uvicorn")

HASTE = {"head_s": 0.4, "body_s": 0.4, "send_s": 0.4, "max_connections": 20, "max_body_bytes": 100_000}
SMALL = json.dumps({"prompt": "ab", "max_tokens": 3, "seed": 1}).encode()


@pytest.fixture(scope="module")
def server(models):
    with listening(models, **HASTE) as server:
        yield server


def is_served(server):
    return server.send(request(SMALL))[0] == 200


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


BROKEN = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "invalid_http"),
    "no Host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "invalid_http"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400, "invalid_http"),
    "a space before a colon": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "invalid_http"),
    "a bare control character": (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: \0\r\n\r\n", 400, "invalid_http"),
    "two lengths": (request(SMALL, "Content-Length: 5", "Content-Length: 50"), 400, "invalid_http"),
    "a negative length": (request(SMALL, "Content-Length: -5"), 400, "invalid_http"),
    "a length in words": (request(SMALL, "Content-Length: five"), 400, "invalid_http"),
    "a length beyond every body": (request(SMALL, "Content-Length: 99999999999"), 413, "body_too_large"),
    "a length and chunks": (
        request(b"2\r\n{}\r\n0\r\n\r\n", "Content-Length: 2", "Transfer-Encoding: chunked"),
        400,
        "invalid_header",
    ),
    "an unknown coding": (request(b"", "Transfer-Encoding: gzip, chunked"), 400, "invalid_http"),
    "chunks of no length": (request(b"x\r\n{}\r\n", "Transfer-Encoding: chunked"), 400, "invalid_http"),
    "a large head": (request(SMALL, "A: " + "a" * 70_000), 431, "head_too_large"),
    "many headers": (request(SMALL, *["A: b"] * 9000), 431, "head_too_large"),
    "a long target": (request(SMALL, target="/" + "a" * 70_000), 431, "head_too_large"),
    "a head in two parts": (
        request(SMALL, "A: " + "a" * 16_000, "B: " + "b" * 16_000),
        431,
        "head_too_large",
    ),
    "two keys": (request(SMALL, "Authorization: Bearer a", "Authorization: Bearer b"), 400, "invalid_header"),
    "two Origins": (
        request(SMALL, "Origin: http://localhost", "Origin: http://e.example"),
        400,
        "invalid_header",
    ),
    "a folded Host": (request(SMALL, host="localhost\r\n .evil.example"), 403, "wrong_host"),
    "another Host": (request(SMALL, host="evil.example"), 403, "wrong_host"),
    "a user in the Host": (request(SMALL, host="evil.example@localhost"), 403, "wrong_host"),
    "another origin": (request(SMALL, "Origin: http://evil.example"), 403, "wrong_origin"),
    "a whole address": (request(SMALL, target="http://evil.example/v1/completions"), 404, "not_found"),
    "another method": (request(SMALL, method="TRACE"), 405, "method_not_allowed"),
    "a tunnel": (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
    "a body of nothing": (request(b"\0" * 50), 400, "invalid_json"),
    "a body that is not UTF-8": (request(b'{"prompt": "\xff\xfe"}'), 400, "invalid_json"),
    "a body that is too large": (request(b" " * 100_001), 413, "body_too_large"),
}


@pytest.mark.parametrize(("content", "status", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_request_is_refused_in_the_envelope(server, content, status, code):
    found, body = server.send(content)
    assert (found, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert is_served(server)


@pytest.mark.parametrize("sent", [b"POST /v1/completions HTTP/1.1\r\nHost: local", request(SMALL)[:-5]])
def test_a_request_that_does_not_go_on_is_answered_with_408(server, sent):
    with server.connect() as client:
        client.sendall(sent)
        status, body = answer_of(client)
        assert (status, body["error"]["code"]) == (408, "too_slow")
        assert client.recv(1) == b""


@pytest.mark.parametrize("before", [b"", request(SMALL)])
def test_a_connection_without_a_request_is_closed_silently(server, before):
    with server.connect() as client:
        if before:
            client.sendall(before)
            assert answer_of(client)[0] == 200
        assert client.recv(1) == b""


def test_a_refused_body_is_not_read_for_ever(server):
    with server.connect() as client:
        client.sendall(request(b"", "Transfer-Encoding: chunked", target="/nowhere"))
        assert answer_of(client)[0] == 404
        with contextlib.suppress(ConnectionError):
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                client.sendall(b"1\r\n \r\n")
                time.sleep(0.02)
            pytest.fail("it was read without end")


def test_half_sent_requests_do_not_keep_others_out(server):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(60)]
        for client in held:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            assert is_served(server)
        until(lambda: len(server.connections) <= 20)
    until(lambda: len(server.connections) == 0)


def test_with_every_connection_at_work_a_further_one_is_refused(models):
    with listening(models, max_connections=2, max_tokens=10**8) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(server.connect())
            busy.sendall(request(json.dumps({"max_tokens": 10**8, "stream": True}).encode()))
            assert busy.recv(12) == b"HTTP/1.1 200"
        late = stack.enter_context(server.connect())
        status, body = answer_of(late)
        assert (status, body["error"]["code"]) == (429, "busy")


def test_a_client_that_takes_nothing_is_cut(models):
    with listening(models, **HASTE | {"max_tokens": 10**8}) as server:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", server.port))
        stuck.sendall(request(json.dumps({"max_tokens": 10**8, "stream": True}).encode()))
        until(lambda: server.service.counters.written_chars > 0)
        until(lambda: len(server.connections) == 0)
        until(lambda: server.service.batcher.gauges()["choices_held"][1] == 0)
        stuck.close()


def test_a_client_that_leaves_within_its_body_is_no_fault(server, caplog):
    caplog.set_level(logging.INFO, "charloom.serve")
    with server.connect() as client:
        client.sendall(request(SMALL, "Content-Length: 5000"))
        time.sleep(0.05)
    until(lambda: any("499" in record.getMessage() for record in caplog.records))
    assert not [record for record in caplog.records if record.exc_info]
    assert server.service.counters.answers[500] == 0


def test_a_fault_of_our_own_has_the_envelope_and_says_nothing_of_it(models, monkeypatch, caplog):
    def fail(*_args, **_more):
        raise ValueError("/secret/path")

    monkeypatch.setattr("charloom.serve.app.parse_request", fail)
    with listening(models) as server:
        status, body = server.send(request(SMALL))
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert any(record.exc_info for record in caplog.records)


def test_bodies_share_their_memory(models):
    with listening(models, max_arriving_bytes=100_000) as server, server.connect() as large:
        large.sendall(request(b" " * 90_000, "Content-Length: 100000"))
        time.sleep(0.2)
        status, body = server.send(request(b" " * 60_000))
        assert (status, body["error"]["code"]) == (429, "busy")
        assert is_served(server)
        large.close()
        until(lambda: server.service._bodies.taken == 0)


def test_log_probabilities_share_their_memory(models):
    body = {"prompt": "ab" * 1000, "max_tokens": 0, "echo": True, "logprobs": 5}
    least = 2000 * 1650
    with serving(models, max_score_bytes=4 * least) as service:
        answers = asked(service, *[body] * 8)
        assert {answer.status_code for answer in answers} == {200, 429}
        assert service._scores.taken == 0
        assert asked(service, body)[0].status_code == 200
    with serving(models, max_score_bytes=4 * least - 4) as service:
        (answer,) = asked(service, body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logprobs")


def test_the_memory_of_log_probabilities_is_not_below_what_is_reckoned(models):
    import tracemalloc

    with serving(models) as service:
        for num_top in (0, 1, 20):
            body = {"prompt": "ab" * 10_000, "max_tokens": 0, "echo": True, "logprobs": num_top}
            tracemalloc.start()
            (answer,) = asked(service, body)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            reckoned = 20_000 * (500 + 230 * num_top)
            assert most < 1.5 * reckoned + len(answer.content) * 4, (num_top, most, reckoned)


def test_a_range_is_ignored(service, tmp_path):
    from dataclasses import replace

    page = tmp_path / "report.html"
    page.write_text("0123456789")
    service.models = {"tales": replace(service.models["tales"], report=page)}
    for ranges in ("bytes=0-1", "bytes=,", "bytes=" + ",".join(["0-"] * 5000), "bytes=9-1"):
        answer = got(service, "/reports/tales", {"Range": ranges})
        assert (answer.status_code, answer.text) == (200, "0123456789")
    page.unlink()
    assert got(service, "/reports/tales").status_code == 404


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_thousands_of_marks_in_a_row_are_read(service, path):
    """Python sorts them with the square of their number, and holds up every other thread meanwhile."""
    began = time.process_time()
    prompts = ["a" + marks * 30_000 for marks in ("\u0301\u0327", "\u0f73", "\u0344\u0323")]
    for answer in asked(service, *({"prompt": prompt} for prompt in prompts), path=path):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_character")
    assert time.process_time() - began < PATIENCE_S


def test_a_prompt_of_many_unknown_characters_is_explained(service):
    prompt = "".join(map(chr, range(0x3400, 0x3400 + 40_000)))
    (answer,) = asked(service, {"prompt": prompt})
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"]) < 500
    assert "U+3400" in answer.json()["error"]["message"]


def test_refusals_wait_when_they_come_too_fast(models):
    wrong = request(b'{"temprature": 1}')
    with listening(models, refusal_share=0.002) as server, contextlib.ExitStack() as stack:
        began = time.monotonic()
        for _ in range(2):  # 4 ms are saved, and each takes 2
            assert server.send(wrong)[0] == 400
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(wrong)
        assert is_served(server)
        assert not select.select([clients[2]], [], [], 0)[0]
        assert answer_of(clients[0])[0] == 400
        assert time.monotonic() - began > 0.9
        assert answer_of(clients[2])[0] == 400
        assert time.monotonic() - began > 2.9


def test_work_for_a_refusal_is_charged(models, monkeypatch):
    charged = []
    monkeypatch.setattr("charloom.serve.throttle.Throttle.charge", lambda _, work_s: charged.append(work_s))
    with serving(models) as service:
        assert asked(service, {"prompt": "a" * 60_000, "max_tokens": 1})[0].status_code == 200
        assert charged == []
        assert asked(service, {"prompt": "\u0301" * 60_000})[0].status_code == 400
    assert charged[0] > 0.002
    assert charged[1:] == [0.002]


def test_more_lists_than_a_request_has_are_not_made(models):
    import tracemalloc

    bodies = (
        b'{"metadata": {"a": [' + b"[]," * 300_000 + b"[]]}}",
        b'{"prompt": [' + b"{}," * 300_000 + b"[]]}",
    )
    with serving(models) as service:
        for body in bodies:
            tracemalloc.start()
            answer = posted(service, body)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
            assert "lists and objects" in answer.json()["error"]["message"]
            assert most < 14 * len(body)  # lists would take twenty times
        quoted = json.dumps({"prompt": '[{"\\' * 2000, "unknown": "skip", "max_tokens": 1}).encode()
        assert posted(service, quoted).status_code == 200


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems give every connection at once"
)
def test_a_connection_that_has_sent_nothing_is_left_to_the_system(models):
    with listening(models, defers=True) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(100)]
        assert is_served(server)
        assert len(server.connections) <= 1  # that of the request
        for client in silent[:5]:
            client.sendall(b"GET /health")
        until(lambda: len(server.connections) == 5)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="it is seen on Linux only that a client has left"
)
def test_abandoned_connections_are_never_made(models, monkeypatch):
    from charloom.serve.connection import Connections

    made, real = [], Connections.add
    monkeypatch.setattr(Connections, "add", lambda self, one: (made.append(one), real(self, one))[1])
    with listening(models) as server:
        with server.held_up():
            for content in (b"", b"P", b"GET /health HTTP/1.1\r\nHost: localhost\r\n"):
                with server.connect() as client:
                    client.sendall(content)
        assert is_served(server)
        assert len(made) == 1


def test_whole_requests_go_before_the_beginnings_of_others(models, monkeypatch):
    from charloom.serve.connection import Connection

    order, real = [], Connection.data_received
    monkeypatch.setattr(
        Connection, "data_received", lambda self, data: (order.append(data[:4]), real(self, data))[1]
    )
    with listening(models) as server, contextlib.ExitStack() as stack:
        with server.held_up():
            for content in (b"P", b"P", b"P", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"P"):
                stack.enter_context(server.connect()).sendall(content)
        until(lambda: len(order) == 5)
    assert order == [b"GET ", b"P", b"P", b"P", b"P"]


def test_of_many_that_wait_the_first_take_their_places(models, monkeypatch):
    lengths = []

    class Recorded(deque):
        def append(self, one):
            super().append(one)
            lengths.append(len(self))

    monkeypatch.setattr("charloom.serve.acceptor.deque", Recorded)
    monkeypatch.setattr("charloom.serve.acceptor.MOST_WAITING", 3)
    with listening(models, max_connections=8) as server, contextlib.ExitStack() as stack:
        with server.held_up():
            for _ in range(20):
                stack.enter_context(server.connect()).sendall(b"P")
        until(lambda: len(server.connections) == 8)
        assert is_served(server)
    assert max(lengths) == 4


def test_nothing_is_accepted_for_a_while_without_open_files(models, monkeypatch, caplog):
    real, failures = socket.socket.accept, [OSError(24, "Too many open files")]

    def accept(self):
        if failures:
            raise failures.pop()
        return real(self)

    with listening(models) as server:
        monkeypatch.setattr(socket.socket, "accept", accept)
        assert is_served(server)
    assert "Too many open files" in caplog.text


def test_the_limits_are_those_of_the_documentation():
    assert (Limits().head_s, Limits().body_s, Limits().send_s, Limits().max_connections) == (10, 30, 60, 1024)


def test_large_requests_leave_as_much_time_as_they_take():
    from charloom.serve.side_thread import SMALL_BYTES, SideThread
    from charloom.serve.throttle import Throttle

    side_thread = SideThread(Throttle(1.0))

    async def ask():
        return [await side_thread.run(SMALL_BYTES + 1, time.sleep, 0.05) for _ in range(4)]

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began > 4 * 0.05 + 3 * 0.049
    side_thread.close()
