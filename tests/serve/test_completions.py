"""``/v1/completions``: the fields of a request and what they do, on three models in this process."""

import json
import math

import numpy as np
import pytest

from charloom.config import SampleConfig
from charloom.evaluation.protocols import stream_loss
from charloom.generation import encode_prompt, sample
from tests.serve.conftest import asked, got, posted, serving

PROMPT = "Once upon a time"


def expected(model, prompt, *, stop=(), **settings):
    """The texts that `generation.sample` writes with these settings."""
    config = SampleConfig(**settings)
    ids, _ = encode_prompt(prompt, model.vocab, "error", model.file.text_config)
    return [s.text for s in sample(model.decoder, model.vocab, [ids], config, seed=config.seed, stop=stop)]


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]


def events_of(answer):
    """The events of a streamed answer, which ends with [DONE]."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_completion_is_what_sample_writes(ask, models):
    answer = ask(
        model="tales", prompt=PROMPT, max_tokens=50, seed=7, temperature=0.8, top_k=9, top_p=0.9, min_p=0.01
    )
    settings = {"length": 50, "seed": 7, "temperature": 0.8, "top_k": 9, "top_p": 0.9, "min_p": 0.01}
    assert texts(answer) == expected(models["tales"], PROMPT, **settings)
    assert answer["object"] == "text_completion"
    assert answer["model"] == "tales"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["logprobs"] is None
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (16, 50, 66)


def test_what_is_left_out_is_as_in_openais_interface(ask):
    answer = ask()
    assert answer["model"] == "tales"  # the first
    assert len(texts(answer)[0]) == 16


def test_what_is_left_out_is_as_the_recipe_says(models, ask):
    model = models["tales"]
    model.file.card["sample"] = {"temperature": 0.0, "prompt": "x"}
    try:
        greedy = texts(ask(prompt=PROMPT, max_tokens=30))
        assert greedy == texts(ask(prompt=PROMPT, max_tokens=30, temperature=0))
    finally:
        del model.file.card["sample"]
    assert greedy == expected(model, PROMPT, length=30, temperature=0.0, seed=1)


def test_several_texts_and_prompts(ask, models):
    answer = ask(prompt=["ab", "", "xyz"], n=2, max_tokens=20, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    model = models["tales"]
    for number, prompt in enumerate(["ab", "", "xyz"]):
        drawn = expected(model, prompt, length=20, seed=5, count=6)
        assert texts(answer)[2 * number : 2 * number + 2] == drawn[2 * number : 2 * number + 2]
    assert len(set(texts(answer))) == 6
    assert answer["usage"]["prompt_tokens"] == 5


def test_a_prompt_of_ids(ask, models):
    ids = models["tales"].vocab.encode(PROMPT).tolist()
    assert texts(ask(prompt=ids, seed=3)) == texts(ask(prompt=PROMPT, seed=3))
    assert texts(ask(prompt=[ids, ids[:3]], seed=3))[0] == texts(ask(prompt=PROMPT, seed=3))[0]


def test_seeds(ask):
    same = [texts(ask(prompt=PROMPT, seed=seed)) for seed in (1, 1, -1, -1)]
    assert same[0] == same[1] != same[2] == same[3]
    assert texts(ask(prompt=PROMPT, max_tokens=40)) != texts(ask(prompt=PROMPT, max_tokens=40))


def test_stop_ends_a_text_and_is_left_out(ask, models):
    whole = texts(ask(prompt=PROMPT, max_tokens=300, seed=2))[0]
    stop = whole[40:43]
    answer = ask(prompt=PROMPT, max_tokens=300, seed=2, stop=stop)
    assert texts(answer) == [whole[: whole.index(stop)]]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == whole.index(stop) + 3
    for stops in (["日本", stop], [stop, "zqzqzq"], ["zqzqzq", stop]):
        assert texts(ask(prompt=PROMPT, max_tokens=300, seed=2, stop=stops)) == texts(answer)


def test_a_document_ends_its_text(ask):
    answer = ask(model="names", n=8, max_tokens=500, seed=1)
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    assert "\n" not in "".join(texts(answer))
    scored = ask(model="names", max_tokens=500, seed=1, logprobs=0)["choices"][0]
    assert scored["logprobs"]["tokens"] == [*scored["text"], "<boundary>"]  # it was predicted too


def test_logit_bias(ask, models):
    vocab = models["tales"].vocab
    a, b = vocab.encode("ab").tolist()
    assert texts(ask(max_tokens=20, logit_bias={str(a): 100})) == ["a" * 20]
    free = texts(ask(max_tokens=400, temperature=2, seed=3))[0]
    assert "b" in free
    assert "b" not in texts(ask(max_tokens=400, temperature=2, seed=3, logit_bias={str(b): -100}))[0]


def test_top_k_of_0_and_of_minus_1_keep_all(ask):
    plain = texts(ask(seed=4, max_tokens=60))
    assert texts(ask(seed=4, max_tokens=60, top_k=0)) == texts(ask(seed=4, max_tokens=60, top_k=-1)) == plain


def test_a_repetition_penalty(ask, models):
    settings = {"repetition_penalty": 4.0, "repetition_window": 5, "seed": 4, "temperature": 0.3}
    answer = ask(prompt="aaaa", max_tokens=60, **settings)
    assert texts(answer) == expected(models["tales"], "aaaa", length=60, **settings)


@pytest.mark.parametrize(
    "more", [{}, {"logprobs": 3}, {"echo": True}, {"echo": True, "logprobs": 0}, {"n": 3}]
)
def test_events_add_up_to_the_whole_answer(service, more):
    body = {"prompt": PROMPT, "max_tokens": 700, "seed": 9, **more}
    (whole,) = asked(service, body)
    (streamed,) = asked(service, {**body, "stream": True, "stream_options": {"include_usage": True}})
    *parts, last = events_of(streamed)
    assert last["choices"] == []
    for key in ("prompt_tokens", "completion_tokens"):
        assert last["usage"][key] == whole.json()["usage"][key]
    assert len({part["id"] for part in parts}) == 1
    for choice in whole.json()["choices"]:
        own = [part["choices"][0] for part in parts if part["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in own) == choice["text"]
        assert [part["finish_reason"] for part in own] == [None] * (len(own) - 1) + ["length"]
        if "logprobs" in more:
            for key, values in choice["logprobs"].items():
                assert [value for part in own for value in part["logprobs"][key]] == values


def test_a_streamed_stop_text_is_never_shown(service):
    body = {"prompt": PROMPT, "max_tokens": 900, "seed": 2}
    (whole,) = asked(service, body)
    stop = whole.json()["choices"][0]["text"][500:504]
    (streamed,) = asked(service, {**body, "stop": [stop], "stream": True, "logprobs": 1})
    parts = [part["choices"][0] for part in events_of(streamed)]
    text = "".join(part["text"] for part in parts)
    assert whole.json()["choices"][0]["text"].split(stop)[0] == text
    assert sum(len(part["logprobs"]["tokens"]) for part in parts) == len(text)


def test_echoed_log_probabilities_add_up_to_the_loss_of_eval(ask, models, rng):
    model = models["tales"]
    ids = rng.integers(0, len(model.vocab), 3000)
    text = model.vocab.decode(ids)
    answer = ask(prompt=text, max_tokens=0, echo=True, logprobs=2)
    found = answer["choices"][0]
    assert found["text"] == text
    assert found["finish_reason"] == "length"
    scores = found["logprobs"]["token_logprobs"]
    assert scores[0] is None
    score = stream_loss(model.decoder, ids)
    assert -math.fsum(scores[1:]) / (len(ids) - 1) == pytest.approx(score.loss_nats, abs=1e-6)
    assert found["logprobs"]["tokens"] == list(text)
    assert found["logprobs"]["text_offset"] == list(range(len(text)))
    assert found["logprobs"]["top_logprobs"][0] is None
    top = found["logprobs"]["top_logprobs"][1]
    assert len(top) in (2, 3)  # the character itself, if it is not among the likeliest
    assert top[text[1]] == scores[1]


def test_in_documents_every_character_is_predicted(ask, models):
    model = models["names"]
    ids, _ = encode_prompt("abba", model.vocab, "error", model.file.text_config)
    scores = ask(model="names", prompt="abba", max_tokens=0, echo=True, logprobs=0)["choices"][0]["logprobs"]
    score = stream_loss(model.decoder, np.array([model.vocab.boundary_id, *ids]))
    assert -sum(scores["token_logprobs"]) / 4 == pytest.approx(score.loss_nats, abs=1e-6)
    assert scores["top_logprobs"] == [None] * 4


def test_generated_log_probabilities_are_those_of_an_echo(ask):
    answer = ask(prompt=PROMPT, max_tokens=200, seed=3, logprobs=4, temperature=0.5)["choices"][0]
    again = ask(prompt=PROMPT + answer["text"], max_tokens=0, echo=True, logprobs=4)["choices"][0]
    own, echoed = answer["logprobs"], again["logprobs"]
    assert own["token_logprobs"] == echoed["token_logprobs"][len(PROMPT) :]
    assert own["top_logprobs"] == echoed["top_logprobs"][len(PROMPT) :]
    assert own["text_offset"] == list(range(200))


def test_bytes(ask):
    answer = ask(model="bytes", prompt="é!", max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert answer["text"] == "é!"
    assert answer["logprobs"]["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
    assert answer["logprobs"]["text_offset"] == [0, 0, 1]
    written = ask(model="bytes", prompt="é!", max_tokens=40, seed=1, logprobs=0)["choices"][0]
    assert "\\x" in written["text"]  # bytes that are no character are shown by number
    offsets = written["logprobs"]["text_offset"]
    assert len(offsets) >= 40
    assert offsets == sorted(offsets)
    assert offsets[-1] < len(written["text"])


def test_a_text_that_goes_on_is_not_read_again(service):
    (first,) = asked(service, {"prompt": PROMPT, "max_tokens": 100, "seed": 1})
    text = PROMPT + first.json()["choices"][0]["text"]
    read = service.counters.read_chars
    (second,) = asked(service, {"prompt": text + ", and", "max_tokens": 60, "seed": 2, "echo": True})
    assert service.counters.read_chars - read == 5
    assert second.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == len(text)
    with serving(service.models, max_cache_bytes=0) as fresh:
        (unaided,) = asked(fresh, {"prompt": text + ", and", "max_tokens": 60, "seed": 2, "echo": True})
    assert texts(unaided.json()) == texts(second.json())
    assert unaided.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_text_that_stopped_goes_on_with_little_reading(service):
    (whole,) = asked(service, {"prompt": PROMPT, "max_tokens": 3000, "seed": 1})
    stop = texts(whole.json())[0][2000:2006]
    (first,) = asked(service, {"prompt": PROMPT, "max_tokens": 3000, "seed": 1, "stop": stop})
    text = PROMPT + texts(first.json())[0] + stop
    (second,) = asked(service, {"prompt": text, "max_tokens": 300, "seed": 2})
    with serving(service.models, max_cache_bytes=0) as fresh:
        (unaided,) = asked(fresh, {"prompt": text, "max_tokens": 300, "seed": 2})
    assert texts(unaided.json()) == texts(second.json())


REFUSED = {
    "prompt of a number": ({"prompt": 3}, "prompt", "wrong type"),
    "prompt of mixed items": ({"prompt": ["a", 1]}, "prompt", "wrong type"),
    "no prompt at all": ({"prompt": []}, "prompt", "1 to 64 texts"),
    "too many texts": ({"prompt": ["a"] * 9, "n": 8}, "n", "1 to 64 texts"),
    "too long a prompt": ({"prompt": "a" * 65_537}, "prompt", "at most 65536"),
    "an id too large": ({"prompt": [58]}, "prompt", "an id above"),
    "max_tokens true": ({"max_tokens": True}, "max_tokens", "type integer"),
    "max_tokens too large": ({"max_tokens": 10**9}, "max_tokens", "at most 16384"),
    "max_tokens below 0": ({"max_tokens": -1}, "max_tokens", "at least 0"),
    "temperature below 0": ({"temperature": -0.1}, "temperature", "at least 0"),
    "temperature beyond numbers": ({"temperature": 10**400}, "temperature", "finite"),
    "top_p 0": ({"top_p": 0}, "top_p", "above 0"),
    "min_p above 1": ({"min_p": 1.5}, "min_p", "at most 1"),
    "an empty stop": ({"stop": ""}, "stop", "empty"),
    "too many stops": ({"stop": ["a"] * 17}, "stop", "wrong type"),
    "too many logprobs": ({"logprobs": 21}, "logprobs", "at most 20"),
    "best_of": ({"best_of": 3}, "best_of", "equal to n"),
    "suffix": ({"suffix": "end"}, "suffix", "not supported"),
    "presence": ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
    "a bias of no id": ({"logit_bias": {"a": 1}}, "logit_bias", "0 to"),
    "a bias of an id too large": ({"logit_bias": {"58": 1}}, "logit_bias", "0 to"),
    "a bias too large": ({"logit_bias": {"1": 101}}, "logit_bias", "at most 100"),
    "a slip": ({"temprature": 1}, "temprature", "did you mean temperature?"),
    "an unknown policy": ({"unknown": "guess"}, "unknown", "one of"),
}


@pytest.mark.parametrize(("body", "param", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_request_is_refused_and_named(refused, body, param, says):
    error = refused(400, **body)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert says in error["message"]


def test_unknown_characters_are_named_or_treated(refused, ask):
    error = refused(400, prompt="naïve日")
    assert (error["param"], error["code"]) == ("prompt", "unknown_character")
    assert "'ï' (U+00EF)" in error["message"]
    assert "'日' (U+65E5)" in error["message"]
    assert '"unknown"' in error["message"]
    assert "--unknown" not in error["message"]
    skipped = ask(prompt="na日ve", unknown="skip", echo=True, max_tokens=0)
    assert texts(skipped) == ["nave"]
    assert texts(ask(prompt="naïve", unknown="similar", echo=True, max_tokens=0)) == ["naive"]


def test_a_lone_surrogate_is_refused_in_valid_json(service):
    answer = posted(service, rb'{"prompt": "\ud800"}')
    assert answer.status_code == 400
    assert "U+D800" in answer.json()["error"]["message"]


def test_no_such_model(refused):
    error = refused(404, model="gpt-4")
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "tales, names, bytes" in error["message"]


def test_settings_without_effect_are_taken(ask):
    ask(
        best_of=1,
        suffix="",
        presence_penalty=0,
        frequency_penalty=0.0,
        user="me",
        logit_bias={},
        stop=None,
        logprobs=None,
    )


def test_texts_become_ids_and_back(service):
    info = got(service, "/tokenizer_info").json()
    assert (info["eos_token"], info["bos_token"]) == ("\n", "\n")
    (ids,) = asked(service, {"prompt": "abé"}, path="/tokenize")
    assert ids.json()["count"] == 3
    (text,) = asked(service, {"tokens": ids.json()["tokens"]}, path="/detokenize")
    assert text.json() == {"prompt": "abé"}
    (named,) = asked(service, {"model": "names", "prompt": "abc"}, path="/tokenize")
    assert named.json()["tokens"] == [0, 1, 2]
    for path, body in (
        ("/tokenize", {"prompt": "日"}),
        ("/tokenize", {}),
        ("/tokenize", [1]),
        ("/detokenize", {"tokens": [99]}),
        ("/detokenize", {"tokens": [True]}),
    ):
        (answer,) = asked(service, body, path=path)
        assert answer.status_code == 400
