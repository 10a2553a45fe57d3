"""The interface with the clients that people have: each test needs the client's package, and is skipped without it."""

import contextlib
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from charloom.evaluation.protocols import stream_loss
from tests.serve.conftest import running

PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(model_files):
    with running(model_files["tales"], model_files["names"], env={"CHARLOOM_API_KEY": "secret"}) as server:
        yield server


@contextlib.contextmanager
def openai_client(server, **settings):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", **{"api_key": "secret", **settings}) as client:
        yield client


def test_openai_completes_and_streams(server):
    with openai_client(server) as client:
        whole = client.completions.create(model="tales", prompt="ab", max_tokens=50, seed=1, n=3, stop="zq")
        assert [choice.finish_reason for choice in whole.choices] == ["length"] * 3
        assert len({choice.text for choice in whole.choices}) == 3
        assert whole.usage.completion_tokens == 150
        stream = client.completions.create(
            model="tales",
            prompt="ab",
            max_tokens=50,
            seed=1,
            stream=True,
            stream_options={"include_usage": True},
        )
        *parts, last = list(stream)
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        assert last.usage.total_tokens == 52
        sampled = client.completions.create(
            model="tales", prompt="ab", max_tokens=9, extra_body={"top_k": 1, "min_p": 0.1}
        )
        greedy = client.completions.create(model="tales", prompt="ab", max_tokens=9, temperature=0)
        assert sampled.choices[0].text == greedy.choices[0].text


def test_openai_echoes_with_the_loss_of_eval(server, models):
    text = "the cat sat on the mat, and it was so"
    with openai_client(server) as client:
        found = client.completions.create(model="tales", prompt=text, max_tokens=0, echo=True, logprobs=1)
    scores = found.choices[0].logprobs.token_logprobs
    loss = stream_loss(models["tales"].decoder, models["tales"].vocab.encode(text)).loss_nats
    assert -math.fsum(scores[1:]) / (len(text) - 1) == pytest.approx(loss, abs=1e-6)


def test_openai_lists_models_and_raises_its_own_exceptions(server):
    openai = pytest.importorskip("openai")
    with openai_client(server, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tales", "names"]
        assert client.models.retrieve("names").owned_by == "charloom"
        with pytest.raises(openai.NotFoundError, match="no model has the name 'gpt'"):
            client.completions.create(model="gpt", prompt="a")
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="tales", prompt="日")
        assert (caught.value.param, caught.value.code) == ("prompt", "unknown_character")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="tales", messages=[])
    with openai_client(server, api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


OLD_CLIENT = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="secret", max_retries=0)
seed = {"seed": 1}
whole = client.completions.create(model="tales", prompt="ab", max_tokens=30, logprobs=1, echo=True, extra_body=seed)
parts = list(client.completions.create(model="tales", prompt="ab", max_tokens=30, stream=True, extra_body=seed))
assert "ab" + "".join(part.choices[0].text for part in parts) == whole.choices[0].text
assert len(whole.choices[0].logprobs.tokens) == 32
try:
    client.completions.create(model="gpt", prompt="a")
except openai.NotFoundError as error:
    print(openai.__version__, error.response.json()["error"]["code"])
"""


def test_an_old_openai_client(server):
    """``CHARLOOM_OLD_OPENAI`` names a Python in which an old version is installed, such as 1.0."""
    python = os.environ.get("CHARLOOM_OLD_OPENAI")
    if python is None:
        pytest.skip("CHARLOOM_OLD_OPENAI names no Python with an old openai package")
    command = [python, "-c", OLD_CLIENT, f"{server.url}/v1"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("1.")
    assert found.stdout.endswith(" model_not_found\n")


def test_llm(model_files, tmp_path):
    """With a server that needs no key, as its completion models send none."""
    pytest.importorskip("llm")
    with running(model_files["tales"]) as server:
        settings = (
            f"- model_id: tales\n  model_name: tales\n  api_base: {server.url}/v1\n  completion: true\n"
        )
        (tmp_path / "extra-openai-models.yaml").write_text(settings, encoding="utf-8")
        options = ["-o", "seed", "1", "-o", "max_tokens", "40"]
        command = [sys.executable, "-m", "llm", "-m", "tales", "ab", *options]
        environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}
        found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.rstrip("\n")) >= 30


def test_langchain(server):
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.OpenAI(
        model="tales", base_url=f"{server.url}/v1", api_key="secret", max_tokens=30, seed=1, temperature=0.5
    )
    text = model.invoke("ab")
    assert len(text) == 30
    assert "".join(model.stream("ab")) == text


def test_litellm(server):
    """In a process of its own: importing it warns and reads the environment."""
    script = f"""
import litellm
answer = litellm.text_completion(model="text-completion-openai/tales", prompt="ab", max_tokens=30, seed=1,
                                 api_base="{server.url}/v1", api_key="secret")
print(repr(answer.choices[0].text))
"""
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )
    assert found.returncode == 0, found.stderr
    assert len(eval(found.stdout.splitlines()[-1])) == 30


LM_EVAL = """
import sys
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

url, text = sys.argv[1:]
model = LocalCompletionsAPI(base_url=url, model="tales", max_length=10_000, num_concurrent=1, auth_token="secret")
request = Instance("loglikelihood", {}, (text[0], text[1:]), 0)
(found,) = model.loglikelihood([request], disable_tqdm=True)
print(model.tokenizer_backend, repr(found[0]))
"""


def test_lm_eval_measures_the_loss_of_eval(server, models, rng):
    """Its ``local-completions`` as it is: it finds the tokenizer, and reads the text by its first character."""
    if find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed")
    ids = rng.integers(2, len(models["tales"].vocab), 2000)
    text = models["tales"].vocab.decode(ids)
    environment = {**os.environ, "OPENAI_API_KEY": "secret", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LM_EVAL, f"{server.url}/v1/completions", text]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert found.returncode == 0, found.stderr
    backend, nats = found.stdout.splitlines()[-1].split()
    assert backend == "remote"
    score = stream_loss(models["tales"].decoder, ids)
    assert -float(nats) / (len(ids) - 1) == pytest.approx(score.loss_nats, abs=1e-6)
