"""Thousands of requests that nobody means well: no answer is a fault of ours, nothing leaks, honest requests are served."""

import contextlib
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.serve.conftest import asked, posted, running
from tests.serve.sockets import PATIENCE_S, answer_of, listening, request

pytest.importorskip("uvicorn", reason="the server needs uvicorn")
pytestmark = pytest.mark.reliability

KEY, WORDS = (
    "the-key-of-this-test",
    ("Traceback", "site-packages", '.py", line', ".py:", "/home", "/root", "/tmp"),
)
SMALL = {"prompt": "ab", "max_tokens": 3, "seed": 1}
NUMBERS = (0, -1, 1, 0.5, -0.0, 1e-320, 1e-9, 1e308, -1e308, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400, 3)
NUMERIC = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "repetition_window")
NUMERIC += ("seed", "n", "logprobs", "best_of", "presence_penalty", "frequency_penalty")


def is_fault(status, body):
    """Whether an answer is neither a success nor a refusal in the envelope, or says too much."""
    said = json.dumps(body) if isinstance(body, dict | list) else repr(body)
    if KEY in said or any(word in said for word in WORDS):
        return True
    if status == 200:
        return False
    is_typed = isinstance(body, dict) and {"message", "type", "param", "code"} == set(body.get("error", ()))
    return not (400 <= status < 500 and is_typed)


def faults_of(answers):
    return [answer.text[:200] for answer in answers if is_fault(answer.status_code, read(answer))]


def read(answer):
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.text


