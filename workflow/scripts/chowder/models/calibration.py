"""After training: what each member learnt, and what a tile's embedding value means to it.

The lesion score is the *evidence* of a tile: how much a member's logit changes, on average over the training slides,
when a tile with that embedding value is added to a slide. It needs no orientation and no scale. It covers members that
decide by their top tiles, their bottom tiles or both, and a member that learnt nothing adds nothing. How it was
chosen: docs/decisions/lesion_score.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chowder.models.names import PLATEAU
from chowder.models.networks import Ensemble, extremes

# Nodes of a table on either side: embedding values that can enter the top R, and those that can enter the bottom R.
NODES, OUTER = 97, 32
COLUMNS = 2 * (NODES + OUTER)
# The outer nodes reach this many times the range of the training tiles' values beyond them, ever wider apart. Beyond
# those the score is constant.
REACH = 8.0
# Floats held at a time while a member's table is made: nodes x slides x the widest layer. 2 MB stay in the cache.
_VALUES = 2**19


@dataclass
class Evidence:
    """Tables of a tile's evidence, by member and embedding.

    ``nodes`` (E, J, K): ascending embedding values. ``values`` (E, J, K): mean change of the member's logit over the
    training slides when one tile with that value is added.
    """

    nodes: np.ndarray
    values: np.ndarray

    def __call__(self, e: np.ndarray, members: np.ndarray | None = None) -> np.ndarray:
        """Return the score (n,) of tiles with embedding values ``e`` (E, J, n), in logit units.

        It is the mean over the members of the table's value, interpolated linearly; with J > 1 the sum over the
        embeddings. ``members``: indices of the members to average, default all.
        """
        chosen = range(len(e)) if members is None else members
        total = np.zeros(e.shape[2])
        for m in chosen:
            for j in range(e.shape[1]):
                total += np.interp(e[m, j], self.nodes[m, j], self.values[m, j])
        return total / len(chosen)


@torch.no_grad()
def selected(models: Sequence[Ensemble], store: Any, slides_at_once: int = 16) -> list[torch.Tensor]:
    """Return each ensemble's selected values (E, S, J, 2R) of the store's slides, from one reading of the features."""
    n = len(store.bags)
    found: list[list[torch.Tensor]] = [[] for _ in models]
    for at in range(0, n, slides_at_once):
        slides = np.arange(at, min(at + slides_at_once, n))
        store.bags.expect(range(at + slides_at_once, min(at + 2 * slides_at_once, n)))
        bounds = store.bounds(slides)

        def values(job: tuple[Ensemble, torch.Tensor], bounds: tuple = bounds) -> torch.Tensor:
            model, scores = job
            with torch.no_grad():
                chosen = extremes(scores, *bounds, model.r).flatten(1)
                shape = (model.members, model.embeddings, len(bounds[0]), 2 * model.r)
                best = scores.gather(1, chosen).view(shape).transpose(1, 2).contiguous()
                return best if model.offset is None else best + model.offset[:, None, :, None]

        scores = store.scores(slides, [model.weight.flatten(0, 1) for model in models])
        for parts, part in zip(found, store.map(values, list(zip(models, scores, strict=True))), strict=True):
            parts.append(part)
    return [torch.cat(parts, dim=1) for parts in found]


@torch.no_grad()
def calibrate(models: Sequence[Ensemble], store: Any, y: np.ndarray) -> list[tuple[Evidence, np.ndarray]]:
    """Return for trained ensembles the evidence tables, and each member's loss (E,) on the training slides ``y`` (S,).

    The loss is the mean cross-entropy without dropout and without the L2 term.
    """
    counts = torch.from_numpy(store.bags.counts).to(store.device)
    found, jobs = [], []
    for model, values in zip(models, selected(models, store), strict=True):
        logits = model.head(values)
        target = torch.as_tensor(y, dtype=logits.dtype, device=logits.device).expand_as(logits)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
        found.append((Evidence(*(np.empty((model.members, model.embeddings, COLUMNS)) for _ in range(2))), losses))
        for m in range(model.members):
            jobs.append((found[-1][0], m, model.of_members(slice(m, m + 1)), values[m : m + 1]))

    def fill(job: tuple[Evidence, int, Ensemble, torch.Tensor]) -> None:
        evidence, m, member, values = job
        nodes, changes = table(member, values, counts)
        evidence.nodes[m], evidence.values[m] = nodes.cpu().numpy(), changes.cpu().numpy()

    store.map(fill, jobs)
    return [(evidence, losses.double().cpu().numpy()) for evidence, losses in found]


@torch.no_grad()
def table(member: Ensemble, values: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes and values (J, COLUMNS) of one member's evidence from what the training slides' extremes are.

    Parameters
    ----------
    member : an ensemble of one.
    values : (1, S, J, 2R) selected values of the training slides.
    counts : (S,) tiles per slide.

    The nodes are spread evenly over the training tiles' values that can enter a slide's bottom R, and over those that
    can enter its top R. Between the two a tile is never selected and its evidence is 0. Others lie beyond the range.
    """
    _, slides, embeddings, width = values.shape
    r = member.r
    nodes = _nodes(values[0], low=values[0, :, :, r].amin(dim=0), high=values[0, :, :, 0].amax(dim=0), counts=counts)
    base = member.head(values)
    out = torch.zeros_like(nodes)
    at_once = max(
        1, (_VALUES if values.device.type == "cpu" else 64 * _VALUES) // (slides * max(embeddings * width, 200))
    )
    for j in range(embeddings):
        for first in range(0, COLUMNS, at_once):
            e = nodes[j, first : first + at_once]
            changed = values.expand(len(e), -1, -1, -1).clone()
            changed[:, :, j] = added(values[:, :, j], e[:, None, None], counts, r)
            logits = member.head(changed.flatten(0, 1)[None]).view(len(e), slides)
            # A slide that stays as it is changes by 0, not by the rounding of a product of another shape.
            same = (changed[:, :, j] == values[:, :, j]).all(dim=2)
            out[j, first : first + at_once] = (logits - base).masked_fill(same, 0).mean(dim=1)
    return nodes, out


