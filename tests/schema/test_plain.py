"""JSON and TOML within limits."""

import pytest

from charloom.schema import MalformedError, json_value, toml_value
from charloom.schema.plain import MOST_DIGITS, MOST_KEY_PARTS, MOST_TOML_CHARS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * (MOST_DIGITS + 1), "a number of 1,001 digits"),
        ("0." + "1" * MOST_DIGITS, "a number of 1,002 digits"),
        ("1e999", "beyond every float"),
        ("-1e999", "beyond every float"),
        ("[NaN]", "NaN, which is not a number"),
        ("-Infinity", "-Infinity, which is not a number"),
        ('{"a": 1, "a": 2}', "a name occurs twice"),
        ('{"b": {"a": 1, "a": 1}}', "a name occurs twice"),
        (b"\xff\xfe\xff", "not valid JSON"),
    ],
    ids=lambda case: repr(case)[:24],
)
def test_json_beyond_a_limit_is_malformed(text, why):
    with pytest.raises(MalformedError, match=why):
        json_value(text)


def test_json_within_the_limits():
    assert json_value('{"a": [1, 2.5, null, true, "\\u0001"], "b": {"a": 1}}') == {
        "a": [1, 2.5, None, True, "\x01"],
        "b": {"a": 1},
    }
    assert json_value(b'"\xc3\xa9"') == "é"
    assert json_value("9" * MOST_DIGITS) == int("9" * MOST_DIGITS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[], {}, []]", 4),
        ('[[], "[[[", {"{": "\\\\"}, []]', 4),
        ('[[], "\\"[[\\\\", {"é": "[\\\\\\""}, ["日["]]', 4),
        ('["' + "[" * 20_000 + '", [], "' + "日{" * 20_000 + '", {}]', 3),
    ],
)
def test_lists_and_objects_are_counted_outside_strings(text, found):
    assert json_value(text, most_containers=found) == json_value(text)
    assert json_value(text.encode(), most_containers=found) == json_value(text)
    with pytest.raises(MalformedError, match=f"more than {found - 1} lists and objects"):
        json_value(text, most_containers=found - 1)


def test_bytes_are_utf_8():
    assert json_value('"é"'.encode()) == "é"
    for encoding in ("utf-16", "utf-32-le", "latin-1"):
        with pytest.raises(MalformedError, match="not valid JSON"):
            json_value('"é"'.encode(encoding))


def test_our_own_records_may_hold_infinities():
    assert json_value("[Infinity]", finite=False) == [float("inf")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = ", "not valid TOML"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "{a=" * 100_000, "nested too deeply"),
        ("a = " + "1" * 5000, "not valid TOML"),
        ("a." * 100_000 + "b = 1", "more than 16 parts in line 1"),
        ("x = 1\n[" + "a . " * 17 + "b]", "more than 16 parts in line 2"),
        ("[[" + '"a".' * 17 + "b]]", "more than 16 parts in line 1"),
        ("'a'." * 17 + "b = 1", "more than 16 parts in line 1"),
        ("#" * (MOST_TOML_CHARS + 1), "1,000,001 characters"),
    ],
    ids=lambda case: repr(case)[:24],
)
def test_toml_beyond_a_limit_is_malformed(text, why):
    with pytest.raises(MalformedError, match=why):
        toml_value(text)


def test_toml_within_the_limits():
    assert toml_value("a." * (MOST_KEY_PARTS - 1) + "b = 1")
    assert toml_value('[sample]\nprompt = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t"')["sample"]
