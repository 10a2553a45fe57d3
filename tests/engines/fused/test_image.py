"""Images of networks; tests/kernels/test_other_processors.py opens them."""

import numpy as np
import pytest

from charloom.engines.fused.image import to_image
from charloom.engines.fused.packing import pack

from ..cases import SHORT_CASES, random_parameters

CONFIG = SHORT_CASES["mingru-residual-2"]


def network(rng, dtype=np.float32, *, int8=False):
    return pack(random_parameters(CONFIG, rng), CONFIG, dtype=np.dtype(dtype), int8=int8)


@pytest.mark.parametrize("int8", [False, True])
def test_an_image_holds_the_sections_at_aligned_places(int8, rng):
    net = network(rng, int8=int8)
    image = to_image(net)
    words = np.frombuffer(image[:256], "<i8")
    assert image[:8] == b"charloom"
    assert words[2] == len(image)
    for begin, name in zip(words[15:20], ("layers", "ends", "numbers", "small", "sums"), strict=True):
        part = getattr(net, name)
        assert begin % 64 == 0
        assert image[begin : begin + part.nbytes] == part.tobytes(), name
    assert words[20:23].tolist() == [len(net.numbers), len(net.small), len(net.sums)]


def test_an_image_in_float64_is_refused(rng):
    with pytest.raises(AssertionError, match="float32"):
        to_image(network(rng, np.float64))