def _nodes(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the nodes (J, COLUMNS) for a member's selected values (S, J, 2R), the lowest (J,) and the highest (J,)."""
    r = values.shape[2] // 2
    if bool((counts < r).any()):  # any value enters the extremes of a slide with fewer than R tiles
        from_top, from_bottom = low, high
    else:
        from_top, from_bottom = values[..., r - 1].amin(dim=0), values[..., 2 * r - 1].amax(dim=0)
    steps = torch.linspace(0, 1, NODES, dtype=values.dtype, device=values.device)
    outer = (1 + REACH) ** torch.linspace(0, 1, OUTER + 1, dtype=values.dtype, device=values.device)[1:] - 1
    outer = (high - low)[:, None] * outer
    bottom = from_bottom[:, None] - (from_bottom - low)[:, None] * steps
    top = from_top[:, None] + (high - from_top)[:, None] * steps
    return torch.cat([bottom, top, low[:, None] - outer, high[:, None] + outer], dim=1).sort(dim=1).values


def added(values: torch.Tensor, e: torch.Tensor, counts: torch.Tensor, r: int) -> torch.Tensor:
    """Return the extremes of slides after one tile with value ``e`` is added to each.

    Parameters
    ----------
    values : (..., S, 2R) the R highest values, highest first, then the R lowest, lowest first; a slide with fewer than
        R tiles repeats the last of each (see :func:`chowder.models.networks.extremes`).
    e : broadcasts against ``values``.
    counts : (S,) tiles per slide before.

    Returns (..., S, 2R) in the same order.
    """
    if bool((counts >= r).all()):  # nothing is repeated
        out = torch.empty((*np.broadcast_shapes(values.shape[:-1], e.shape[:-1]), 2 * r), dtype=values.dtype)
        out = out.to(values.device)
        for part, new, nearer, farther in (
            (values[..., :r], out[..., :r], torch.maximum, torch.minimum),
            (values[..., r:], out[..., r:], torch.minimum, torch.maximum),
        ):
            new[..., 0] = nearer(part[..., :1], e)[..., 0]
            new[..., 1:] = nearer(part[..., 1:], farther(part[..., :-1], e))
        return out
    rank = torch.arange(r, device=values.device)
    repeated = rank >= counts[:, None]
    last = torch.minimum(rank, counts[:, None])  # the slide has one tile more now
    out = []
    for part, infinite, nearer, farther in (
        (values[..., :r], -torch.inf, torch.maximum, torch.minimum),
        (values[..., r:], torch.inf, torch.minimum, torch.maximum),
    ):
        part = part.masked_fill(repeated, infinite)
        before = torch.cat([torch.full_like(part[..., :1], -infinite), part[..., :-1]], dim=-1)
        new = nearer(part, farther(before, e))  # e goes in front of the first value it passes, the rest move back
        out.append(new.gather(-1, last.expand(new.shape)))
    return torch.cat(out, dim=-1)


def undertrained(losses: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the indices of the members that stayed on the plateau.

    A member counts when its loss (E,) on the training slides is above 90 % of the loss of a constant prediction, that
    is of the entropy of the labels ``y`` (log 2 for as many positives as negatives).
    """
    share = float(np.mean(y))
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return np.flatnonzero(np.asarray(losses) > PLATEAU * constant)
