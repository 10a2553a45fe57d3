"""Three small models behind the application: characters, documents and bytes; requests without a network."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest

from charloom.config import ModelConfig, TextConfig
from charloom.kernels.library import library
from charloom.modelfile import ModelFile, write_model
from charloom.parameters import parameter_shapes
from charloom.serve import Limits, load_models
from charloom.text import Vocabulary
from tests.serve.sockets import UNSLOWED

TALES = Vocabulary.from_text("\n ,.;abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZé")
NAMES = Vocabulary("char", tuple(map(ord, "abcdefghij")), ("<unk>", "<boundary>"))
BYTES = Vocabulary("byte", tuple(range(256)))


def write_random(path, vocab, text_config=None, hidden_size=24, seed=0):
    """A model file with random weights, large enough that the next character is not a uniform draw."""
    config = ModelConfig(cell="lstm", hidden_size=hidden_size, num_layers=2)
    rng = np.random.default_rng(seed)
    params = {
        name: rng.normal(size=shape).astype(np.float32) * 0.5
        for name, shape in parameter_shapes(config, len(vocab)).items()
    }
    write_model(path, ModelFile(params, config, text_config or TextConfig(), vocab))
    return path


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return {
        "tales": write_random(folder / "tales.safetensors", TALES),
        "names": write_random(folder / "names.safetensors", NAMES, TextConfig(documents="line", min_count=2)),
        "bytes": write_random(folder / "bytes.safetensors", BYTES, TextConfig(unit="byte")),
    }


@pytest.fixture(scope="session")
def models(model_files):
    for package in ("httpx", "starlette"):
        pytest.importorskip(package, reason=f"requests in this process need {package}")
    if library() is None:
        pytest.skip("the server needs the compiled kernels")
    return load_models([str(path) for path in model_files.values()])


@contextlib.contextmanager
def serving(models, **limits):
    from charloom.serve.app import Service

    service = Service(models, Limits(**UNSLOWED | limits))
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def service(models):
    with serving(models) as service:
        yield service


def client_of(service, **guard):
    import httpx

    from charloom.serve.app import create_app

    transport = httpx.ASGITransport(create_app(service, **guard))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def asked(service, *bodies, path="/v1/completions", **guard):
    """The answers to requests that are sent together."""

    async def ask():
        async with client_of(service, **guard) as client:
            return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

    return asyncio.run(ask())


def got(service, path, headers=None, **guard):
    async def get():
        async with client_of(service, **guard) as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


def posted(service, content, headers=None):
    async def post():
        async with client_of(service) as client:
            return await client.post("/v1/completions", content=content, headers=headers)

    return asyncio.run(post())


@pytest.fixture
def ask(service):
    """Send one request; return the JSON of its answer, which must be a success."""

    def ask(**body):
        (answer,) = asked(service, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def refused(service):
    """Send one request; return the error of its answer, which must be a refusal with this status."""

    def refused(status, **body):
        (answer,) = asked(service, body)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]

    return refused


class Running(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen
    announced: dict
    model: Path

    @property
    def url(self):
        return self.announced["url"]

    @property
    def host(self):
        return urlsplit(self.url).hostname

    @property
    def port(self):
        return urlsplit(self.url).port


SLOW = """
import sys, time
from charloom.engines.fused.model import FusedModel

real = FusedModel.decode

def slow(self, before, params, num_chars, **more):
    time.sleep(0.02)
    return real(self, before, params, min(num_chars, 2), **more)

FusedModel.decode = slow
from charloom.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""A command line whose models take ten milliseconds for a character."""


@contextlib.contextmanager
def running(model, *words, slow=False, env=None):
    """``charloom serve`` on a free port, with further models or flags; it is killed at the end if it has not exited."""
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package, reason=f"the server needs {package}")
    if library() is None:
        pytest.skip("the server needs the compiled kernels")
    program = ["-c", SLOW] if slow else ["-m", "charloom"]
    command = [sys.executable, *program, "serve", str(model), *map(str, words), "--port", "0", "--json"]
    with tempfile.TemporaryFile("w+") as log:
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            line = process.stdout.readline()
            log.seek(0)
            assert line, log.read()
            yield Running(process, json.loads(line), Path(model))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def charloom_in_process(capsys):
    """RowOutput the command line in this process: exit code and standard error."""
    pytest.importorskip("uvicorn", reason="the server needs uvicorn")
    from charloom.cli import main

    def call(*words):
        code = main(list(words))
        return code, capsys.readouterr().err

    return call
