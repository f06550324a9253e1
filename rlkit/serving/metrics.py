"""Counts of the HTTP scorer in Prometheus' text format.

Knows the format (version 0.0.4) and nothing of what is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What the server has done so far."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.rows = 0
        self.row_errors = 0
        self._seconds_sum = 0.0
        self._seconds = Counter[float]()

    def took(self, seconds: float) -> None:
        """Count the time of one accepted request."""
        self._seconds_sum += seconds
        self._seconds[next((limit for limit in BUCKETS_SECONDS if seconds <= limit), float("inf"))] += 1

    def text(self, gauges: Mapping[str, tuple[str, int]], counters: Mapping[str, tuple[str, int]]) -> str:
        """Everything as text, with `gauges` and `counters` of the caller's (name -> what it is, value)."""
        lines = ["# HELP rlkit_requests_total Requests answered.", "# TYPE rlkit_requests_total counter"]
        lines += [
            f'rlkit_requests_total{{path="{path}",code="{code}"}} {count}'
            for (path, code), count in sorted(self.requests.items())
        ]
        own = {
            "rlkit_rows_total": ("Rows answered, errors included.", self.rows),
            "rlkit_row_errors_total": ("Rows answered with an error.", self.row_errors),
        }
        for kind, values in (("counter", {**own, **counters}), ("gauge", gauges)):
            for name, (about, value) in values.items():
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value}"]
        name = "rlkit_request_seconds"
        lines += [f"# HELP {name} Time of accepted requests, from headers to answer.", f"# TYPE {name} histogram"]
        count = 0
        for limit in (*BUCKETS_SECONDS, float("inf")):
            count += self._seconds[limit]
            lines.append(f'{name}_bucket{{le="{"+Inf" if limit == float("inf") else f"{limit:g}"}"}} {count}')
        return "\n".join([*lines, f"{name}_sum {self._seconds_sum:.6f}", f"{name}_count {count}", ""])
