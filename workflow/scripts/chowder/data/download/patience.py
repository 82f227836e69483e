"""How long a broken transfer is tried again: growing waits, one line in the log for each, and an end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from chowder.data.download.partial import shown, tell
from chowder.data.download.transfer import Again, Settings
from chowder.files import UserError

ADVANCE = 1 << 20  # so many new bytes make earlier failures forgotten


class Patience:
    """Count the failures of one transfer since its last 1 MiB, and wait before the next try.

    Parameters
    ----------
    kept : says what is kept for the next run, for the last line.
    """

    def __init__(self, url: str, name: str, settings: Settings, kept: Callable[[], str] = lambda: "what came is kept"):
        self.url, self.name, self.settings, self.kept = url, name, settings, kept
        self.forget()

    def forget(self) -> None:
        """Begin afresh: new bytes have come."""
        self.failures, self.since = 0, time.monotonic()

    def wait(self, again: Again) -> None:
        """Wait after the failure ``again``; raise UserError when tries and minutes (``Settings``) are both used up."""
        settings = self.settings
        self.failures += 1
        gone = time.monotonic() - self.since
        left = settings.patience_min * 60 - gone
        if self.failures > settings.retries and left <= 0:
            minutes = f" in {gone / 60:.0f} minutes" if gone >= 60 else ""
            raise UserError(
                f"{shown(self.url)}: {again}, after {self.failures} tries{minutes}; {self.kept()}: check the network, "
                "then run again to go on"
            ) from None
        wait = min(settings.backoff_s * 2 ** min(self.failures - 1, 30), settings.backoff_max_s)
        wait = min(max(wait * random.uniform(0.5, 1.0), again.wait or 0.0), settings.backoff_max_s)
        more = f" (waiting for up to {left / 60:.0f} more minutes)" if left >= 60 else f" of {settings.retries}"
        tell(f"{self.name}: {again}; retry {self.failures}{more} in {wait:.1f} s, {self.kept()}")
        time.sleep(wait)
