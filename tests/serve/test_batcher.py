"""Texts of many requests in one batch: each as if it were alone, and none holds up another."""

import asyncio

import numpy as np
import pytest

from charloom.config import SampleConfig
from charloom.generation import encode_prompt, sample
from charloom.serve import Limits
from charloom.serve import schedule as schedules
from charloom.serve.completions import parse_request
from charloom.serve.counters import Counters
from charloom.serve.job import Job
from charloom.serve.pace import Pace
from charloom.serve.prefix_cache import PrefixCache
from charloom.serve.refusal import Refusal
from charloom.serve.schedule import Schedule
from tests.serve.conftest import asked, serving

PATIENCE_S = 20


def choices_of(models, **body):
    return parse_request(body, models, Limits()).choices


def job_of(models, *, streams=False, max_pending=4096, deadline_s=300.0, on_change=lambda: None, **body):
    return Job(
        choices_of(models, **body),
        deadline_s=deadline_s,
        streams=streams,
        max_pending=max_pending,
        on_change=on_change,
    )


def schedule_of(models, name="tales", **limits):
    limits = Limits(**limits)
    counters = Counters()
    return Schedule(models[name], limits, PrefixCache(limits.max_cache_bytes, 100), counters), counters


def in_loop(test):
    """Run a coroutine function as a test."""

    def run(*args, **kwargs):
        async def limited():
            await asyncio.wait_for(test(*args, **kwargs), PATIENCE_S)

        asyncio.run(limited())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    import inspect

    run.__signature__ = inspect.signature(test)
    if hasattr(test, "pytestmark"):
        run.pytestmark = test.pytestmark
    return run


async def text_of(job):
    parts = [piece async for pieces in job.pieces() for piece in pieces]
    return "".join(part.text for part in parts)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_a_text_does_not_depend_on_the_load(models):
    """Requests of all kinds at once, more than the batch holds; each text as `sample` writes it alone."""
    rng = np.random.default_rng(5)
    bodies, wanted = [], []
    for seed in range(40):
        name = ("tales", "names")[seed % 3 == 2]
        length, temperature = int(rng.integers(1, 200)), float(rng.choice([0.0, 0.7, 1.0]))
        prompt = "".join(rng.choice(list("abcdefghij"), int(rng.integers(0, 60))))
        top_k = [None, 5][seed % 2]
        body = {
            "model": name,
            "prompt": prompt,
            "max_tokens": length,
            "temperature": temperature,
            "seed": seed,
        }
        bodies.append(body if top_k is None else {**body, "top_k": top_k})
        config = SampleConfig(length=length, temperature=temperature, top_k=top_k, seed=seed)
        model = models[name]
        ids, _ = encode_prompt(prompt, model.vocab, "error", model.file.text_config)
        wanted.append(sample(model.decoder, model.vocab, [ids], config, seed=seed)[0].text)
    with serving(models, parallel=7, queue=100) as service:
        answers = asked(service, *bodies)
        assert service.batcher.gauges()["choices_active"][1] == 0
    assert [answer.json()["choices"][0]["text"] for answer in answers] == wanted


@in_loop
async def test_a_client_that_takes_nothing_holds_up_itself_only(models):
    body = {"prompt": "ab", "max_tokens": 16_000, "seed": 1}
    with serving(models, parallel=1, queue=8) as service:
        on_change = service.batcher.wake
        slow = job_of(models, streams=True, max_pending=64, on_change=on_change, **body)
        service.batcher.submit(slow)
        await until(lambda: not slow.has_room())
        others = [job_of(models, on_change=on_change, prompt="x", max_tokens=500, seed=s) for s in range(4)]
        for other in others:
            service.batcher.submit(other)
        for other in others:
            assert len(await text_of(other)) == 500
        assert service.batcher.gauges()["choices_stalled"][1] == 1
        assert slow.written_ids <= 64 + schedules.MAX_WRITE
        untroubled = job_of(models, on_change=on_change, **body)
        service.batcher.submit(untroubled)
        assert await text_of(slow) == await text_of(untroubled)


@in_loop
async def test_a_long_prompt_is_read_in_slices_while_others_are_written(models, monkeypatch):
    monkeypatch.setattr(schedules, "MAX_READ", 100)
    monkeypatch.setattr(schedules, "MAX_WRITE", 10)
    schedule, _ = schedule_of(models)
    schedule.add(short := job_of(models, prompt="ab", max_tokens=5000))
    schedule.turn()
    schedule.add(long := job_of(models, prompt="abcdefghij" * 100, max_tokens=10))
    before, turns = short.written_ids, 0
    while long.written_ids == 0:
        schedule.turn()
        turns += 1
    assert turns >= 10
    assert short.written_ids - before >= turns


@in_loop
async def test_prompts_of_different_lengths_are_read_together(models):
    schedule, counters = schedule_of(models)
    jobs = [job_of(models, prompt="abcdefghij" * n, max_tokens=5, seed=3) for n in (3, 1, 2)]
    for job in jobs:
        schedule.add(job)
    while schedule.jobs():
        schedule.turn()
    assert counters.read_chars == 60
    for job in jobs:
        alone, _ = schedule_of(models)
        alone.add(again := job_of(models, prompt=job.choices[0].prompt.text, max_tokens=5, seed=3))
        while alone.jobs():
            alone.turn()
        assert job.choices[0].text.text == again.choices[0].text.text


