"""Progress a person can read: a bar in a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts work done. ``with Progress(total, "tiles", "embedding") as bar: bar.update(16)``.

    In a terminal this is a tqdm bar. Otherwise a line with count, rate and time left is printed to stderr at most
    every ``interval`` seconds, and a last one at the end, so that a log of a long job stays short and readable.
    """

    def __init__(self, total: int, unit: str, what: str, interval: float = 15.0):
        self.total, self.unit, self.what, self.interval = total, unit, what, interval
        self.done = 0
        self.started = self.printed = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit=f" {unit}", desc=what)

    def __enter__(self) -> Progress:
        return self

    def update(self, n: int = 1) -> None:
        """Record ``n`` more units as done."""
        self.done += n
        if self.bar is not None:
            self.bar.update(n)
        elif time.monotonic() - self.printed >= self.interval:
            self._line()

    def _line(self) -> None:
        now = time.monotonic()
        seconds = max(now - self.started, 1e-9)
        rate = self.done / seconds
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        print(
            f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, {seconds:.1f} s{left}",
            file=sys.stderr,
            flush=True,
        )
        self.printed = now

    def __exit__(self, *exc) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._line()
