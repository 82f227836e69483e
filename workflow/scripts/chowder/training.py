"""Training every member of an ensemble in one pass, and the estimators that a user meets.

What makes it fast (measured in bench/bench_training.py): tiles are scored for all members by one product without a
graph; the loss is computed from the 2R selected values a slide; the gradient of the embedding is a product over the
selected tiles only. All of it is exact: tests/unit/reference_models.py holds the plain loop that it equals.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from chowder import seeds
from chowder.bags import Bags
from chowder.calibration import Evidence, calibrate, selected, undertrained
from chowder.files import UserError, atomic
from chowder.models import ChowderEnsemble, Ensemble, WeldonEnsemble, extremes
from chowder.progress import Progress

SCORES = ("auto", "evidence", "embedding")
PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}
# Rows converted and multiplied at a time on the CPU: 128 x 2,048 float32 (1 MB) stay in a core's own cache.
CPU_ROWS, CUDA_ROWS = 128, 65536
# Feature sets below this size are converted once instead of at every step.
CONVERT_ONCE_BYTES = 2**30
# Products of less work than this (multiplications) are not worth a second thread.
ONE_THREAD_BELOW = 5e8
# Products with so few columns are faster the other way round (W^T X^T, 57 ms against 85 for 50,000 x 2,048 x 10).
FEW_COLUMNS = 16
# A gradient is summed in this many parts, however many threads there are, so that its bits stay the same.
PARTS = 8


def pick_device(device: str) -> torch.device:
    """``auto`` (CUDA when present), ``cpu`` or ``cuda``. Errors: CUDA asked for and absent."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"training device {device!r} is not known: use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("training device cuda is asked for, but there is no CUDA device: use auto or cpu")
    return torch.device(device)


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


