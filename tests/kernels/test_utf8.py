"""Text to numbers: the compiled loop against NumPy and against Python's own decoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.kernels import utf8
from charloom.kernels.library import library
from charloom.kernels.utf8 import Ending, Kind, count_numbers, ids_of_numbers, mark_lines, utf8_numbers

STOP = 1 << 16
NUM_CODES = 0x110000
PIECES = ["a", "bcdefghij", "é", "漢", "\U0001f600", "\n", "\x7f", "\u07ff", "\uffff"]
BROKEN = [
    b"\xff",
    b"\x80",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5",
    b"\xc3",
]
BROKEN += [b"\xe6\xbc", b"\xf0\x9f\x98", b"\xf0\x80", b"\xe0\x9f"]


def both(call):
    """What the compiled function and its plain version give."""
    compiled = call()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utf8, "library", lambda: None)
        return compiled, call()


def read(data, slots, kind, start=0, stops=STOP):
    numbers = np.zeros(len(data), np.uint16)
    found = utf8_numbers(data, slots, numbers, start=start, stops=stops, kind=kind)
    return found, numbers[: found.num_numbers].tolist()


@pytest.fixture(scope="module")
def slots():
    """A number for each code; every 97th stops."""
    codes = np.arange(NUM_CODES)
    return ((codes * 7) % 65521 | np.where(codes % 97 == 5, STOP, 0)).astype(np.int32)


def test_there_is_a_library_to_compare_with():
    assert library() is not None


@given(
    parts=st.lists(st.sampled_from([*(piece.encode() for piece in PIECES), *BROKEN]), max_size=12),
    kind=st.sampled_from(list(Kind)),
    stops=st.sampled_from([0, STOP]),
)
def test_the_compiled_loop_and_numpy_agree(slots, parts, kind, stops):
    compiled, plain = both(lambda: read(b"".join(parts), slots, kind, stops=stops))
    assert compiled == plain


@given(text=st.text(), lead=st.text(max_size=3))
def test_a_text_is_numbered_as_python_decodes_it(slots, text, lead):
    data, start = (lead + text).encode(), len(lead.encode())
    codes = np.array([ord(char) for char in text], np.int64)
    for found, numbers in both(lambda: read(data, slots, Kind.CODE_POINTS, start=start, stops=0)):
        assert numbers == (slots[codes] & 0xFFFF).tolist()
        assert found == (Ending.ALL_READ, len(data), len(text), -1)


@given(data=st.binary(max_size=24))
def test_bytes_are_utf8_where_python_says_so(slots, data):
    try:
        data.decode()
        expected = Ending.ALL_READ, len(data)
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        expected = Ending.CUT_SHORT if is_cut else Ending.NOT_UTF8, error.start
    for found, _ in both(lambda: read(data, slots, Kind.CODE_POINTS, stops=0)):
        assert (found.ending, found.num_bytes) == expected


def test_a_stop_is_where_its_code_is(slots):
    data = ("x" * 11 + "é" + chr(5 + 97 * 400) + "y").encode()
    for found, numbers in both(lambda: read(data, slots, Kind.CODE_POINTS)):
        assert found == (Ending.STOPPED, 13, 12, 5 + 97 * 400)
        assert len(numbers) == 12


@pytest.mark.parametrize("size", [1, 3, 4, 255, 256, 257, 65536])
def test_counts(size, rng):
    numbers = rng.integers(0, size, 1003).astype(np.uint16)

    def counted():
        counts = np.ones(size, np.int64)
        count_numbers(numbers, counts)
        return counts.tolist()

    expected = (np.bincount(numbers, minlength=size) + 1).tolist()
    assert both(counted) == (expected, expected)


@given(
    lines=st.lists(st.integers(0, 40), max_size=8),
    inside=st.booleans(),
    ends=st.booleans(),
)
def test_lines_become_documents(lines, inside, ends):
    text = [[7] * length for length in lines] or [[]]
    closed = text if ends else text[:-1]
    numbers = [number for line in text for number in (*line, 3)][: None if ends else -1]
    begins = [bool(line) and not (inside and k == 0) for k, line in enumerate(text)]
    marked = [
        number
        for line, begun in zip(text, begins, strict=True)
        for number in (*([9] if begun else []), *line)
    ]
    num_empty = sum(not line for line in closed[int(inside) :])
    expected = (marked, sum(begins), num_empty, len(closed))

    def found():
        got = mark_lines(np.array(numbers, np.uint16), 3, 9, inside=inside)
        return got._replace(numbers=got.numbers.tolist())

    assert both(found) == (expected, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_numbers_become_ids(dtype, rng):
    table = rng.integers(0, 200, 1000).astype(np.uint32)
    numbers = rng.integers(0, 1000, 77).astype(np.uint16)[::2]
    for ids in both(lambda: ids_of_numbers(numbers, table, np.dtype(dtype))):
        assert ids.dtype == dtype
        assert ids.tolist() == table[numbers].tolist()
