"""Sentences under the benchmark table: members that learnt nothing, the lesion score behind the FROC."""

from __future__ import annotations

from collections.abc import Iterable

from chowder.models.names import KINDS, tile_score
from chowder.report import paper


def undertrained(by_split: dict[str, list[int]], ensemble: int) -> list[str]:
    """Return a sentence about the members that learnt nothing, listed by split; no sentence where there are none."""
    counts = {split: len(members) for split, members in by_split.items() if members}
    if not counts:
        return []
    return [
        "members that stayed on the plateau of the training loss: "
        + ", ".join(f"{count} of {ensemble} ({split})" for split, count in counts.items())
        + "."
    ]


def label_set(settings: dict) -> list[str]:
    """Return the sentence on a second label set (``labels``: its file's name, ``relabelled``: slides it changes)."""
    if not settings.get("labels"):
        return []
    names = list(settings.get("relabelled") or [])
    shown = f" ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else ""
    return [f"Label set: {settings['labels']}, which changes {len(names)} slides of the slides table{shown}."]


def not_the_papers(methods: Iterable[str]) -> str:
    """Return the sentence that names the methods of the table that the paper does not have, with their sources."""
    families = {paper.parse(name).family for name in methods}
    found = [f"{kind.title} ({kind.source})" for name, kind in KINDS.items() if name in families and kind.source]
    return f"Not in the paper: {', '.join(found)}." if found else ""


def score_note(score: str, methods: Iterable[str]) -> str:
    """Return the sentence on the lesion scores that the FROC uses; ``score``: the config's localisation.score."""
    kinds = {paper.parse(name).family for name in methods}
    meaning = {
        "evidence": "the evidence of a tile (mean change of the logit when it is added to a training slide)",
        "embedding": "the mean embedding value of the members",
    }
    parts = []
    for kind, label in (("chowder", "CHOWDER"), ("chowder_mlp", "CHOWDER MLP"), ("weldon", "WELDON")):
        if kind in kinds:
            parts.append(f"{label}: {meaning[tile_score(kind, score)]}")
    if kinds & {"meanpool", "maxpool"}:
        parts.append("pooled baselines: the logit of the tile's own features")
    others = [kind for name, kind in KINDS.items() if name in kinds and kind.lesion_score]
    parts += [f"{kind.title}: {kind.lesion_score}" for kind in others]
    return f"Lesion scores behind the FROC. {'; '.join(parts)}." if parts else ""
