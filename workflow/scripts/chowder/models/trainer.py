"""Training every member of an ensemble in one pass.

What makes it fast (measured in bench/bench_training.py): tiles are scored for all members by one product without a
graph; the loss is computed from the 2R selected values a slide; the gradient of the embedding is a product over the
selected tiles only. All of it is exact: tests/unit/reference_models.py holds the plain loop that it equals.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adam import adam

from chowder import seeds
from chowder.files import UserError
from chowder.models.calibration import calibrate, undertrained
from chowder.models.networks import Ensemble, extremes
from chowder.models.scorer import FeatureStore, pick_device
from chowder.progress import Progress

if TYPE_CHECKING:
    from chowder.features.bags import Bags
    from chowder.models.estimators import EnsembleEstimator

T = TypeVar("T")
# Parts of an ensemble that threads can work on at the same time, at most.
PARTS = 4


@contextlib.contextmanager
def one_torch_thread() -> Iterator[int]:
    """Run torch's own operations on one thread inside; yields how many it had.

    Threads here are Python's, each with its own rows. torch's (OpenMP) wait for each other at every small operation:
    measured ten times slower as soon as another program wants the cores, and the bits depend on their number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


class Adam:
    """Hold the state of Adam (Kingma & Ba, arXiv 1412.6980) with the usual constants and take torch's own step.

    The step is ``torch.optim.adam.adam``. The class ``torch.optim.Adam`` takes the same one, but making the first
    optimiser of a process imports torch's compiler (docs/decisions/adam.md).
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float):
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter by its gradient."""
        adam(
            self.parameters,
            [parameter.grad for parameter in self.parameters],
            self.first,
            self.second,
            [],
            self.steps,
            foreach=False,
            fused=True,  # one kernel per tensor: 3 to 15 times faster than operation by operation
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class _Run:
    """Some members of one ensemble while they are trained; members are independent, so threads share them out.

    ``part``: which members of ``model``, the whole ensemble with its initial weights; they are trained in place.
    """

    def __init__(self, estimator: EnsembleEstimator, model: Ensemble, part: slice, store: FeatureStore, slides: int):
        self.estimator, self.store, self.slides = estimator, store, slides
        self.members = range(estimator.members)[part]
        self.model = model.of_members(part)
        self.optimiser = Adam(self.model.parameters(), estimator.learning_rate)
        self.generators = [
            torch.Generator().manual_seed(seeds.seed_of(*estimator.seed_stream, m, "dropout")) for m in self.members
        ]
        self.weights: torch.Tensor | None = None
        if estimator.bootstrap:
            counts = [
                seeds.generator(*estimator.seed_stream, m, "bootstrap").multinomial(slides, [1 / slides] * slides)
                for m in self.members
            ]
            self.weights = torch.tensor(np.stack(counts), dtype=store.exact, device=store.device)
        self.history: list[np.ndarray] = []
        self.seconds = 0.0

    def start_epoch(self) -> None:
        self.total = torch.zeros(len(self.members), dtype=self.store.exact, device=self.store.device)
        self.keep = self.estimator.masks(self.generators, self.slides, self.store)

    def slopes(self, scores: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which of the embedding values ``scores`` (EJ, tiles of the batch) are selected, and their slopes.

        Both are (EJ, selected): columns of ``scores``, and the derivative of the loss. The gradients of all parameters
        but the embedding are set.
        """
        started = time.perf_counter()
        model = self.model
        e, j, r, b = model.members, model.embeddings, model.r, len(batch.slides)
        chosen = extremes(scores, *batch.bounds, r).flatten(1)
        values = scores.gather(1, chosen).view(e, j, b, 2 * r).transpose(1, 2).contiguous()
        if model.offset is not None:
            values += model.offset.detach()[:, None, :, None]
        values.requires_grad_()
        keep = None if self.keep is None else self.keep[:, batch.position]
        logits = model.head(values, keep)
        each = functional.binary_cross_entropy_with_logits(logits, batch.y.expand(e, b), reduction="none")
        if self.weights is not None:
            each = each * self.weights[:, batch.position]
        losses = each.mean(dim=1)
        model.zero_grad()
        losses.sum().backward()
        with torch.no_grad():
            slope = values.grad.transpose(1, 2).reshape(e * j, b * 2 * r)
            if model.offset is not None:
                model.offset.grad = slope.view(e, j, -1).sum(dim=2)
            self.total += (losses + self.estimator.l2 * model.penalty()) * (b / self.slides)
        self.seconds += time.perf_counter() - started
        return chosen, slope

    def step(self, gradient: torch.Tensor) -> None:
        """One Adam step; ``gradient`` (EJ, P) is the embedding's, without the L2 term."""
        started = time.perf_counter()
        with torch.no_grad():
            weight = self.model.weight
            weight.grad = gradient.view_as(weight).add_(weight, alpha=2 * self.estimator.l2)
        self.optimiser.step()
        self.seconds += time.perf_counter() - started

    def end_epoch(self, epoch: int) -> None:
        """Record the epoch's losses. Errors: a loss that is not finite, with epoch and member."""
        losses = self.total.cpu().numpy().astype(np.float64)
        self.history.append(losses)
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            raise UserError(
                f"{self.estimator.name}: the training loss of member {self.members[bad[0]] + 1} is {losses[bad[0]]} "
                f"in epoch {epoch + 1}: lower learning_rate, or look for extreme feature values"
            )


@dataclass
class Batch:
    """The slides of one step: which (numpy, and as a tensor), where their tiles are in the scores, and their labels."""

    slides: np.ndarray
    position: torch.Tensor
    bounds: tuple[torch.Tensor, torch.Tensor]
    y: torch.Tensor


def shares(members: int) -> list[slice]:
    """Cut the members of an ensemble into parts for the threads, of five or more.

    The parts depend on nothing else: the end of an array is computed by other instructions than its middle, which may
    change the last bit, so parts by the number of threads would give other results on another machine.
    """
    number = min(max(members // 5, 1), PARTS)
    edges = [round(i * members / number) for i in range(number + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _grouped(items: Sequence[T], groups: Sequence[Sequence[object]]) -> list[Sequence[T]]:
    """Cut ``items`` into runs as long as the groups."""
    edges = [0, *itertools.accumulate(map(len, groups))]
    return [items[a:b] for a, b in itertools.pairwise(edges)]


def train_together(
    estimators: Sequence[EnsembleEstimator], bags: Bags, y: np.ndarray, progress: str | None, threads: int
) -> None:
    """Train estimators that share the features and the batch order, in one pass over each batch.

    Parameters are those of :func:`chowder.models.estimators.fit_many`; ``y`` (slides,) holds the labels 0 and 1.
    """
    first = estimators[0]
    started = time.perf_counter()
    epochs = first.epochs_of(len(bags))
    store = FeatureStore(bags, pick_device(first.device), first.precision, threads, readings=epochs + 1)
    targets = torch.tensor(y, dtype=store.exact, device=store.device)
    models, runs = [], []
    for estimator in estimators:
        model = estimator.make(bags.dim).to(store.exact)
        model.initialise(estimator.seed_stream)
        models.append(model.to(store.device))
        runs.append([_Run(estimator, model, part, store, len(bags)) for part in shares(estimator.members)])
    flat = [run for parts in runs for run in parts]
    order = seeds.generator(first.seed, *first.stream, "order")
    batches = -(-len(bags) // first.batch)
    with Progress(epochs * batches, "steps", progress) if progress else contextlib.nullcontext() as bar:
        for epoch in range(epochs):
            permutation = order.permutation(len(bags))
            store.map(_Run.start_epoch, flat)
            for at in range(0, len(bags), first.batch):
                slides = permutation[at : at + first.batch]
                bags.expect(permutation[at + first.batch : at + 2 * first.batch])
                position = torch.as_tensor(slides, device=store.device)
                batch = Batch(slides, position, store.bounds(slides), targets[position])
                scores = store.scores(slides, [run.model.weight.flatten(0, 1) for run in flat])
                selected = store.map(
                    lambda job, batch=batch: job[0].slopes(job[1], batch), list(zip(flat, scores, strict=True))
                )
                # An ensemble's parts count as one, so that the order of the sums does not depend on the threads.
                whole = [tuple(map(torch.cat, zip(*some, strict=True))) for some in _grouped(selected, runs)]
                gradients = [
                    gradient.split([run.model.weight[..., 0].numel() for run in parts])
                    for gradient, parts in zip(store.gradients(slides, whole), runs, strict=True)
                ]
                store.map(
                    lambda job: job[0].step(job[1]),
                    list(zip(flat, itertools.chain.from_iterable(gradients), strict=True)),
                )
                if bar:
                    bar.update(1)
            for run in flat:
                run.end_epoch(epoch)
    found = calibrate(models, store, y)
    for estimator, model, parts, (evidence, losses) in zip(estimators, models, runs, found, strict=True):
        estimator.model_, estimator.evidence_, estimator.losses_ = model, evidence, losses
        estimator.history_ = np.concatenate([np.stack(run.history) for run in parts], axis=1)
        estimator.undertrained_ = undertrained(losses, y)
    common = time.perf_counter() - started - sum(run.seconds for run in flat)
    for estimator, parts in zip(estimators, runs, strict=True):
        estimator.seconds_ = sum(run.seconds for run in parts) + common / len(runs)
