"""Training every member of an ensemble in one pass.

What makes it fast (measured in bench/bench_training.py): tiles are scored for all members by one product without a
graph; the loss is computed from the 2R selected values a slide; the gradient of the embedding is a product over the
selected tiles only. All of it is exact: tests/unit/reference_models.py holds the plain loop that it equals.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from torch.optim.adam import adam

from chowder import seeds
from chowder.files import UserError
from chowder.models.calibration import calibrate, undertrained
from chowder.models.networks import extremes
from chowder.models.scorer import FeatureStore, pick_device
from chowder.progress import Progress

if TYPE_CHECKING:
    from chowder.features.bags import Bags
    from chowder.models.estimators import EnsembleEstimator


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
        self.steps = [torch.tensor(0.0) for _ in self.parameters]

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
            foreach=False,  # one way for every device; `fused` is faster but rounds differently
            fused=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class _Run:
    """One ensemble while it is trained."""

    def __init__(self, estimator: EnsembleEstimator, store: FeatureStore, slides: int):
        self.estimator, self.store = estimator, store
        self.model = estimator.make(store.bags.dim).to(store.exact)
        self.model.initialise(estimator.seed_stream)
        self.model.to(store.device)
        self.optimiser = Adam(self.model.parameters(), estimator.learning_rate)
        self.slides = slides
        self.generators = [
            torch.Generator().manual_seed(seeds.seed_of(*estimator.seed_stream, m, "dropout"))
            for m in range(estimator.members)
        ]
        self.weights: torch.Tensor | None = None
        if estimator.bootstrap:
            counts = [
                seeds.generator(*estimator.seed_stream, m, "bootstrap").multinomial(slides, [1 / slides] * slides)
                for m in range(estimator.members)
            ]
            self.weights = torch.tensor(np.stack(counts), dtype=store.exact, device=store.device)
        self.history: list[np.ndarray] = []
        self.seconds = 0.0

    def start_epoch(self) -> None:
        self.total = torch.zeros(self.estimator.members, dtype=self.store.exact, device=self.store.device)
        self.keep = self.masks()

    def masks(self) -> torch.Tensor | None:
        """(E, slides, hidden units) factors of this epoch, 0 or 1 / (1 - dropout); each member draws its own."""
        units, dropout = self.model.dropped_units, self.estimator.dropout
        if not units or not dropout:
            return None
        drawn = [torch.rand((self.slides, units), generator=generator) for generator in self.generators]
        keep = (torch.stack(drawn) >= dropout).to(self.store.exact) / (1.0 - dropout)
        return keep.to(self.store.device)

    def step(self, scores: torch.Tensor, slides: np.ndarray, bounds: tuple, y: torch.Tensor) -> None:
        """One Adam step from the batch's embedding values ``scores`` (EJ, tiles of the batch)."""
        started = time.perf_counter()
        model, store = self.model, self.store
        e, j, r, b = model.members, model.embeddings, model.r, len(slides)
        chosen = extremes(scores, *bounds, r).flatten(1)
        values = scores.gather(1, chosen).view(e, j, b, 2 * r).transpose(1, 2).contiguous()
        if model.offset is not None:
            values += model.offset.detach()[:, None, :, None]
        values.requires_grad_()
        position = torch.as_tensor(slides, device=store.device)
        keep = None if self.keep is None else self.keep[:, position]
        logits = model.head(values, keep)
        each = functional.binary_cross_entropy_with_logits(logits, y.expand(e, b), reduction="none")
        if self.weights is not None:
            each = each * self.weights[:, position]
        losses = each.mean(dim=1)
        self.model.zero_grad()
        losses.sum().backward()
        with torch.no_grad():
            slope = values.grad.transpose(1, 2).reshape(e * j, b * 2 * r)
            l2 = self.estimator.l2
            gradient = store.gradient(slides, chosen, slope).view_as(model.weight)
            model.weight.grad = gradient.add_(model.weight, alpha=2 * l2)
            if model.offset is not None:
                model.offset.grad = slope.view(e, j, -1).sum(dim=2)
            self.total += (losses + l2 * model.penalty()) * (b / self.slides)
        self.optimiser.step()
        self.seconds += time.perf_counter() - started

    def end_epoch(self, epoch: int) -> None:
        """Record the epoch's losses. Errors: a loss that is not finite, with epoch and member."""
        losses = self.total.cpu().numpy().astype(np.float64)
        self.history.append(losses)
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            raise UserError(
                f"{self.estimator.name}: the training loss of member {bad[0] + 1} is {losses[bad[0]]} in epoch "
                f"{epoch + 1}: lower learning_rate, or look for extreme feature values"
            )


def train_together(
    estimators: Sequence[EnsembleEstimator], bags: Bags, y: np.ndarray, progress: str | None, threads: int
) -> None:
    """Train estimators that share the features and the batch order, in one pass over each batch.

    Parameters are those of :func:`chowder.models.estimators.fit_many`; ``y`` (slides,) holds the labels 0 and 1.
    """
    first = estimators[0]
    started = time.perf_counter()
    store = FeatureStore(bags, pick_device(first.device), first.precision, threads)
    targets = torch.tensor(y, dtype=store.exact, device=store.device)
    runs = [_Run(estimator, store, len(bags)) for estimator in estimators]
    order = seeds.generator(first.seed, *first.stream, "order")
    batches = -(-len(bags) // first.batch)
    bar = Progress(first.epochs * batches, "steps", progress) if progress else None
    if bar:
        bar.__enter__()
    try:
        for epoch in range(first.epochs):
            permutation = order.permutation(len(bags))
            for run in runs:
                run.start_epoch()
            for at in range(0, len(bags), first.batch):
                slides = permutation[at : at + first.batch]
                scores = store.scores(slides, [run.model.weight.flatten(0, 1) for run in runs])
                bounds, y_batch = store.bounds(slides), targets[torch.as_tensor(slides, device=store.device)]
                jobs = list(zip(runs, scores, strict=True))
                store.map(lambda job, now=(slides, bounds, y_batch): job[0].step(job[1], *now), jobs)
                if bar:
                    bar.update(1)
            for run in runs:
                run.end_epoch(epoch)
    finally:
        if bar:
            bar.__exit__(None, None, None)
    for run in runs:
        run.estimator.model_ = run.model
        run.estimator.history_ = np.stack(run.history)
        run.estimator.evidence_, run.estimator.losses_ = calibrate(run.model, store, y)
        run.estimator.undertrained_ = undertrained(run.estimator.losses_, y)
    common = time.perf_counter() - started - sum(run.seconds for run in runs)
    for run in runs:
        run.estimator.seconds_ = run.seconds + common / len(runs)
