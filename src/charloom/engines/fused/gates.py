"""One time step of every cell behind its matrix products, compiled: gates, state, what the layer above reads.

    elman    h = φ(a)                                                   (1)
    lstm     i, f, g, o = σ(a_i), σ(a_f), tanh(a_g), σ(a_o)             (2)
             c ← f ⊙ c + i ⊙ g;  h = o ⊙ tanh c                         (3)
    gru      r, z = σ(a_r + u_r), σ(a_z + u_z)                          (4)  u = W_hh h + (0, 0, b_hn)
             n = tanh(a_n + r ⊙ u_n);  h ← (1 − z) ⊙ n + z ⊙ h          (5)
    mingru   z = σ(a_z), n = g(a_n);  h ← (1 − z) ⊙ h + z ⊙ n           (6)  g(a) = a + 0.5 where a ≥ 0, else σ(a)

`a` holds the pre-activations W_ih x + b, in elman and lstm W_hh h too. The equations and their sources stand in the scratch engine's
files of the same names. Shapes: H cell size; h, c (H,); a, u (G · H,); `room` (6 · H,) is scratch space.
"""

from __future__ import annotations

from typing import Any

from charloom.engines.kernels.compiling import compiled
from charloom.engines.kernels.functions import ACTIVATIONS, activate

_TANH, _SIGMOID = ACTIVATIONS["tanh"], ACTIVATIONS["sigmoid"]


@compiled
def lstm(a: Any, h: Any, c: Any, room: Any) -> None:
    """Compute (2), (3)."""
    H = h.shape[0]
    activate(_SIGMOID, a[: 2 * H], room[: 2 * H])  # (2)
    activate(_TANH, a[2 * H : 3 * H], room[2 * H : 3 * H])
    activate(_SIGMOID, a[3 * H : 4 * H], room[3 * H : 4 * H])
    for j in range(H):
        c[j] = room[H + j] * c[j] + room[j] * room[2 * H + j]  # (3)
    activate(_TANH, c, h)
    for j in range(H):
        h[j] *= room[3 * H + j]


@compiled
def gru(a: Any, u: Any, h: Any, room: Any) -> None:
    """Compute (4), (5)."""
    H = h.shape[0]
    before, after = (
        room[: 3 * H],
        room[3 * H : 6 * H],
    )  # never in place: where the two overlap, no vector code runs
    for j in range(2 * H):
        before[j] = a[j] + u[j]
    activate(_SIGMOID, before[: 2 * H], after[: 2 * H])  # (4)
    for j in range(H):
        before[2 * H + j] = a[2 * H + j] + after[j] * u[2 * H + j]
    activate(_TANH, before[2 * H :], after[2 * H :])
    for j in range(H):
        n, z = after[2 * H + j], after[H + j]
        h[j] = n + z * (h[j] - n)  # (5)


@compiled
def mingru(a: Any, h: Any, room: Any) -> None:
    """Compute (6)."""
    H = h.shape[0]
    activate(_SIGMOID, a[: 2 * H], room[: 2 * H])  # of the candidates too: less than a branch costs
    half, zero = h.dtype.type(0.5), h.dtype.type(0)
    for j in range(H):
        n = a[H + j] + half if a[H + j] >= zero else room[H + j]
        h[j] += room[j] * (n - h[j])  # (6)