class _Store:
    """The feature array, read in pieces that are converted to the precision of the computation."""

    def __init__(self, bags: Bags, device: torch.device, precision: str, threads: int = 1):
        self.bags, self.device = bags, device
        self.dtype = PRECISIONS[precision]
        # Gradients, heads and scores are never below float32.
        self.exact = torch.float64 if precision == "fp64" else torch.float32
        self.features = self._place()
        self.limit = CPU_ROWS if device.type == "cpu" else CUDA_ROWS
        self._in_place = self.features.dtype == self.dtype and self.features.device.type == device.type == "cpu"
        self.threads = threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        self._local = threading.local()
        self._owner = threading.get_ident()

    def _place(self) -> torch.Tensor:
        key = f"{self.device.type}-{self.dtype}"
        if key in self.bags.shared:
            return self.bags.shared[key]
        with warnings.catch_warnings():  # torch warns about read-only memory; nothing here writes to it
            warnings.simplefilter("ignore", UserWarning)
            features = torch.from_numpy(self.bags.features)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
            if features.numel() * features.element_size() < 0.8 * free:
                features = features.to(self.device)
        elif features.numel() * self.dtype.itemsize <= CONVERT_ONCE_BYTES:
            features = features.to(self.dtype)
        self.bags.shared[key] = features
        return features

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """``function`` of every item, on the threads; inside of one of them one after another."""
        if self.threads == 1 or len(items) < 2 or threading.get_ident() != self._owner:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def _chunks(self, slides: Sequence[int]) -> list[tuple[int, int, list[tuple[int, int]]]]:
        """Rows of the slides in chunks of at most ``limit``: (place in the batch, length, row ranges)."""
        ranges = [(int(self.bags.starts[s]), int(self.bags.counts[s])) for s in slides]
        chunks, at = [], 0
        if self._in_place:
            for start, count in ranges:
                for offset in range(0, count, self.limit):
                    length = min(self.limit, count - offset)
                    chunks.append((at, length, [(start + offset, length)]))
                    at += length
            return chunks
        parts: list[tuple[int, int]] = []
        filled = 0
        for start, count in ranges:
            while count:
                take = min(count, self.limit - filled)
                parts.append((start, take))
                start, count, filled = start + take, count - take, filled + take
                if filled == self.limit:
                    chunks.append((at, filled, parts))
                    at, filled, parts = at + filled, 0, []
        return [*chunks, (at, filled, parts)] if filled else chunks

    def _load(self, ranges: list[tuple[int, int]]) -> torch.Tensor:
        if self._in_place:
            start, count = ranges[0]
            return self.features[start : start + count]
        if not hasattr(self._local, "buffer"):
            shape = (min(self.limit, len(self.features)), self.features.shape[1])
            self._local.buffer = torch.empty(shape, dtype=self.dtype, device=self.device)
        at = 0
        for start, count in ranges:
            self._local.buffer[at : at + count].copy_(self.features[start : start + count])
            at += count
        return self._local.buffer[:at]

    @torch.no_grad()
    def scores(self, slides: Sequence[int], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(EJ, rows) product of every weight (EJ, P) with the rows of the slides, one after another.

        The features are read and converted once for all weights, and multiplied with all of them at once.
        """
        w = torch.cat([weight.detach() for weight in weights]).to(self.dtype)
        chunks = self._chunks(slides)
        rows = chunks[-1][0] + chunks[-1][1]
        few = len(w) <= FEW_COLUMNS
        wt = w.T.contiguous()
        out = torch.empty((len(w), rows) if few else (rows, len(w)), dtype=self.exact, device=self.device)

        def score(some: list[tuple[int, int, list[tuple[int, int]]]]) -> None:
            with torch.no_grad():
                for at, length, ranges in some:
                    x = self._load(ranges)
                    if few:
                        out[:, at : at + length] = torch.mm(w, x.T)
                    else:
                        out[at : at + length] = torch.mm(x, wt)

        self.map(score, _parts(chunks, self.threads))
        sizes = [len(weight) for weight in weights]
        return list(out.split(sizes)) if few else [part.T.contiguous() for part in out.split(sizes, dim=1)]

    def bounds(self, slides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Starts and counts (B,) of each slide's columns in what :meth:`scores` returns."""
        counts = self.bags.counts[list(slides)]
        starts = np.cumsum(counts) - counts
        return torch.from_numpy(starts).to(self.device), torch.from_numpy(counts).to(self.device)

    @torch.no_grad()
    def gradient(self, slides: np.ndarray, chosen: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """(EJ, P) sum over the selected tiles of slope times feature vector.

        Parameters
        ----------
        chosen : (EJ, k) columns of what :meth:`scores` returned for ``slides``.
        slope : (EJ, k) derivative of the loss by each selected value; a column chosen twice counts twice.
        """
        counts = self.bags.counts[slides]
        rows = int(counts.sum())
        factors = torch.zeros((len(chosen), rows), dtype=self.exact, device=self.device)
        factors.scatter_add_(1, chosen, slope)
        marked = torch.zeros(rows, dtype=torch.bool, device=self.device)
        marked[chosen] = True
        used = marked.nonzero()[:, 0]
        if 2 * len(used) > rows and self.dtype == self.exact:  # reading everything in order beats picking rows
            parts = _parts(self._chunks(slides), PARTS)
            load = self._load
        else:
            shift = torch.from_numpy(np.repeat(self.bags.starts[slides] - (np.cumsum(counts) - counts), counts))
            where = used.to(shift.device)
            where = (where + shift[where]).to(self.features.device)
            factors = factors.index_select(1, used)
            picked = [(at, min(self.limit, len(used) - at)) for at in range(0, len(used), self.limit)]
            parts = _parts([(at, length, [(at, length)]) for at, length in picked], PARTS)

            def load(ranges: list[tuple[int, int]]) -> torch.Tensor:
                at, length = ranges[0]
                return self.features.index_select(0, where[at : at + length]).to(self.device).to(self.exact)

        def add(some: list[tuple[int, int, list[tuple[int, int]]]]) -> torch.Tensor:
            with torch.no_grad():
                total = torch.zeros((len(factors), self.features.shape[1]), dtype=self.exact, device=self.device)
                for at, length, ranges in some:
                    total.addmm_(factors[:, at : at + length], load(ranges))
                return total

        return functools.reduce(torch.add, self.map(add, parts))


def _parts(items: list, number: int) -> list[list]:
    """``items`` cut into at most ``number`` runs of about equal length, none empty."""
    edges = [round(i * len(items) / number) for i in range(number + 1)]
    return [items[a:b] for a, b in itertools.pairwise(edges) if b > a]


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) with the usual constants, as in torch.optim.

    torch.optim is not used because making its first optimiser imports torch's compiler: 6.6 s of CPU time a job
    (measured), more than importing torch and training the demo's CHOWDER.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float):
        self.parameters = list(parameters)
        self.learning_rate, self.steps = learning_rate, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        """Move every parameter by its gradient."""
        self.steps += 1
        size = self.learning_rate / (1 - beta1**self.steps)
        root = (1 - beta2**self.steps) ** 0.5
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            gradient = parameter.grad
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            parameter.addcdiv_(first, second.sqrt().div_(root).add_(eps), value=-size)


class _Run:
    """One ensemble while it is trained."""

    def __init__(self, estimator: EnsembleEstimator, store: _Store, slides: int):
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


class EnsembleEstimator:
    """What WELDON and CHOWDER share; see :class:`Chowder` for the parameters."""

    kind = ""
    tile_score = "evidence"

    def __init__(
        self,
        r: int = 5,
        members: int = 10,
        *,
        embeddings: int = 1,
        hidden: Sequence[int] = (200, 100),
        dropout: float = 0.5,
        bias: bool = False,
        l2: float = 0.5,
        learning_rate: float = 0.001,
        epochs: int = 30,
        batch: int = 10,
        seed: int = 1802,
        device: str = "auto",
        precision: str = "fp32",
        bootstrap: bool = False,
        leave_out_undertrained: bool = False,
        name: str | None = None,
        stream: Sequence[object] = (),
    ):
        counts = {"r": r, "members": members, "embeddings": embeddings, "epochs": epochs, "batch": batch}
        for key, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise UserError(f"training {key} is {value!r}: it must be a whole number of at least 1")
        if not 0 <= dropout < 1:
            raise UserError(f"training dropout is {dropout!r}: it must be at least 0 and below 1")
        if precision not in PRECISIONS:
            raise UserError(f"training precision {precision!r} is not known: use one of {', '.join(PRECISIONS)}")
        self.r, self.members, self.embeddings, self.hidden = r, members, embeddings, tuple(hidden)
        self.dropout, self.bias = float(dropout), bool(bias)
        self.l2, self.learning_rate = float(l2), float(learning_rate)
        self.epochs, self.batch, self.seed, self.device, self.precision = epochs, batch, seed, device, precision
        self.bootstrap, self.leave_out_undertrained = bool(bootstrap), bool(leave_out_undertrained)
        self.name = name or f"{self.kind}_r{r}"
        self.stream = tuple(stream)
        self.model_: Ensemble | None = None
        self.history_ = np.zeros((0, members))
        self.undertrained_ = np.zeros(0, dtype=np.int64)
        self.seconds_ = 0.0

    @property
    def seed_stream(self) -> tuple:
        """Key of everything random in this ensemble except the batch order, which all methods of a split share."""
        return (self.seed, *self.stream, self.name)

    def make(self, dim: int) -> Ensemble:
        """The torch module for features of length ``dim``, all zeros."""
        raise NotImplementedError

    def fit(self, bags: Bags | Sequence[np.ndarray], labels: Sequence[int], progress: str | None = None):
        """Train all members on bags (Bags, or a list of (tiles, P) arrays) and labels (n,) of 0 and 1.

        ``progress`` names the work in a progress bar or log. Afterwards ``history_`` (epochs, E) holds the training
        losses, ``losses_`` (E,) the final cross-entropy without dropout, ``undertrained_`` the indices of the members
        that stayed on the plateau, and ``seconds_`` the time spent. Errors: see :func:`fit_many`.
        """
        fit_many([self], bags, labels, progress)
        return self

    def predict_proba(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n, E) probability of tumour, one column a member."""
        with one_torch_thread() as threads:
            store = self._store(bags, threads)
            logits = [self.model_.head(values).detach().double() for values, _ in selected(self.model_, store)]
        return torch.sigmoid(torch.cat(logits, dim=1)).T.cpu().numpy()

    def predict(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n,) probability of tumour, the mean over the members (:attr:`averaged`)."""
        return self.predict_proba(bags)[:, self.averaged].mean(axis=1)

    @property
    def averaged(self) -> np.ndarray:
        """Indices of the members that are averaged.

        All of them, as in the paper; with ``leave_out_undertrained`` those that left the plateau, if any did.
        """
        everyone = np.arange(self.members)
        trained = np.setdiff1d(everyone, self.undertrained_)
        return trained if self.leave_out_undertrained and len(trained) else everyone

    def embedding_scores(self, bag: np.ndarray) -> np.ndarray:
        """(E, J, tiles) embedding values e_t of one slide's tiles (tiles, P), as they are."""
        with one_torch_thread() as threads:
            (scores,) = self._store([bag], threads).scores([0], [self.model_.weight.flatten(0, 1)])
        scores = scores.view(self.members, self.model_.embeddings, -1)
        if self.model_.offset is not None:
            scores = scores + self.model_.offset.detach()[:, :, None]
        return scores.cpu().numpy()

    def instance_scores(self, bag: np.ndarray, score: str = "auto") -> np.ndarray:
        """Return the lesion score (tiles,) float32 of every tile of one slide (tiles, P).

        ``evidence``: mean over the members of the change of the logit that such a tile brings about when it is added to
        a training slide (:class:`chowder.calibration.Evidence`). Positive speaks for tumour, 0 for neither.
        ``embedding``: the members' mean embedding value as it is, which the paper shows. A CHOWDER member whose logit
        falls as its values rise counts as it stands, so this is of use for one member.
        ``auto``: evidence for CHOWDER, embedding for WELDON, whose logit is a sum of embedding values.
        """
        if score not in SCORES:
            raise UserError(f"localisation.score is {score!r}: use one of {', '.join(SCORES)}")
        e = self.embedding_scores(bag).astype(np.float64)
        if (self.tile_score if score == "auto" else score) == "embedding":
            return e[self.averaged].mean(axis=(0, 1)).astype(np.float32)
        return self.evidence_(e, self.averaged).astype(np.float32)

    def _store(self, bags: Bags | Sequence[np.ndarray], threads: int) -> _Store:
        if self.model_ is None:
            raise UserError(f"{self.name} is not trained yet: call fit or load first")
        bags = as_bags(bags)
        if bags.dim != self.model_.dim:
            raise UserError(f"{self.name} was trained on {self.model_.dim} features, these bags have {bags.dim}")
        return _Store(bags, next(self.model_.parameters()).device, self.precision, threads)

    def arguments(self) -> dict[str, Any]:
        """Plain constructor arguments, as saved in a model file."""
        numbers = "r members embeddings dropout bias l2 learning_rate epochs batch seed"
        plain = {
            key: getattr(self, key) for key in f"{numbers} precision bootstrap leave_out_undertrained name".split()
        }
        return plain | {"hidden": list(self.hidden), "stream": [str(part) for part in self.stream]}

    def save(self, path: Any) -> None:
        """Write the trained members: tensors and plain values only, the same bytes for the same members."""
        content = {
            "format": 2,
            "kind": self.kind,
            "arguments": self.arguments(),
            "dim": self.model_.dim,
            "state": {key: value.detach().cpu().clone() for key, value in self.model_.state_dict().items()},
            "evidence_nodes": torch.from_numpy(self.evidence_.nodes),
            "evidence": torch.from_numpy(self.evidence_.values),
            "losses": torch.from_numpy(self.losses_),
            "undertrained": torch.from_numpy(self.undertrained_),
            "history": torch.from_numpy(self.history_),
        }
        save_content(path, content)

    @classmethod
    def from_content(cls, content: dict[str, Any], device: str = "auto") -> EnsembleEstimator:
        """The estimator from what :meth:`save` stored."""
        estimator = cls(**content["arguments"], device=device)
        model = estimator.make(int(content["dim"]))
        model.to(next(iter(content["state"].values())).dtype)
        model.load_state_dict(content["state"])
        estimator.model_ = model.to(pick_device(device))
        estimator.evidence_ = Evidence(content["evidence_nodes"].numpy(), content["evidence"].numpy())
        for key in ("losses", "undertrained", "history"):
            setattr(estimator, f"{key}_", content[key].numpy())
        return estimator

    @classmethod
    def load(cls, path: Any) -> EnsembleEstimator:
        """Load what :meth:`save` wrote. Errors: a file of another kind of model, or no model file."""
        from chowder.methods import load

        estimator = load(path)
        if not isinstance(estimator, cls):
            raise UserError(f"{path}: holds a {estimator.kind} model, not {cls.kind}")
        return estimator


class Weldon(EnsembleEstimator):
    """WELDON(R): sum of the R highest and R lowest embedding values, trained as an ensemble.

    Takes the parameters of :class:`Chowder`; those of the MLP (embeddings, hidden, dropout) have no effect.
    """

    kind = "weldon"
    tile_score = "embedding"

    def make(self, dim: int) -> Ensemble:
        return WeldonEnsemble(dim, self.members, self.r, 1, self.bias)


class Chowder(EnsembleEstimator):
    """CHOWDER(R), an ensemble of E networks trained at once (specification, section 2; Courtiol et al. 2018).

    Parameters
    ----------
    r : R, number of top and of bottom tiles that enter the MLP.
    members : E, networks that differ in initial weights and dropout masks only; predictions are averaged.
    embeddings : J, linear embeddings (1 in the paper).
    hidden : sizes of the MLP's hidden layers.
    dropout : probability of silencing a hidden unit.
    bias : whether the embedding has an additive constant.
    l2 : factor of the embedding's sum of squares in the loss.
    learning_rate, epochs, batch : of Adam; ``batch`` slides a step, the same order for all members.
    seed, stream, name : what the random numbers depend on (``stream`` e.g. dataset and split).
    device : auto, cpu or cuda.
    precision : of the product that scores tiles: fp32 (default), bf16, fp16; fp64 for everything in double.
    bootstrap : each member weighs the training slides by a bootstrap draw (not in the paper).
    leave_out_undertrained : average only the members that left the plateau (the paper averages all).

    Examples
    --------
    >>> model = Chowder(r=5, members=10).fit(bags, labels)  # doctest: +SKIP
    >>> model.predict(other_bags)  # (n,) probabilities  # doctest: +SKIP
    >>> model.instance_scores(bag)  # (tiles,) lesion score  # doctest: +SKIP
    """

    kind = "chowder"

    def make(self, dim: int) -> Ensemble:
        return ChowderEnsemble(dim, self.members, self.r, self.embeddings, self.bias, self.hidden)


def as_bags(bags: Bags | Sequence[np.ndarray]) -> Bags:
    """Bags from Bags or from a list of (tiles, P) arrays."""
    return bags if isinstance(bags, Bags) else Bags.from_arrays(bags)


def check_labels(labels: Sequence[int], bags: Bags) -> np.ndarray:
    """(n,) int64 labels. Errors: another length than the bags, values other than 0 and 1, one class only."""
    y = np.asarray(labels)
    if y.shape != (len(bags),):
        raise UserError(f"{len(bags)} bags but labels of shape {y.shape}: give one label a bag")
    if not np.isin(y, (0, 1)).all():
        raise UserError("labels must be 0 (normal) or 1 (tumour)")
    if len(np.unique(y)) < 2:
        raise UserError(f"all training slides have label {int(y[0])}: training needs slides of both classes")
    return y.astype(np.int64)


def fit_many(
    estimators: Sequence[EnsembleEstimator],
    bags: Bags | Sequence[np.ndarray],
    labels: Sequence[int],
    progress: str | None = None,
) -> None:
    """Fit several ensembles on the same slides, reading each batch once for all of them.

    They must agree on epochs, batch, seed, stream, device and precision; each one's result is what
    fitting it alone gives, up to rounding. Errors: :class:`UserError` for bad labels, disagreeing settings, or a loss
    that is not finite (with epoch and member).
    """
    bags = as_bags(bags)
    y = check_labels(labels, bags)
    first = estimators[0]
    for key in ("epochs", "batch", "seed", "stream", "device", "precision"):
        if any(getattr(other, key) != getattr(first, key) for other in estimators):
            raise UserError(f"ensembles trained together must have the same {key}: train them one by one")
    columns = sum(estimator.members * estimator.embeddings for estimator in estimators)
    work = float(bags.counts.mean()) * first.batch * bags.dim * columns
    with one_torch_thread() as threads:
        _fit(estimators, bags, y, progress, threads if work >= ONE_THREAD_BELOW else 1)


def _fit(
    estimators: Sequence[EnsembleEstimator], bags: Bags, y: np.ndarray, progress: str | None, threads: int
) -> None:
    first = estimators[0]
    started = time.perf_counter()
    store = _Store(bags, pick_device(first.device), first.precision, threads)
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


def save_content(path: Any, content: dict[str, Any]) -> None:
    """torch.save with bytes that depend on the content alone (not on the file's name), written whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path) as scratch:
        scratch.write_bytes(buffer.getvalue())