def test_schemathesis_finds_no_fault_of_any_endpoint(models, attacks):
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as hypothesis_seed
    from hypothesis.errors import Unsatisfiable
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    from charloom import __version__
    from charloom.serve.openapi import description

    count, faults = 0, []
    with listening(models, max_tokens=64, max_choices=4) as server:
        schema = schemathesis.openapi.from_dict(description(__version__))
        for found in schema.get_all_operations():
            operation = found.ok()
            modes = list(schemathesis.GenerationMode)
            for mode in modes:

                @hypothesis_seed(int(attacks.rng.integers(2**31)))
                @settings(
                    max_examples=120,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def attack(case):
                    nonlocal count
                    count += 1
                    answer = case.call(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE_S)
                    is_json = "json" in answer.headers.get("content-type", [""])[0]
                    if is_fault(answer.status_code, answer.json() if is_json else answer.text):
                        faults.append((case.method, case.path, answer.status_code, answer.text[:200]))
                    case.validate_response(answer, excluded_checks=[positive_data_acceptance])

                with contextlib.suppress(Unsatisfiable):  # nothing of a request without fields can be wrong
                    attack()
    print(*faults, sep="\n")
    attacks.count("requests made by schemathesis", count, losses=len(faults))


def mutated(content, rng):
    """A request with a few bytes changed, removed, repeated or exchanged for what parsers trip over."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        place, kind = int(rng.integers(len(content))), int(rng.integers(4))
        if kind == 0:
            content[place] = int(rng.integers(256))
        elif kind == 1:
            del content[place : place + int(rng.integers(1, 9))]
        elif kind == 2:
            content[place:place] = content[place : place + int(rng.integers(1, 40))]
        else:
            content[place:place] = ODD[int(rng.integers(len(ODD)))]
        content = content or bytearray(b"\r\n")
    return bytes(content)


ODD = (
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b" \t",
    b"\r\n folded",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
)
ODD += (
    b"\\ud800",
    b"1e999",
    b"-",
    b"[" * 2000,
    b"Host: evil.example\r\n",
    b"Expect: 100-continue\r\n",
    b"%00%2e%2e/",
)
SEEDS = (
    request(json.dumps(SMALL).encode(), "Authorization: Bearer x", "Connection: keep-alive"),
    request(b'{"prompt": [1, 2]}', "Expect: 100-continue"),
    request(b"12\r\n" + json.dumps(SMALL).encode()[:18] + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    request(b"", target="/v1/models/tales?x=1", method="GET"),
    request(b'{"prompt": "ab", "model": "bytes"}', target="/tokenize"),
)


def test_mutated_requests_are_answered_or_refused(models, attacks):
    rng, num_cases, faults = attacks.rng, 3000, []
    with listening(models, key=None, head_s=0.3, body_s=0.3, max_tokens=64) as server:

        def attack(cases):
            for content in cases:
                with server.connect() as client:
                    try:
                        client.sendall(content)
                        client.shutdown(socket.SHUT_WR)
                        status, body = answer_of(client)
                    except (ConnectionError, ValueError, IndexError):
                        continue  # cut while it was sent
                if status and status != 100 and is_fault(status, body):
                    faults.append((status, body, content))

        cases = [mutated(SEEDS[number % len(SEEDS)], rng) for number in range(num_cases)]
        threads = [threading.Thread(target=attack, args=[cases[part::8]]) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert server.send(request(json.dumps(SMALL).encode()))[0] == 200
        assert server.service.counters.answers[500] == 0
    assert not faults, faults[:3]
    attacks.count("mutated requests", num_cases, losses=len(faults))


def test_extremes_of_every_number_are_served_or_refused(service, attacks):
    bodies = [{**SMALL, name: value} for name in NUMERIC for value in NUMBERS]
    bodies += [{**SMALL, "logit_bias": {"1": value}} for value in NUMBERS]
    bodies += [{**SMALL, "prompt": [value]} for value in NUMBERS]
    bodies += [{**SMALL, "prompt": [[value]], "model": "bytes"} for value in NUMBERS]
    bodies += [
        {**SMALL, **{name: NUMBERS[attacks.rng.integers(len(NUMBERS))] for name in NUMERIC[:7]}}
        for _ in range(300)
    ]
    answers = [
        answer
        for start in range(0, len(bodies), 20)
        for answer in asked(service, *bodies[start : start + 20])
    ]
    assert {200, 400} <= {answer.status_code for answer in answers}
    constants = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "0x1", "1_0", "+1", ".5")
    for name in NUMERIC:
        for constant in constants:
            answers.append(posted(service, f'{{"prompt": "ab", "{name}": {constant}}}'.encode()))
            assert answers[-1].status_code == 400, (name, constant)
    faults = faults_of(answers)
    assert not faults, faults[:3]
    attacks.count("extreme numbers in requests", len(answers), losses=len(faults))


def hostile_texts(rng):
    """Texts of every plane and of what breaks programs, as JSON."""
    planes = [
        chr(int(code)) for plane in range(17) for code in rng.integers(plane << 16, (plane + 1) << 16, 8)
    ]
    marks = ["a" + pair * 32_000 for pair in ("\u0301\u0327", "\u0f73", "\u0344\u05b0", "\u0301\uff9e")]
    texts = [
        "",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "a\u202eb\u2066c\u2069",
        "\u2028\u2029",
        "\ufeff",
        "\ufffe\uffff",
    ]
    texts += [
        "</script><script>",
        "\x1b[2J\x1b]0;x\x07",
        "\r",
        "\r\n\x85",
        "ﷺ" * 3000,
        "\U000e0041" * 99,
        "e\u0301" * 9,
    ]
    texts += [*planes, *marks, "".join(planes), "日本" * 20_000, "\u1100\u1161\u11a8" * 20_000]
    return [json.dumps(text) for text in texts] + [
        '"\\ud83d"',
        '"\\ude00\\ud83d"',
        '"\\u0000"',
        '"\\uD800\\u0041"',
    ]


def test_hostile_prompts_are_served_or_refused(service, attacks):
    answers = []
    for text in hostile_texts(attacks.rng):
        for model in ("tales", "names", "bytes"):
            for unknown in ("error", "skip", "similar", "replace"):
                body = f'{{"model": "{model}", "prompt": {text}, "unknown": "{unknown}", "max_tokens": 2, "stop": {text}}}'
                answers.append(posted(service, body.encode("utf-8")))
    faults = faults_of(answers)
    assert not faults, faults[:3]
    assert {200, 400} == {answer.status_code for answer in answers}
    attacks.count("hostile prompts", len(answers), losses=len(faults))


def test_wrong_keys_and_names_open_nothing(models, attacks):
    rng, cases = attacks.rng, 0
    with listening(models, key=KEY) as server:
        wrong = [
            KEY[:-1],
            KEY + "x",
            KEY.upper(),
            "",
            " ",
            "\xe9",
            KEY[::-1],
            "Bearer " + KEY,
            f"{KEY},{KEY}",
            f"{KEY}\t{KEY}",
        ]
        wrong += ["".join(map(chr, rng.integers(33, 127, len(KEY)))) for _ in range(100)]
        for key in wrong:
            for target, method in (
                ("/v1/completions", "POST"),
                ("/v1/models", "GET"),
                ("/metrics", "GET"),
                ("//v1/models", "GET"),
            ):
                status, body = server.send(
                    request(b"{}", f"Authorization: Bearer {key}", target=target, method=method)
                )
                cases += 1
                assert status in (400, 401, 404), (key, status)
                assert not is_fault(status, body)
        hosts = [
            "evil.example",
            "localhost.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "127.0.0.1.",
            "0",
        ]
        hosts += [
            "127.1",
            "2130706433",
            "localhost:80:80",
            "localhost/",
            "localhost#",
            "[::1",
            "[::ffff:127.0.0.1]",
            "localh\xf6st",
        ]
        for host in hosts:
            status, body = server.send(request(b"{}", f"Authorization: Bearer {KEY}", host=host))
            cases += 1
            assert status in (400, 403), (host, status)
            assert not is_fault(status, body)
        assert server.send(request(json.dumps(SMALL).encode(), f"Authorization: Bearer {KEY}"))[0] == 200
    attacks.count("wrong keys and hosts", cases)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_thousand_connections_and_huge_bodies_take_bounded_memory(model_files, attacks):
    def resident(server, what):
        lines = Path(f"/proc/{server.process.pid}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) >> 10

    with running(model_files["tales"], "--quiet", "--max-tokens", 64) as server:
        before, clients = resident(server, "VmRSS"), []
        try:
            for number in range(1000):
                client = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
                clients.append(client)
                body = b'{"prompt": "' + b"a" * (400_000 if number % 4 == 0 else 0)
                head = request(b"", f"Content-Length: {1 << 20}")
                client.sendall(
                    (head[: 60 if number % 2 else None]) + (body if number % 4 == 0 else b"")[:150_000]
                )
            with socket.create_connection((server.host, server.port), timeout=PATIENCE_S) as honest:
                honest.sendall(request(json.dumps(SMALL).encode()))
                assert answer_of(honest)[0] == 200
            assert resident(server, "VmHWM") - before < 350
        finally:
            for client in clients:
                client.close()
    attacks.count("connections at once", len(clients))
