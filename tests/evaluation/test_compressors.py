"""The primed xz baseline against texts of known cost, and against the streaming interface of `lzma`."""

import lzma

import pytest

from charloom.errors import ConfigError, DataError
from charloom.evaluation import xz_bits_per_char

CODER_OVERHEAD = 0.15  # bits per character: the overhead of an adaptive coder on characters without a pattern
A_FEW_BYTES = 0.1  # bits per character: a distance, a length and a header, over a thousand characters
XZ_VERSIONS = 0.01  # bits per character: another version of liblzma may choose other matches


def random_text(rng, length, alphabet="abcdefghijklmnop"):
    return "".join(rng.choice(list(alphabet), length))


def test_patternless_text_costs_its_entropy(rng):
    text = random_text(rng, 60_000)  # 16 equally likely characters: 4 bits each, from Shannon
    assert 4.0 < xz_bits_per_char(text[:50_000], text[50_000:]) < 4.0 + CODER_OVERHEAD


def test_the_dictionary_spans_the_training_text(rng):
    train = random_text(rng, 300_000)
    assert xz_bits_per_char(train, train[:1000]) < A_FEW_BYTES


def test_only_validation_characters_are_charged(rng):
    """The same formula with the streaming interface; 'é' is two bytes and one character."""
    train, validation = random_text(rng, 5000, "abcdé"), random_text(rng, 1000, "abcdé")
    dict_size = len((train + validation).encode())
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dict_size}]

    def size(text):
        compressor = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters)
        return len(compressor.compress(text.encode()) + compressor.flush())

    expected = 8 * (size(train + validation) - size(train)) / 1000
    assert xz_bits_per_char(train, validation) == expected


def test_priming_helps(rng):
    words = [random_text(rng, 6) for _ in range(200)]
    text = " ".join(rng.choice(words, 3000))
    train, validation = text[:18_000], text[18_000:]
    assert xz_bits_per_char(train, validation) < 0.8 * xz_bits_per_char("", validation)


def test_limits_keep_the_text_next_to_the_split(rng):
    text = random_text(rng, 20_000)
    train, validation = text[:15_000], text[15_000:]
    limited = xz_bits_per_char(train, validation, max_train_bytes=4000, max_validation=700)
    assert limited == xz_bits_per_char(train[-4000:], validation[:700])
    unprimed = xz_bits_per_char(train, validation, max_train_bytes=0)
    assert unprimed == xz_bits_per_char("", validation)


def test_the_limit_may_cut_a_character_in_half():
    assert xz_bits_per_char("كان " * 300, "كان يا ما كان", max_train_bytes=1001) > 0


def test_a_lone_surrogate_can_be_encoded():
    assert xz_bits_per_char("a\ud800" * 20, "\ud800") >= 0


@pytest.mark.data
def test_tinyshakespeare(data):
    """2.518 bits: 35,113 bytes more for the last tenth, with liblzma 5.4."""
    text = (data / "tinyshakespeare.txt").read_text("utf-8")
    cut = len(text) * 9 // 10
    assert xz_bits_per_char(text[:cut], text[cut:]) == pytest.approx(2.518, abs=XZ_VERSIONS)


def test_an_empty_validation_text_is_refused():
    with pytest.raises(DataError) as caught:
        xz_bits_per_char("text", "")
    assert caught.value.what == "the validation text is empty"


@pytest.mark.parametrize(
    ("limits", "what", "why"),
    [
        ({"max_train_bytes": -1}, "max_train_bytes is -1", "it must be at least 0"),
        ({"max_validation": 0}, "max_validation is 0", "it must be at least 1"),
    ],
)
def test_invalid_limits_are_refused(limits, what, why):
    with pytest.raises(ConfigError) as caught:
        xz_bits_per_char("text", "text", **limits)
    assert (caught.value.what, caught.value.why) == (what, why)


def test_a_text_in_parts_has_the_size_of_the_whole(rng):
    train = random_text(rng, 400_000, "abcdefé")
    data, both = train.encode(), (train + train[:50_000]).encode()

    def size(text, span):
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": span}]
        return len(lzma.compress(text, format=lzma.FORMAT_RAW, filters=filters))

    expected = 8 * (size(both, len(both)) - size(data, len(data))) / 50_000
    assert xz_bits_per_char(train, train[:50_000]) == expected
