"""Text that a teacher writes: what it is, and a training on it, its resume, its branches and what is damaged."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import charloom
from charloom import jobs
from charloom.config import ModelConfig, SampleConfig, TextConfig
from charloom.engines import load_engine
from charloom.errors import DataError
from charloom.generation import sample
from charloom.parameters import initial_parameters
from charloom.steps import result_of
from charloom.text import read_corpus
from charloom.text.prepared import open_prepared, write_prepared
from charloom.training import Preparing, Started, distillation, written_text
from charloom.training.written_text import written_corpus

from .conftest import TEXT, TINY

WRITTEN = 5_000


def job_of(text, teacher, out, **settings):
    how = {"steps": 12, "validate_every": 4, "written_chars": WRITTEN, **TINY, **settings}
    return jobs.new_job(text, out=out, teacher=teacher, **how)


def drawn(corpus, cell="gru"):
    config = ModelConfig(cell=cell, hidden_size=6)
    return load_engine("auto", task="writing").model(initial_parameters(config, len(corpus.vocab), 0), config)


@pytest.mark.parametrize("number", [1, 999, 4_096, 9_000])
def test_a_teacher_writes_passages_which_are_its_samples(number, text, monkeypatch):
    monkeypatch.setattr(written_text, "PASSAGES_AT_ONCE", 2)
    corpus = read_corpus([text], TextConfig())
    model, vocab = drawn(corpus), corpus.vocab
    shares, steps = [], written_corpus(model, corpus, number, 3)
    written = result_of(steps, shares.append)
    assert len(written.train) == number
    assert written.train.dtype == corpus.train.dtype
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    config = SampleConfig(length=written_text.PASSAGE_CHARS - 1, temperature=1.0, count=3)
    expected = "".join("\n" + one.text for one in sample(model, vocab, [np.empty(0, int)], config, seed=3))
    assert vocab.decode(written.train) == expected[:number]
    other = result_of(written_corpus(model, corpus, number, 4))
    assert number < 10 or not np.array_equal(other.train, written.train)


def test_documents_are_written_whole_and_one_after_the_other(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}\n" for name in ("anna", "emma", "olivia", "ava", "mia") * 60))
    corpus = read_corpus([path], TextConfig(documents="line"))
    model, vocab = drawn(corpus), corpus.vocab
    written = result_of(written_corpus(model, corpus, 3_000, 5)).train
    assert len(written) == 3_000
    config = SampleConfig(length=written_text.PASSAGE_CHARS - 1, temperature=1.0, count=100)
    samples = sample(model, vocab, [np.empty(0, int)], config, seed=5)
    expected = np.concatenate([np.r_[vocab.boundary_id, vocab.encode(one.text)] for one in samples])
    np.testing.assert_array_equal(written[: len(expected)], expected[: len(written)])


def test_what_the_vocabulary_does_not_know_is_not_written(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab " * 400 + "z")
    corpus = read_corpus([path], TextConfig(min_count=2))
    unknown = len(corpus.vocab.symbols)
    assert unknown < len(corpus.vocab)
    assert result_of(written_corpus(drawn(corpus), corpus, 2_000, 0)).train.max() < unknown


def test_a_student_trains_on_what_its_teacher_wrote(text, teacher, tmp_path):
    events = list(job_of(text, teacher, tmp_path / "student").events())
    doing = [event for event in events if isinstance(event, Preparing)]
    assert list(dict.fromkeys(event.what for event in doing)) == [
        "the teacher writes",
        "the teacher reads",
    ]
    assert doing == events[: len(doing)]
    assert {event.share for event in doing} >= {0.0, 1.0}
    (started,) = (event for event in events if isinstance(event, Started))
    assert f"the network also trains on {WRITTEN:,} characters that its teacher wrote" in started.notes
    num_train = len(read_corpus([text], TextConfig()).train)
    assert started.steps_per_epoch == (num_train + WRITTEN - 1 - 15) // 4 // 16 + 1
    run = charloom.load(tmp_path / "student").run
    assert "preparing" not in {event["event"] for event in run.events()}
    written = open_prepared(run.written_path)
    assert len(written.train) == WRITTEN
    assert json.loads(run.config_path.read_text())["train"]["written_chars"] == WRITTEN
    without = charloom.train(
        text, out=tmp_path / "without", teacher=teacher, quiet=True, steps=12, validate_every=4, **TINY
    )
    assert not without.run.written_path.exists()
    found = charloom.load(tmp_path / "student").file.parameters
    assert any((without.file.parameters[name] != x).any() for name, x in found.items())


def test_a_resume_reads_what_was_written_and_ends_with_the_same_bytes(text, teacher, tmp_path):
    list(job_of(text, teacher, tmp_path / "whole").events())
    events = job_of(text, teacher, tmp_path / "cut").events()
    next(event for event in events if event.step >= 4)
    events.close()
    shutil.rmtree(teacher)
    before = (tmp_path / "cut" / "written.chars").stat().st_mtime_ns
    cut = charloom.resume(tmp_path / "cut", quiet=True)
    assert cut.run.written_path.stat().st_mtime_ns == before
    for name, x in charloom.load(tmp_path / "whole").file.parameters.items():
        np.testing.assert_array_equal(cut.file.parameters[name], x, err_msg=name)


@pytest.mark.parametrize("documents", ["none", "line"])
def test_a_stop_while_the_teacher_writes_costs_one_batch(documents, text, tmp_path, monkeypatch):
    monkeypatch.setattr(written_text, "PASSAGES_AT_ONCE", 2)
    monkeypatch.setattr(written_text, "PASSAGE_CHARS", 900)
    how = {"documents": documents, "steps": 2, **TINY}
    teacher = charloom.train(text, out=tmp_path / "teacher", quiet=True, **how).run.path

    def student(name):
        return jobs.new_job(text, out=tmp_path / name, teacher=teacher, written_chars=WRITTEN, **how)

    whole, cut = (student(name) for name in ("whole", "cut"))
    list(whole.events())
    events = cut.events()
    next(event for event in events if cut.run.written_path.exists())
    events.close()
    kept = np.array(open_prepared(cut.run.written_path).train)
    assert 2 <= len(kept) <= 2 * 900
    assert cut.what_is_kept() == "no checkpoint was saved, but what the teacher wrote"
    written, seen = written_text._passages, []
    monkeypatch.setattr(written_text, "_passages", lambda *args: seen.append(args[2]) or written(*args))
    resumed = charloom.resume(cut.run.path, quiet=True)
    assert seen[0] == range(2, 4)
    assert resumed.run.written_path.read_bytes() == whole.run.written_path.read_bytes()
    for name, x in charloom.load(whole.run.path).file.parameters.items():
        np.testing.assert_array_equal(resumed.file.parameters[name], x, err_msg=name)


def test_a_stop_keeps_what_is_written_and_nothing_before_that(text, teacher, tmp_path):
    events = job_of(text, teacher, tmp_path / "early").events()
    next(events)
    events.close()
    assert not (tmp_path / "early").exists()
    events = job_of(text, teacher, tmp_path / "late").events()
    next(event for event in events if event.what == "the teacher reads")
    events.close()
    resumed = charloom.resume(tmp_path / "late", quiet=True)
    list(job_of(text, teacher, tmp_path / "whole").events())
    for name, x in charloom.load(tmp_path / "whole").file.parameters.items():
        np.testing.assert_array_equal(resumed.file.parameters[name], x, err_msg=name)


def test_a_branch_keeps_what_was_written(text, teacher, tmp_path, monkeypatch):
    list(job_of(text, teacher, tmp_path / "student").events())
    monkeypatch.setattr(distillation, "written_corpus", None)
    branch = charloom.resume(
        tmp_path / "student", settings={"learning_rate": 0.01}, more_steps=4, out=tmp_path / "b", quiet=True
    )
    assert branch.run.written_path.read_bytes() == (tmp_path / "student" / "written.chars").read_bytes()


def test_a_batch_may_be_larger_than_the_text_if_the_teacher_writes(text, teacher, tmp_path):
    text.write_text(TEXT[:2_000], encoding="utf-8")
    events = job_of(text, teacher, tmp_path / "student", batch_size=200).events()
    started = next(event for event in events if isinstance(event, Started))
    events.close()
    assert not [note for note in started.notes if "reduced" in note]


@pytest.mark.parametrize("fault", ["cut", "changed", "another", "shorter"])
def test_damaged_text_is_an_error(fault, text, teacher, tmp_path):
    events = job_of(text, teacher, tmp_path / "run").events()
    next(event for event in events if event.step >= 4)
    events.close()
    path = tmp_path / "run" / "written.chars"
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[:-1])
    elif fault == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif fault == "another":
        shutil.copy(other_corpus(tmp_path), path)
    else:
        written = open_prepared(path)
        path.unlink()
        write_prepared(replace(written, train=np.array(written.train[:-1])), path)
    with pytest.raises(DataError, match=r"written\.chars"):
        charloom.resume(tmp_path / "run", quiet=True)


def other_corpus(folder):
    """A prepared corpus of another vocabulary."""
    path = folder / "other.txt"
    path.write_text("0123456789 " * 300)
    corpus = read_corpus([path], TextConfig())
    write_prepared(replace(corpus, validation=None), folder / "other.chars")
    return folder / "other.chars"
