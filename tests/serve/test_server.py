"""A server in a process of its own, on real sockets: curl, a client that is killed, overload, and the end."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from tests.serve.conftest import running

PATIENCE_S = 20
ENDLESS = {"prompt": "ab", "max_tokens": 16_384, "stream": True}


@pytest.fixture(scope="module")
def server(model_files):
    with running(model_files["tales"], model_files["names"], "--max-tokens", 100_000_000) as server:
        yield server


@pytest.fixture(scope="module")
def slow_server(model_files):
    with running(model_files["tales"], "--parallel", 1, "--queue", 0, slow=True) as server:
        yield server


def post(server, body, timeout=PATIENCE_S):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout)
    connection.request("POST", "/v1/completions", json.dumps(body))
    return connection, connection.getresponse()


def answer(server, body):
    connection, response = post(server, body)
    with contextlib.closing(connection):
        return response.status, json.loads(response.read())


def metric(server, name):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"charloom_{name} "))


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_streams(server):
    body = json.dumps({"prompt": "ab", "max_tokens": 100, "seed": 1, "stream": True})
    command = ["curl", "--silent", "--no-buffer", f"{server.url}/v1/completions", "-d", body]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    events = [line.removeprefix("data: ") for line in found.split("\n") if line]
    assert events[-1] == "[DONE]"
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
    _, whole = answer(server, {"prompt": "ab", "max_tokens": 100, "seed": 1})
    assert text == whole["choices"][0]["text"]


@pytest.mark.parametrize("streams", [True, False])
def test_a_client_that_vanishes_frees_its_place(slow_server, streams):
    server = slow_server
    cancelled = metric(server, "requests_cancelled_total")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE_S)
    connection.request("POST", "/v1/completions", json.dumps({**ENDLESS, "stream": streams}))
    until(lambda: metric(server, "choices_active") == 1)
    assert answer(server, {"prompt": "a"})[0] == 429
    connection.close()
    until(lambda: metric(server, "choices_held") == 0)
    assert answer(server, {"prompt": "a", "max_tokens": 3})[0] == 200
    assert metric(server, "requests_cancelled_total") == cancelled + 1


def test_overload_is_answered_with_429_and_passes(slow_server):
    statuses = []

    def burst():
        status, body = answer(slow_server, {"prompt": "ab", "max_tokens": 30})
        statuses.append((status, body.get("error", {}).get("code")))

    threads = [threading.Thread(target=burst) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(statuses) == 20
    assert set(statuses) == {(200, None), (429, "busy")}
    until(lambda: metric(slow_server, "choices_held") == 0)
    assert answer(slow_server, {"prompt": "ab"})[0] == 200


def test_a_client_that_reads_nothing_does_not_hold_up_others(server):
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect((server.host, server.port))
    body = json.dumps({**ENDLESS, "max_tokens": 100_000_000}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    stuck.sendall(head + body)

    def is_stuck():
        """The buffers on the way are full, and the text has not grown for a while."""
        written = metric(server, "written_chars_total")
        time.sleep(0.3)
        stalled = metric(server, "choices_stalled") == 1
        return stalled and metric(server, "written_chars_total") == written

    until(is_stuck)
    written = metric(server, "written_chars_total")
    assert answer(server, {"prompt": "a", "max_tokens": 100})[0] == 200
    assert metric(server, "written_chars_total") == written + 100
    stuck.close()
    until(lambda: metric(server, "choices_stalled") == 0)


def test_a_signal_cuts_a_long_text_and_the_exit_is_clean(model_files):
    with running(model_files["tales"], "--max-tokens", "100000000") as server:
        connection, response = post(server, {**ENDLESS, "max_tokens": 100_000_000})
        idle = socket.create_connection((server.host, server.port))
        with contextlib.closing(connection), idle:
            assert response.read(10) == b'data: {"id'
            server.process.terminate()
            rest = response.read()
            assert server.process.wait(PATIENCE_S) == 0
        last = json.loads(rest.decode().strip().split("\n\n")[-1].removeprefix("data: "))
        assert last["error"]["code"] == "stopping"


def test_a_signal_lets_a_short_text_end(model_files):
    with running(model_files["tales"], slow=True) as server:
        connection, response = post(server, {"prompt": "ab", "max_tokens": 100, "stream": True})
        response.read(10)
        server.process.send_signal(signal.SIGINT)
        assert response.read().endswith(b"data: [DONE]\n\n")
        assert server.process.wait(PATIENCE_S) == 0
        connection.close()


def test_a_port_in_use_is_explained(server, charloom_in_process):
    code, err = charloom_in_process("serve", str(server.model), "--port", str(server.port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{server.port}" in err
    assert "--port" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "there is no key"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid"),
        (["--port", "70000"], "cannot listen on"),
        (["--parallel", "0"], "--parallel is 0"),
        (["--deadline", "nan"], "--deadline is nan"),
        (["--api-key", ""], "the API key is empty"),
    ],
)
def test_settings_that_cannot_be_served_are_explained(model_files, charloom_in_process, words, says):
    code, err = charloom_in_process("serve", str(model_files["tales"]), *words)
    assert code == 1
    assert says in err


def test_two_models_of_one_name_and_none_at_all(model_files, charloom_in_process):
    code, err = charloom_in_process("serve", str(model_files["tales"]), str(model_files["tales"]))
    assert (code, "two models have the name 'tales'" in err) == (1, True)
    code, err = charloom_in_process("serve")
    assert code != 0


def test_json_says_where_it_listens(server):
    assert server.announced == {"schema": 1, "url": server.url, "models": ["tales", "names"]}
