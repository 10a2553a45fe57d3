"""A text cleaned in segments is the text cleaned as a whole, wherever the blocks end."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.kernels.sha256 import Sha256
from charloom.text import segments
from charloom.text.normalise import clean
from charloom.text.part import Part
from charloom.text.segments import Cutter
from charloom.text.symbols import Symbols

PIECES = [
    *"ab \r\n\té\u0301\u0323\u0307ḍ각\u1100\u1161\u11a8漢か\u3099\ufeff\u00ad\u2126ﬁ’\u0340\ufffd\U0001d15e",
    "\r\n",
    "\n\n",
    "e\u0301",
    "\u0323\u0307",
    "xyz",
]
CONFIGS = [
    TextConfig(),
    *(TextConfig(normalization=form) for form in ("nfd", "nfkc", "nfkd", "none")),
    TextConfig(replace_chars="U+0061=U+0301,U+00AD=,’=',U+0020=U+000D"),
    TextConfig(replace_chars="U+000A=b,b=U+000A"),
    TextConfig(documents="line"),
    TextConfig(documents="blank-line"),
]


class InMemory(bytearray):
    """A spool of which only writing is needed."""

    def write(self, data):
        self.extend(data)


def cut(data, sizes, config):
    blocks, position = [], 0
    while position < len(data):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(data[position : position + size])
        position += size
    return list(Cutter(config, "a").segments(iter(blocks)))


EXAMPLES = settings(max_examples=300)
texts = st.lists(st.sampled_from(PIECES), min_size=4, max_size=16).map("".join)
sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@EXAMPLES
@given(text=texts, sizes=sizes, config=st.sampled_from(CONFIGS))
@example(text="a \nb", sizes=[1], config=CONFIGS[5])  # the space becomes the first half of a line end
def test_segments_are_cleaned_by_themselves(text, sizes, config):
    found = cut(text.encode(), sizes, config)
    assert "".join(clean(segment.data.decode(), config) for segment in found) == clean(text, config)
    ends = [segment.end for segment in found]
    assert ends == sorted(ends)
    assert ends == [] or ends[-1] == len(text.encode())


def part_of(config, segments_of_text):
    part = Part(Symbols(), config, InMemory(), Sha256())
    for segment in segments_of_text:
        part.feed_utf8(segment.data)
    part.end_file()
    return part


def result(part):
    numbers = memoryview(part.spool).cast("H").tolist()
    codes = part.symbols.codes.tolist()
    counts = {codes[number]: count for number, count in enumerate(part.counts.tolist()) if count}
    splitter = part.splitter
    return (
        [codes[number] for number in numbers],
        counts,
        (part.num_chars, part.length, part.digest.hexdigest(), part.places.line, part.places.first),
        (splitter.num_documents, splitter.num_empty, splitter.num_breaks),
        part.changes.notes(),
    )


@EXAMPLES
@given(text=texts, sizes=sizes, span=st.sampled_from([1, 5, 4096]), config=st.sampled_from(CONFIGS))
def test_the_compiled_way_encodes_what_the_plain_way_does(text, sizes, span, config):
    plain = Part(Symbols(), config, InMemory(), Sha256())
    plain.feed(plain._spans.cleaner.feed(text, final=True))
    plain.end_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_SPAN", span)
        compiled = result(part_of(config, cut(text.encode(), sizes, config)))
    expected = result(plain)
    assert compiled[:4] == expected[:4]
    assert sorted(re.findall(r"\d+ place", " ".join(compiled[4]))) == sorted(
        re.findall(r"\d+ place", " ".join(expected[4]))
    )


@EXAMPLES
@given(data=st.binary(max_size=40), sizes=sizes, documents=st.sampled_from(["none", "line", "blank-line"]))
def test_raw_bytes_are_kept_wherever_they_are_cut(data, sizes, documents):
    config = TextConfig(unit="byte", documents=documents)
    found = cut(data, sizes, config)
    assert b"".join(segment.data for segment in found) == data
    assert result(part_of(config, found)) == result(part_of(config, cut(data, [100], config)))


@EXAMPLES
@given(text=texts, sizes=sizes, stop=st.integers(0, 20), config=st.sampled_from(CONFIGS))
def test_a_reading_is_taken_up_with_the_same_segments(text, sizes, stop, config):
    data = text.encode()
    blocks = [data[at : at + sizes[0]] for at in range(0, len(data), sizes[0])]
    whole = list(Cutter(config, "a").segments(iter(blocks)))
    cutter, done = Cutter(config, "a"), []
    for segment in cutter.segments(iter(blocks)):
        done.append(segment)
        if len(done) > stop:
            break
    rest = [block for number, block in enumerate(blocks) if number * sizes[0] >= cutter.read]
    carry = data[done[-1].end if done else 0 : cutter.read]
    again = Cutter(config, "a", carry=carry, read=cutter.read)
    assert [*done, *again.segments(iter(rest))] == whole


def test_scripts_without_ascii_are_cut_too(monkeypatch):
    monkeypatch.setattr(segments, "_MAX_CARRY", 1000)
    text = "漢字仮名" * 1000
    found = cut(text.encode(), [500], TextConfig())
    assert max(len(segment.data) for segment in found) <= 510
    marks = ("漢" + "\u0301" * 4000).encode()
    assert b"".join(s.data for s in cut(marks, [500], TextConfig(normalization="none"))) == marks
    with pytest.raises(DataError, match="combining characters in a row"):
        cut(marks, [500], TextConfig())
