"""Who may use the server, what it logs and counts, and what else it answers."""

import json
import logging
import re

import pytest

from tests.serve.conftest import asked, got, posted, serving

pytest.importorskip("starlette", reason="the server needs starlette")

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
BAD_HOSTS = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "[::2]", "a]b", ""]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "proxy.example"]
)
def test_names_of_this_machine_are_served(service, host):
    names = {*LOOPBACK_NAMES, "Proxy.example"}
    assert got(service, "/health", {"Host": host}, names=names).status_code == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_other_names_are_refused(service, host):
    answer = got(service, "/v1/models", {"Host": host}, names=LOOPBACK_NAMES)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "wrong_host"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://proxy.example", 200),
        ("http://127.0.0.1:8001", 403),  # another program's page on this machine
        ("http://localhost:8000", 403),
        ("http://evil.example", 403),
        ("file://127.0.0.1:8000", 403),
        ("http://[", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_are_refused(service, origin, status):
    guard = {"names": LOOPBACK_NAMES, "trusted": ["proxy.example"]}
    answer = got(service, "/v1/models", {"Origin": origin}, **guard)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer secret2", "Bearer é"]
)
def test_a_missing_or_wrong_key_is_refused(service, given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    for path in ("/v1/models", "/metrics"):
        answer = got(service, path, headers, key="secret")
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_keys_are_compared_in_constant_time_whatever_is_wrong_with_them(service, monkeypatch):
    compared = []

    def never(given, key):
        compared.append((given, key))
        return False

    monkeypatch.setattr("charloom.serve.guard.hmac.compare_digest", never)
    for given in ("Bearer secret", "Bearer s", "Basic secret", ""):
        assert got(service, "/v1/models", {"Authorization": given}, key="secret").status_code == 401
    assert compared == [(given, b"secret") for given in (b"secret", b"s", b"secret", b"")]


def test_the_key_opens_and_the_open_paths_need_none(service):
    assert got(service, "/v1/models", {"Authorization": "bearer secret"}, key="secret").status_code == 200
    for path in ("/health", "/", "/openapi.json"):
        assert got(service, path, key="secret").status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'"a"',
        b"\xff",
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b"[" * 100_000,
        b'{"seed": ' + b"1" * 9999 + b"}",
    ],
    ids=range(9),
)
def test_a_body_that_is_no_object_is_refused(service, content):
    answer = posted(service, content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def slowly(total):
    for _ in range(total // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("content", [b" " * 1001, None])
def test_a_body_that_is_too_large_is_refused(models, content):
    with serving(models, max_body_bytes=1000) as service:
        answer = posted(service, slowly(3000) if content is None else content)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"
        assert posted(service, b"{}" + b" " * 998).status_code == 200


def test_nothing_of_a_request_is_logged(service, caplog):
    caplog.set_level(logging.DEBUG)
    asked(service, {"prompt": "secretprompt", "max_tokens": 5})
    asked(service, {"prompt": "secretprompt日", "stop": "secretstop", "secretfield": 1})
    got(service, "/v1/models?key=secretquery")
    got(service, "/no%0a%1bsuch%0aplace")
    own = [record.getMessage() for record in caplog.records if record.name == "charloom.serve"]
    assert [re.sub(r"[\d.]+ s$", "T", line) for line in own] == [
        "POST /v1/completions 200 T",
        "POST /v1/completions 400 T",
        "GET /v1/models 200 T",
        r"GET /no\n\x1bsuch\nplace 404 T",
    ]
    assert "secret" not in "".join(own)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/nowhere", 404, "not_found"), ("/v1/completions", 405, "method_not_allowed")],
)
def test_other_paths_and_methods_have_the_envelope_too(service, path, status, code):
    answer = got(service, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_models(service):
    listed = got(service, "/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tales", "names", "bytes"]
    assert listed["object"] == "list"
    one = got(service, "/v1/models/names").json()
    assert one["vocabulary"] == [*"abcdefghij", "<unk>", "<boundary>"]
    assert {**one, "vocabulary": None} == {**listed["data"][1], "vocabulary": None}
    assert got(service, "/v1/models/gpt").json()["error"]["code"] == "model_not_found"


def test_health(service):
    assert got(service, "/health").json() == {"status": "ok"}
    service.stop()
    answer = got(service, "/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
    (refused,) = asked(service, {"prompt": "a"})
    assert refused.status_code == 503


def test_metrics(service):
    asked(service, {"prompt": "abc", "max_tokens": 10, "n": 2}, {"temprature": 1})
    asked(service, {"prompt": "abc", "max_tokens": 0})
    answer = got(service, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['charloom_requests_total{code="200"}'] == "2"
    assert values['charloom_requests_total{code="400"}'] == "1"
    assert values["charloom_prompt_chars_total"] == "3"
    assert values["charloom_prompt_chars_cached_total"] == "3"
    assert values["charloom_written_chars_total"] == "20"
    assert values["charloom_choices_active"] == "0"
    assert values['charloom_time_to_first_char_seconds_bucket{le="+Inf"}'] == "1"
    names = {re.match(r"\w+", line)[0] for line in values}
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in names} == described


def test_openapi_names_every_field(service):
    document = got(service, "/openapi.json").json()
    schema = document["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert {"prompt", "max_tokens", "logit_bias", "min_p", "echo"} <= set(schema["properties"])
    assert all(field["description"] for field in schema["properties"].values())
    assert json.loads(json.dumps(document)) == document


def test_the_front_page_is_safe_and_names_the_models(service):
    answer = got(service, "/")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', answer.text).group(1)
    assert "connect-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    for name in ("tales", "names", "bytes"):
        assert f'"name": "{name}"' in answer.text


def test_a_report_is_served_if_the_run_was_inspected(service, tmp_path):
    from dataclasses import replace

    assert got(service, "/reports/tales").status_code == 404
    tales, page = service.models["tales"], tmp_path / "report.html"
    page.write_text("<!DOCTYPE html><title>an inspection</title>", encoding="utf-8")
    service.models = {**service.models, "tales": replace(tales, report=page)}
    try:
        answer = got(service, "/reports/tales")
        assert (answer.status_code, "an inspection" in answer.text) == (200, True)
        assert '"report": "/reports/tales"' in got(service, "/").text
        assert '"report": "/reports' not in got(service, "/", key="secret").text
    finally:
        service.models = {**service.models, "tales": tales}
