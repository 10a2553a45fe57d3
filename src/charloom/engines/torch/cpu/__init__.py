"""The torch engine's fast path on a CPU: compiled loops, used by `cells`, `residual`, `dropout` and `learner`."""
