"""Which slides are embedded together: one job takes a shard, so that the encoder is started once for many slides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chowder.files import UserError, field, read_json


def plan(slides: Sequence[str], size: int, made: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the shards of ``slides``: name to slides, in the order of the slides table.

    Shards that were made before stay as they are, so that another ``size`` embeds nothing again, and a slide that is
    new in the middle of the table gets a job of its own. The rest is cut into runs of at most ``size`` slides. A run
    does not depend on which of the others are finished: a cluster node that plans again during the run comes to the
    same shards.

    Parameters
    ----------
    size : slides per new shard, at least 1.
    made : shards whose manifests exist, by name. One with a slide that is not in ``slides`` any more is dissolved.
    """
    known, taken, shards = set(slides), set(), {}
    for name in sorted(made):
        group = list(made[name])
        if group and known.issuperset(group) and taken.isdisjoint(group):
            shards[name] = group
            taken.update(group)
    for first in range(0, len(slides), size):
        rest = [slide for slide in slides[first : first + size] if slide not in taken]
        if rest:
            name = rest[0]
            while name in shards:  # an older shard of other slides has the name
                name += "_"
            shards[name] = rest
    order = {slide: place for place, slide in enumerate(slides)}
    return dict(sorted(shards.items(), key=lambda item: min(order[slide] for slide in item[1])))


def made(folder: str | Path) -> dict[str, list[str]]:
    """Return the shards whose manifests lie in ``folder``: name to slides. What is no manifest is ignored."""
    found = {}
    for path in Path(folder).glob("*.json"):
        try:
            found[path.stem] = list(field(path, read_json(path), "slides", "object"))
        except UserError:
            continue
    return found


def together(plans: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return shards of several encoders as one plan: of shards that share a name or a slide, the first counts."""
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for plan_ in plans:
        for name, group in plan_.items():
            if name not in found and taken.isdisjoint(group):
                found[name] = list(group)
                taken.update(group)
    return found
