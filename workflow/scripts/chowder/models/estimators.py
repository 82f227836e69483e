"""WELDON and CHOWDER as estimators: fit, predict, score tiles, save and load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from chowder.features.bags import Bags, as_bags, check_labels
from chowder.files import UserError
from chowder.models.calibration import Evidence, selected
from chowder.models.model_file import made_of, read_content, save_content
from chowder.models.names import tile_score
from chowder.models.networks import ChowderEnsemble, Ensemble, WeldonEnsemble
from chowder.models.scorer import PRECISIONS, FeatureStore, pick_device
from chowder.models.trainer import one_torch_thread, train_together
from chowder.models.variants import UnequalEnsemble

SCORES = ("auto", "evidence", "embedding")
# Products of less work than this (multiplications) are not worth a second thread.
ONE_THREAD_BELOW = 5e8
#: Gradient steps of the paper: 30 epochs over 270 training slides in batches of 10.
PAPER_STEPS = 810


class EnsembleEstimator:
    """What WELDON and CHOWDER share; see :class:`Chowder` for the parameters."""

    kind = ""
    #: whether dropout has hidden units to silence
    drops = True

    def __init__(
        self,
        r: int = 5,
        members: int = 10,
        *,
        embeddings: int = 1,
        hidden: Sequence[int] = (200, 100),
        dropout: float | Sequence[float] = 0.5,
        bottom: int | None = None,
        bias: bool = False,
        l2: float = 0.5,
        learning_rate: float = 0.001,
        epochs: int | str = 30,
        batch: int = 10,
        seed: int = 1802,
        device: str = "auto",
        precision: str = "fp32",
        bootstrap: bool = False,
        leave_out_undertrained: bool = False,
        name: str | None = None,
        stream: Sequence[object] = (),
    ):
        counts = {"r": r, "members": members, "embeddings": embeddings, "batch": batch}
        counts |= {} if epochs == "auto" else {"epochs": epochs}
        counts |= {} if bottom is None else {"bottom": bottom}
        for key, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise UserError(f"training {key} is {value!r}: it must be a whole number of at least 1")
        rates = [dropout] if isinstance(dropout, int | float) else list(dropout)
        if not all(0 <= rate < 1 for rate in rates):
            raise UserError(f"training dropout is {dropout!r}: it must be at least 0 and below 1")
        if not isinstance(dropout, int | float) and len(rates) != len(tuple(hidden)):
            raise UserError(
                f"training dropout has {len(rates)} values for {len(tuple(hidden))} hidden layers: give one for each, "
                "or one number for all"
            )
        if precision not in PRECISIONS:
            raise UserError(f"training precision {precision!r} is not known: use one of {', '.join(PRECISIONS)}")
        self.r, self.members, self.embeddings, self.hidden = r, members, embeddings, tuple(hidden)
        self.dropout = float(dropout) if isinstance(dropout, int | float) else tuple(map(float, rates))
        self.bottom, self.bias = bottom, bool(bias)
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

    def epochs_of(self, slides: int) -> int:
        """Return how many epochs are made over ``slides`` training slides.

        ``epochs``, or for ``auto`` the fewest whole epochs that make at least as many steps as the paper's 810.
        """
        if self.epochs != "auto":
            return self.epochs
        batches = -(-slides // self.batch)
        return -(-PAPER_STEPS // batches)

    def make(self, dim: int) -> Ensemble:
        """Return the torch module for features of length ``dim``, all zeros."""
        raise NotImplementedError

    def masks(self, generators: Sequence[torch.Generator], slides: int, store: Any) -> torch.Tensor | None:
        """(members, slides, hidden units) factors of an epoch, 0 or 1 / (1 - dropout); each member draws its own.

        None where nothing is dropped. ``generators``: one per member. ``store`` has the ``exact`` precision and the
        ``device``.
        """
        units, dropout = sum(self.hidden) if self.drops else 0, self.dropout
        if not isinstance(dropout, float):
            dropout = torch.repeat_interleave(torch.tensor(dropout, dtype=torch.float64), torch.tensor(self.hidden))
        if not units or not torch.as_tensor(dropout).any():
            return None
        drawn = [torch.rand((slides, units), generator=generator) for generator in generators]
        keep = (torch.stack(drawn) >= dropout).to(store.exact) / (1.0 - dropout)
        return keep.to(store.device, store.exact)

    def fit(self, bags: Bags | Sequence[np.ndarray], labels: Sequence[int], progress: str | None = None):
        """Train all members on bags (Bags, or a list of (tiles, P) arrays) and labels (n,) of 0 and 1.

        ``progress`` names the work in a progress bar or log. Afterwards ``history_`` (epochs, E) holds the training
        losses, ``losses_`` (E,) the final cross-entropy without dropout, ``undertrained_`` the indices of the members
        that stayed on the plateau, and ``seconds_`` the time spent. Errors: see :func:`fit_many`.
        """
        fit_many([self], bags, labels, progress)
        return self

    def fit_with(self, others: Sequence[EnsembleEstimator], *what: Any) -> None:
        """Fit this ensemble and others together, see :func:`fit_many` for ``what``: bags, labels, progress."""
        fit_many([self, *others], *what)

    def predict_proba(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n, E) probability of tumour, one column a member."""
        return predict_many([self], bags)[0]

    def predict_with(self, others: Sequence[EnsembleEstimator], bags: Bags | Sequence[np.ndarray]) -> list[np.ndarray]:
        """Predict with this ensemble and others, see :func:`predict_many`."""
        return predict_many([self, *others], bags)

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
        a training slide (:class:`chowder.models.calibration.Evidence`). Positive speaks for tumour, 0 for neither.
        ``embedding``: the members' mean embedding value as it is, which the paper shows. A CHOWDER member whose logit
        falls as its values rise counts as it stands, so this is of use for one member.
        ``auto``: evidence for CHOWDER, embedding for WELDON, whose logit is a sum of embedding values.
        """
        if score not in SCORES:
            raise UserError(f"localisation.score is {score!r}: use one of {', '.join(SCORES)}")
        e = self.embedding_scores(bag).astype(np.float64)
        if tile_score(self.kind, score) == "embedding":
            return e[self.averaged].mean(axis=(0, 1)).astype(np.float32)
        return self.evidence_(e, self.averaged).astype(np.float32)

    def _store(self, bags: Bags | Sequence[np.ndarray], threads: int) -> FeatureStore:
        if self.model_ is None:
            raise UserError(f"{self.name} is not trained yet: call fit or load first")
        bags = as_bags(bags)
        if bags.dim != self.model_.dim:
            raise UserError(f"{self.name} was trained on {self.model_.dim} features, these bags have {bags.dim}")
        return FeatureStore(bags, next(self.model_.parameters()).device, self.precision, threads)

    def arguments(self) -> dict[str, Any]:
        """Plain constructor arguments, as saved in a model file."""
        numbers = "r members embeddings bottom bias l2 learning_rate epochs batch seed"
        plain = {
            key: getattr(self, key) for key in f"{numbers} precision bootstrap leave_out_undertrained name".split()
        }
        plain["dropout"] = self.dropout if isinstance(self.dropout, float) else list(self.dropout)
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
        """Return the estimator from what :meth:`save` stored."""
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
        return made_of(path, read_content(path, cls.kind), cls.from_content)


class Weldon(EnsembleEstimator):
    """WELDON(R): sum of the R highest and R lowest embedding values, trained as an ensemble.

    Takes the parameters of :class:`Chowder`; those of the MLP (embeddings, hidden, dropout) and ``bottom`` have no
    effect.
    """

    kind = "weldon"
    drops = False

    def make(self, dim: int) -> Ensemble:
        """Return the WELDON networks for features of length ``dim``, all zeros."""
        return WeldonEnsemble(dim, self.members, self.r, 1, self.bias)


class Chowder(EnsembleEstimator):
    """CHOWDER(R), an ensemble of E networks trained at once (specification, section 2; Courtiol et al. 2018).

    Parameters
    ----------
    r : R, number of top and of bottom tiles that enter the MLP.
    members : E, networks that differ in initial weights and dropout masks only; predictions are averaged.
    embeddings : J, linear embeddings (1 in the paper).
    hidden : sizes of the MLP's hidden layers.
    dropout : probability of silencing a hidden unit, one for all hidden layers or one for each.
    bottom : number of bottom tiles, where it is not R.
    bias : whether the embedding has an additive constant.
    l2 : factor of the embedding's sum of squares in the loss.
    learning_rate, epochs, batch : of Adam; ``batch`` slides a step, the same order for all members. ``epochs`` may be
        ``auto``: as many as make the paper's 810 steps, see :meth:`epochs_of`.
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
        """Return the CHOWDER networks for features of length ``dim``, all zeros."""
        sizes = (self.embeddings, self.bias, self.hidden)
        if self.bottom and self.bottom != self.r:
            return UnequalEnsemble(dim, self.members, self.r, self.bottom, *sizes)
        return ChowderEnsemble(dim, self.members, self.r, *sizes)


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
    made = [estimator.epochs_of(len(bags)) for estimator in estimators]
    for key in ("epochs", "batch", "seed", "stream", "device", "precision"):
        values = made if key == "epochs" else [getattr(estimator, key) for estimator in estimators]
        if any(value != values[0] for value in values):
            raise UserError(f"ensembles trained together must have the same {key}: train them one by one")
    columns = sum(estimator.members * estimator.embeddings for estimator in estimators)
    work = float(bags.counts.mean()) * first.batch * bags.dim * columns
    with one_torch_thread() as threads:
        train_together(estimators, bags, y, progress, threads if work >= ONE_THREAD_BELOW else 1)


def predict_many(estimators: Sequence[EnsembleEstimator], bags: Bags | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return each ensemble's probabilities (n, E) of the same slides, reading the features once.

    They must agree on precision and on the device they are on. Each one's result is that of predicting alone, up to
    rounding. Errors: :class:`UserError` for an untrained one, another length of the features, or other precision.
    """
    bags = as_bags(bags)
    with one_torch_thread() as threads:
        stores = [estimator._store(bags, threads) for estimator in estimators]
        if len({(store.device, store.dtype) for store in stores}) > 1:
            raise UserError("ensembles that predict together must have the same device and precision: use them singly")
        models = [estimator.model_ for estimator in estimators]
        with torch.no_grad():
            logits = [m.head(values).double() for m, values in zip(models, selected(models, stores[0]), strict=True)]
    return [torch.sigmoid(part).T.cpu().numpy() for part in logits]
