"""Compiled loops that more than one engine calls, or that an engine of another library is made fast with.

    compiling    how a loop is compiled and kept
    functions    φ and exp over arrays
    masks        random numbers of dropout
    linear_scan  the linear recurrence of minGRU alone
    gates        one time step of elman, lstm and gru behind its products, minGRU over a window; with derivatives
    residual     what a residual block does between its products; with derivatives

Every loop is a serial, module-level Numba function with static calls, so that its compiled form is found on disk by the next
process. `masks` and `linear_scan` have NumPy twins for where Numba is missing; who calls the others asks `compiling.HAS_NUMBA` first.
"""
