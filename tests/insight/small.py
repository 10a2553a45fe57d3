"""Measurement sizes for a text of a few hundred characters, done in a second."""

from charloom.insight import Sizes

SMALL = Sizes(
    num_lags=12,
    num_losses=4,
    num_passages=2,
    jacobian_lags=5,
    reach=10,
    targets=12,
    stretches=2,
    unit_chars=60,
    unit_passages=3,
    lean_lags=6,
    lean_rows=5,
    error_chars=300,
)
