"""A schema names the file, the path, what was found and what is allowed."""

from dataclasses import fields

import msgspec
import pytest

from charloom.errors import RunError
from charloom.schema import Schema
from charloom.schema.documents import (
    EVENT_LINES,
    FactsRecord,
    Holder,
    LoopRecord,
    ProgressLine,
    RunConfig,
    VerdictRecord,
)
from charloom.training import events
from charloom.training.facts import Facts
from charloom.training.state import LoopState
from charloom.training.verdict import Verdict


def fault(what, why):
    return RunError(what, why=why, fix="mend it")


CORPUS = {
    "name": "tales", "sources": ["tales.txt"], "in_memory": False, "val": None, "test": None,
    "sha256": "0" * 64, "num_chars": 5, "vocab_size": 3, "unit": "char",
}  # fmt: skip
PROGRESS = {
    "event": "progress", "step": 3, "first_step": 1, "progress": 0.5, "loss": [1.5, 1.25], "grad_norm": [1.0, 2.0],
    "learning_rate": 0.1, "chars_per_s": 10.0, "time_left_s": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "what", "why"),
    [
        ([], r"\$ is a list of 0", "Expected object, got array"),
        ({"corpus": CORPUS | {"num_chars": "5"}}, r"\$\.corpus\.num_chars is '5'", "Expected int, got str"),
        ({"corpus": CORPUS | {"num_chars": -1}}, r"\$\.corpus\.num_chars is -1", "Expected int >= 0"),
        ({"corpus": CORPUS | {"num_chars": True}}, r"\$\.corpus\.num_chars is true", "Expected int, got bool"),
        ({"corpus": CORPUS | {"sources": ["a", None]}}, r"\$\.corpus\.sources\[1\] is null", "Expected str, got null"),
        ({"corpus": CORPUS | {"sha256": "x" * 90}}, r"sha256 is 'x{58}…", "regex"),
        ({"corpus": {}}, r"\$\.corpus is an object of 0 names", "missing required field name"),
        ({"results": []}, r"\$\.results is a list of 0", "Expected object"),
        ({"schema": 2}, r"\$\.schema is 2", "Invalid enum value 2"),
    ],
)  # fmt: skip
def test_the_error_names_path_found_and_allowed(value, what, why):
    with pytest.raises(RunError) as caught:
        Schema(RunConfig, fault).check(value, "runs/tales/config.json")
    assert caught.value.what.startswith("runs/tales/config.json: $")
    assert pytest.importorskip("re").search(what, caught.value.what), caught.value.what
    assert why in caught.value.why


@pytest.mark.parametrize("value", [{"\ud800": 1}, {"schema": "\ud800"}])
def test_half_a_surrogate_pair_in_a_name_is_explained(value):
    with pytest.raises(RunError, match=r"half of a surrogate pair, '\\ud800'"):
        Schema(RunConfig, fault).check(value, "config.json")


def test_a_value_that_fits_is_returned_as_it_is_with_names_of_a_newer_version():
    value = {"corpus": CORPUS | {"added_later": [1]}, "also": {"new": None}}
    assert Schema(RunConfig, fault).check(value, "config.json") is value


@pytest.mark.parametrize("changed", [{"loss": [1.5]}, {"grad_norm": []}, {"first_step": 2}])
def test_a_progress_event_has_a_number_for_every_update(changed):
    Schema(ProgressLine, fault).check(PROGRESS, "line 3")
    with pytest.raises(RunError, match="a loss and a grad_norm for each of the"):
        Schema(ProgressLine, fault).check(PROGRESS | changed, "line 3")


@pytest.mark.parametrize("pid", [0, -1, 2**31, True, "5", 1.5])
def test_a_lock_holder_has_a_process_number(pid):
    with pytest.raises(RunError, match=r"\$\.pid"):
        Schema(Holder, fault).check({"pid": pid}, "lock")


def names(document):
    return {spec.name for spec in msgspec.structs.fields(document)}


def test_the_documents_have_the_fields_of_what_is_written():
    assert names(FactsRecord) == {spec.name for spec in fields(Facts)} - {"model", "training"}
    assert names(VerdictRecord) == {spec.name for spec in fields(Verdict)}
    assert names(LoopRecord) == {spec.name for spec in fields(LoopState)} - {"others"}


def test_every_kind_of_event_is_declared_with_names_that_it_has():
    kinds = {cls.__name__.lower(): cls for cls in events.Event.__args__} | {"signals": events.UpdateStats}
    written = {
        kind: cls for kind, cls in kinds.items() if kind not in ("updatestats", "preparing", "closing")
    }
    assert set(EVENT_LINES) == {*written, "diverged"}
    for kind, cls in written.items():
        assert names(EVENT_LINES[kind]) <= {spec.name for spec in fields(cls)}, kind
