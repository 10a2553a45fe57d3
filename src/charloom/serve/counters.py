"""What the server counts, as text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Times in seconds, counted by upper bounds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one time."""
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def lines(self, name: str) -> Iterator[str]:
        """The histogram's lines."""
        total = 0
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum_s:.6f}"
        yield f"{name}_count {total}"


class Counters:
    """Numbers since the server started; each is changed by one thread."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()  # by status
        self.read_chars = self.cached_chars = self.written_chars = 0
        self.cancelled = 0
        self.first_char = Histogram()

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Everything as text; `gauges` has what is true now, by name, with its explanation."""
        lines = [
            "# HELP charloom_requests_total Answers by HTTP status.",
            "# TYPE charloom_requests_total counter",
        ]
        lines += [
            f'charloom_requests_total{{code="{status}"}} {count}'
            for status, count in sorted(self.answers.items())
        ]
        for name, help_, value in (
            ("prompt_chars_total", "Characters of prompts that were read.", self.read_chars),
            ("prompt_chars_cached_total", "Characters of prompts whose state was kept.", self.cached_chars),
            ("written_chars_total", "Characters that were generated.", self.written_chars),
            ("requests_cancelled_total", "Requests whose client left early.", self.cancelled),
        ):
            lines += [*_about(name, help_, "counter"), f"charloom_{name} {value}"]
        for name, (help_, number) in gauges.items():
            lines += [*_about(name, help_, "gauge"), f"charloom_{name} {number:g}"]
        name = "time_to_first_char_seconds"
        lines += _about(name, "From the arrival of a request to its first character.", "histogram")
        lines += self.first_char.lines(f"charloom_{name}")
        return "\n".join(lines) + "\n"


def _about(name: str, help_: str, kind: str) -> list[str]:
    return [f"# HELP charloom_{name} {help_}", f"# TYPE charloom_{name} {kind}"]
