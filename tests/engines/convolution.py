"""The causal convolution position by position, as a reference for every engine."""

import numpy as np


def naive_convolution(x, past, weight, bias, resets):
    """Convolve a growing list of inputs that a reset replaces by zeros; batch first."""
    (B, T, D), K = x.shape, weight.shape[1]
    y, behind = np.empty((B, T, D)), np.empty((B, K - 1, D))
    for b in range(B):
        seen = list(past[b])
        for t in range(T):
            if resets is not None and resets[b, t]:
                seen = [np.zeros(D)] * (K - 1)
            seen.append(x[b, t])
            for d in range(D):
                y[b, t, d] = bias[d] + sum(weight[d, K - 1 - k] * seen[-1 - k][d] for k in range(K))
        behind[b] = np.reshape(seen[len(seen) - (K - 1) :], (K - 1, D))
    return y, behind
