"""Compiled loops that several engines share, or that speed up an engine of another library.

    jit               how loops are compiled and cached
    vector_math       activations φ and exp over arrays
    masks             random numbers of dropout
    linear_scan       the linear recurrence of minGRU
    cells             elementwise part of a step of elman, lstm and gru, minGRU over a window; with derivatives
    residual          a residual block between its products; with derivatives
    suffix_automaton  the longest substrings that two texts share

Every loop is a serial, module-level Numba function with static calls, so its compiled form is found on disk.
Without Numba, `masks`, `linear_scan` and `suffix_automaton` fall back to NumPy or plain Python; callers of
the others check `jit.HAS_NUMBA` first.
"""
