"""Seconds and bytes as people read them, in tables and figures."""

from __future__ import annotations

import math


def seconds(value: float) -> str:
    """Run time for people: ``12.3 s``, ``4.2 min``, ``1.5 h``; empty where not known."""
    if math.isnan(value):
        return ""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (math.inf, "h", 3600)):
        if value < limit:
            return f"{value / size:.1f} {unit}"
    return ""


def gigabytes(value: float) -> str:
    """Size for people, from GB (1e9 bytes): ``8.2 GB``, ``31 MB``; empty where not known."""
    if math.isnan(value):
        return ""
    return f"{value:.1f} GB" if value >= 1 else f"{value * 1000:.{0 if value >= 0.01 else 1}f} MB"