@in_loop
async def test_every_state_that_is_kept_is_the_one_after_its_ids(models, monkeypatch):
    """However a text ends: the bits of reading the same ids at once."""
    monkeypatch.setattr(schedules, "MAX_WRITE", 7)
    kept = []
    monkeypatch.setattr(PrefixCache, "put", lambda _self, _name, ids, prefix: kept.append((ids, prefix)))
    for name, body in (
        ("tales", {"prompt": "abc", "max_tokens": 40, "n": 3, "seed": 1}),
        ("tales", {"prompt": "abcd", "max_tokens": 400, "stop": ["e", "a"], "n": 5, "seed": 1}),
        ("names", {"max_tokens": 400, "n": 5, "seed": 1}),
    ):
        schedule, _ = schedule_of(models, name)
        schedule.add(job := job_of(models, model=name, **body))
        while schedule.jobs():
            schedule.turn()
        decoder = models[name].decoder
        assert len(kept) == 1 + len(job.choices)
        for ids, prefix in kept:
            logits, state = decoder.forward(ids[None], decoder.initial_state(1))
            np.testing.assert_array_equal(prefix.logits, logits[:, -1])
            for found, read in zip(prefix.state, state, strict=True):
                for key, leaf in read.items():
                    np.testing.assert_array_equal(found[key], leaf)
        kept.clear()


@in_loop
async def test_texts_of_one_prompt_read_it_once(models):
    schedule, counters = schedule_of(models, parallel=2)
    schedule.add(job_of(models, prompt="abcdefghij", n=8, max_tokens=5))
    while schedule.jobs():
        schedule.turn()
    assert counters.read_chars == 10


@in_loop
async def test_a_cancelled_job_frees_its_place_at_once(models):
    with serving(models, parallel=2, queue=0) as service:
        on_change = service.batcher.wake
        jobs = [endless(job_of(models, on_change=on_change, prompt="a")) for _ in range(2)]
        for job in jobs:
            service.batcher.submit(job)
        await until(lambda: all(job.written_ids > 0 for job in jobs))
        with pytest.raises(Refusal, match="holds 2 texts of at most 2"):
            service.batcher.submit(job_of(models, prompt="a"))
        jobs[0].cancel()
        await until(lambda: service.batcher.gauges()["choices_held"][1] == 1)
        service.batcher.submit(other := job_of(models, on_change=on_change, prompt="a", max_tokens=7))
        assert len(await text_of(other)) == 7
        jobs[1].cancel()


def endless(job):
    for choice in job.choices:
        choice.text._num_left = None
    return job


@in_loop
async def test_a_job_past_its_deadline_is_given_up(models):
    with serving(models) as service:
        job = endless(job_of(models, deadline_s=0.05, prompt="a", max_tokens=9))
        service.batcher.submit(job)
        with pytest.raises(Refusal) as caught:
            await text_of(job)
        assert (caught.value.status, caught.value.code) == (504, "deadline")
        assert "0.05 s" in caught.value.message
        await until(lambda: service.batcher.gauges()["choices_active"][1] == 0)


@in_loop
async def test_a_full_server_refuses_and_recovers(models):
    with serving(models, parallel=2, queue=2) as service:
        jobs = [endless(job_of(models, on_change=service.batcher.wake, prompt="a", n=2)) for _ in range(2)]
        for job in jobs:
            service.batcher.submit(job)
        answer = await ask_once(service, {"prompt": "a"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "rate_limit_error"
        for job in jobs:
            job.cancel()
        await until(lambda: service.batcher.gauges()["choices_held"][1] == 0)
        assert (await ask_once(service, {"prompt": "a"})).status_code == 200


async def ask_once(service, body):
    from tests.serve.conftest import client_of

    async with client_of(service) as client:
        return await client.post("/v1/completions", json=body)


@in_loop
async def test_a_model_that_fails_answers_with_500_and_the_others_go_on(models, monkeypatch, caplog):
    with serving(models) as service:

        def broken(*_args, **_kwargs):
            raise FloatingPointError("no such number")

        with monkeypatch.context() as patch:
            patch.setattr(models["tales"].decoder, "decode", broken)
            answer = await ask_once(service, {"prompt": "secret", "max_tokens": 5})
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "no such number" not in answer.text
        assert "no such number" in caplog.text
        assert "secret" not in caplog.text
        assert (await ask_once(service, {"model": "names"})).status_code == 200
        assert (await ask_once(service, {"model": "tales"})).status_code == 200


@in_loop
async def test_what_is_cut_says_so(models):
    with serving(models) as service:
        job = endless(job_of(models, prompt="a"))
        service.batcher.submit(job)
        service.batcher.cut()
        with pytest.raises(Refusal, match="stopping"):
            await text_of(job)
        with pytest.raises(Refusal, match="stopping"):
            service.batcher.submit(job_of(models, prompt="a"))


def test_pieces_come_at_once_and_then_not_too_often(models):
    (choice,) = choices_of(models, prompt="ab", max_tokens=4, echo=True)
    choice.prompt.logits, choice.prompt.state = np.zeros((1, 3)), []
    choice.begin()
    texts, now = [], 100.0
    for ids in ([0], [1], [2], [3]):
        piece = choice.take(now, 0.04)
        texts.append(None if piece is None else piece.text)
        choice.add(np.array(ids), [])
        now += 0.03
    last = choice.take(now, 0.04)
    written = choice.text.text
    assert texts == ["ab", None, written[:2], None]
    assert (last.text, last.finish_reason) == (written[2:], "length")


def test_pace_follows_the_time_of_a_step():
    pace = Pace()
    pace.note(rows=1, steps=100, seconds=0.1)
    assert pace.steps(rows=1, seconds=0.02) == 20
    assert pace.steps(rows=10, seconds=0.02) == 2
    pace.note(rows=10, steps=2, seconds=0.004)
    assert pace.steps(rows=10, seconds=0.02) == 10
    assert pace.steps(rows=1, seconds=0.02) == 10
    assert pace.steps(rows=10**6, seconds=0.02) == 1
