"""How benches time a piece of work."""

from __future__ import annotations

import time


def least(work, calls: int = 5) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
