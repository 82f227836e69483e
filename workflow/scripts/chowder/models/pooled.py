"""MeanPool and MaxPool: one pooled vector a slide, then logistic regression (specification, section 2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from chowder.features.bags import Bags, as_bags, check_labels
from chowder.files import UserError

INNER_GRID = tuple(10.0**power for power in range(-4, 3))


class PooledLogistic:
    """Pooled features, standardised, and scikit-learn's logistic regression.

    Parameters
    ----------
    c : inverse strength of the L2 penalty.
    standardise : centre and scale every pooled feature over the training slides (constant ones are only centred).
    inner_cv : choose C among 1e-4 ... 100 by 5-fold AUC within the training slides; ``c`` is then unused.
    seed, stream, name : what the inner folds depend on.

    The tile score is the model's logit for the tile's own feature vector, standardised as a pooled one: what the
    slide's logit would be if all of it were like this tile.
    """

    kind = ""
    pooling = ""

    def __init__(
        self,
        c: float = 1.0,
        *,
        standardise: bool = True,
        inner_cv: bool = False,
        seed: int = 1802,
        name: str | None = None,
        stream: Sequence[object] = (),
    ):
        if not c > 0:
            raise UserError(f"baselines c is {c!r}: it must be above 0")
        self.c, self.standardise, self.inner_cv, self.seed = float(c), bool(standardise), bool(inner_cv), seed
        self.name, self.stream = name or self.kind, tuple(stream)
        self.coefficients_: np.ndarray | None = None
        self.history_ = np.zeros((0, 1))
        self.undertrained_, self.averaged = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.seconds_ = 0.0

    def fit(self, bags: Bags | Sequence[np.ndarray], labels: Sequence[int], progress: str | None = None):
        """Fit on bags and labels (n,) of 0 and 1. ``progress`` is taken for likeness with the ensembles."""
        started = time.perf_counter()
        bags = as_bags(bags)
        y = check_labels(labels, bags)
        self.fit_pooled(bags.pooled(self.pooling), y)
        self.seconds_ = time.perf_counter() - started
        return self

    def fit_pooled(self, pooled: np.ndarray, y: np.ndarray) -> None:
        """Fit on pooled vectors (n, P)."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        from chowder import seeds

        self.centre_ = pooled.mean(axis=0) if self.standardise else np.zeros(pooled.shape[1])
        sd = pooled.std(axis=0) if self.standardise else np.ones(pooled.shape[1])
        self.scale_ = np.where(sd > 0, sd, 1.0)
        x = (pooled - self.centre_) / self.scale_
        model = LogisticRegression(C=self.c, max_iter=5000, tol=1e-6)
        if self.inner_cv:
            folds = min(5, int(np.bincount(y).min()))
            if folds < 2:
                raise UserError("baselines inner_cv needs at least two training slides of each class: turn it off")
            random_state = seeds.seed_of(self.seed, *self.stream, self.name, "inner_cv") % 2**32
            splitter = StratifiedKFold(folds, shuffle=True, random_state=random_state)
            search = GridSearchCV(model, {"C": INNER_GRID}, scoring="roc_auc", cv=splitter).fit(x, y)
            model, self.c = search.best_estimator_, float(search.best_params_["C"])
        else:
            model.fit(x, y)
        self.coefficients_ = model.coef_[0].astype(np.float64)
        self.intercept_ = float(model.intercept_[0])

    def _logit(self, vectors: np.ndarray) -> np.ndarray:
        if self.coefficients_ is None:
            raise UserError(f"{self.name} is not trained yet: call fit or load first")
        if vectors.shape[1] != len(self.coefficients_):
            raise UserError(f"{self.name} was trained on {len(self.coefficients_)} features, not {vectors.shape[1]}")
        weight = self.coefficients_ / self.scale_
        return vectors @ weight + (self.intercept_ - self.centre_ @ weight)

    def predict_proba(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n, 1) probability of tumour: a baseline is an ensemble of one."""
        return 1.0 / (1.0 + np.exp(-self._logit(as_bags(bags).pooled(self.pooling))))[:, None]

    def predict(self, bags: Bags | Sequence[np.ndarray]) -> np.ndarray:
        """(n,) probability of tumour."""
        return self.predict_proba(bags)[:, 0]

    def instance_scores(self, bag: np.ndarray, score: str = "auto") -> np.ndarray:
        """(tiles,) float32 logit of every tile of one slide (tiles, P); see the class. There is one ``score`` only."""
        return self._logit(np.asarray(bag, dtype=np.float64)).astype(np.float32)

    def save(self, path: Any) -> None:
        """Write the trained model: tensors and plain values only."""
        import torch

        from chowder.models.model_file import save_content

        keys = ("c", "standardise", "inner_cv", "seed", "name")
        content = {
            "format": 1,
            "kind": self.kind,
            "arguments": {key: getattr(self, key) for key in keys} | {"stream": [str(part) for part in self.stream]},
            "coefficients": torch.from_numpy(self.coefficients_),
            "intercept": self.intercept_,
            "centre": torch.from_numpy(self.centre_),
            "scale": torch.from_numpy(self.scale_),
        }
        save_content(path, content)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PooledLogistic:
        """Return the estimator from what :meth:`save` stored."""
        estimator = cls(**content["arguments"])
        estimator.coefficients_ = content["coefficients"].numpy()
        estimator.intercept_ = content["intercept"]
        estimator.centre_, estimator.scale_ = content["centre"].numpy(), content["scale"].numpy()
        return estimator

    @classmethod
    def load(cls, path: Any) -> PooledLogistic:
        """Load what :meth:`save` wrote. Errors: a file of another kind of model, or no model file."""
        from chowder.models.model_file import made_of, read_content

        return made_of(path, read_content(path, cls.kind), cls.from_content)


class MeanPool(PooledLogistic):
    """Feature-wise mean over the tiles, then logistic regression; see :class:`PooledLogistic`."""

    kind, pooling = "meanpool", "mean"


class MaxPool(PooledLogistic):
    """Feature-wise maximum over the tiles, then logistic regression; see :class:`PooledLogistic`."""

    kind, pooling = "maxpool", "max"
