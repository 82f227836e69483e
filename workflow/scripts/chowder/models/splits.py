"""Which slides train and which test: the competition split, cross-validation, and the experiments about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from chowder import seeds
from chowder.files import UserError, field, read_json
from chowder.models.folds import Member, assign


def labels_of(rows: Iterable[Mapping[str, object]]) -> dict[str, int]:
    """Label (0 or 1) by slide. Errors: a slide listed twice, a label that is neither 0 nor 1."""
    labels: dict[str, int] = {}
    for row in rows:
        slide, label = str(row["slide"]), str(row["label"]).strip()
        if slide in labels:
            raise UserError(f"slides table: slide {slide} is listed twice: remove one row")
        if label not in ("0", "1"):
            raise UserError(f"slides table: slide {slide} has label {label!r}: use 0 (normal) or 1 (tumour)")
        labels[slide] = int(label)
    return labels


def splits(
    rows: Sequence[Mapping[str, object]],
    *,
    folds: int = 3,
    over: str = "all",
    stratify: str = "label_center",
    seed: int = 1802,
) -> dict[str, dict[str, list[str]]]:
    """Training and test slides of every protocol (specification, section 3).

    Parameters
    ----------
    rows : slides table; columns slide, label and, where known, patient, center and, for the competition split, split
        (``train``, ``test`` or empty).
    folds : number of folds; 0 for none.
    stratify : ``label_center``: patients stay together, labels and centres are spread evenly, and a slide more or less
        moves hardly any other (:mod:`chowder.models.folds`). ``label``: shuffled by ``seed`` within each label, as in
        earlier versions.
    over : ``all`` (every slide) or ``train`` (the competition's training slides) takes part in cross-validation.

    Returns ``{"competition": {"train": [...], "test": [...]}, "cv1": ...}`` with slides in the order of their names,
    so that the order of the table's rows has no effect; no ``competition`` when no slide has a split.
    Errors: :class:`UserError` for a split that lacks a class or a side, and for fewer slides of a class than folds.
    """
    labels = labels_of(rows)
    if stratify not in ("label_center", "label"):
        raise UserError(f"cv.stratify is {stratify!r}: use label_center or label")
    if over not in ("all", "train"):
        raise UserError(f"protocols over is {over!r}: use all or train")
    if not isinstance(folds, int) or folds < 0 or folds == 1:
        raise UserError(f"protocols folds is {folds!r}: use 2 or more, or 0 for no cross-validation")
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for row in sorted(rows, key=lambda row: str(row["slide"])):
        side = str(row.get("split") or "")
        if side and side not in sides:
            raise UserError(f"slides table: slide {row['slide']} has split {side!r}: use train, test or nothing")
        if side:
            sides[side].append(str(row["slide"]))
    out: dict[str, dict[str, list[str]]] = {}
    if sides["train"] or sides["test"]:
        for side, other in (("train", "test"), ("test", "train")):
            if not sides[side]:
                raise UserError(f"slides table: there are {other} slides but no {side} slide: add some, or empty split")
        if len({labels[slide] for slide in sides["train"]}) < 2:
            raise UserError("slides table: the training slides are all of one class: add slides of the other")
        out["competition"] = sides
    elif over == "train":
        raise UserError("protocols over is train, but the slides table has no split column: use all")
    if folds:
        names = sides["train"] if over == "train" else sorted(labels)
        y = np.array([labels[name] for name in names])
        least = min((int((y == label).sum()), label) for label in (0, 1))
        if least[0] < folds:
            raise UserError(
                f"{folds}-fold cross-validation needs {folds} slides of each class, label {least[1]} has {least[0]}: "
                "add slides, or lower protocols folds (0 for none)"
            )
        about = {str(row["slide"]): row for row in rows}
        members = [
            Member(name, labels[name], *(str(about[name].get(key) or "") for key in ("center", "patient")))
            for name in names
        ]
        for number, test in enumerate(_folds(members, folds, stratify, seed), start=1):
            out[f"cv{number}"] = {"train": [name for name in names if name not in test], "test": sorted(test)}
    return out


def _folds(members: Sequence[Member], folds: int, stratify: str, seed: int) -> list[set[str]]:
    """Return the slides that each fold leaves out."""
    if stratify == "label_center":
        place = assign(members, folds, seed)
        return [{slide for slide, fold in place.items() if fold == number} for number in range(folds)]
    from sklearn.model_selection import StratifiedKFold

    patients = [member.patient for member in members if member.patient]
    if len(set(patients)) < len(patients):
        raise UserError("cv.stratify is label, which does not keep a patient's slides together: use label_center")
    y = np.array([member.label for member in members])
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seeds.seed_of(seed, "folds") % 2**32)
    return [{members[i].slide for i in test} for _, test in splitter.split(y, y)]


def rank_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of every row of ``scores`` (k, n) for ``labels`` (n,): Mann-Whitney, ties count half."""
    from scipy.stats import rankdata

    labels = np.asarray(labels, dtype=bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    ranks = rankdata(np.atleast_2d(scores), axis=1)
    return (ranks[:, labels].sum(axis=1) - positives * (positives + 1) / 2) / (positives * negatives)


def split_bias(
    pooled: np.ndarray,
    is_test: Sequence[bool],
    *,
    repeats: int = 20,
    folds: int = 5,
    c: float = 1.0,
    seed: int = 1802,
) -> list[dict[str, object]]:
    """How well MeanPool features tell the competition's test slides from its training slides.

    Source: specification, section 3.

    Parameters
    ----------
    pooled : (n, P) mean feature vector of every slide.
    is_test : (n,) membership of the competition test set.
    repeats : random splits of the same sizes, drawn without looking at the slides, as the comparison.
    folds, c : cross-validation and inverse penalty of the logistic regression on standardised features.

    Returns rows ``{"split": "competition" | "random", "repeat", "auc"}``: the AUC of the out-of-fold
    predictions. Near 0.5 the two sides look alike; the paper found 0.75 for the competition's split, 0.55 for random.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    membership = np.asarray(is_test, dtype=np.int64)
    least = int(min(membership.sum(), len(membership) - membership.sum()))
    folds = min(folds, least)
    if folds < 2:
        raise UserError(f"the split-bias experiment needs two slides on each side of the split, one side has {least}")

    def auc(side: np.ndarray, *key: object) -> float:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seeds.seed_of(seed, "split_bias", *key) % 2**32)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
        predicted = cross_val_predict(model, pooled, side, cv=splitter, method="decision_function")
        return float(rank_auc(side, predicted)[0])

    out: list[dict[str, object]] = [{"split": "competition", "repeat": 0, "auc": auc(membership, "competition")}]
    for repeat in range(1, repeats + 1):
        side = seeds.generator(seed, "split_bias", "random", repeat).permutation(membership)
        out.append({"split": "random", "repeat": repeat, "auc": auc(side, "random", repeat)})
    return out


def ensemble_curve(
    labels: Sequence[int],
    members: np.ndarray,
    *,
    sizes: Sequence[int] | None = None,
    repeats: int = 200,
    confidence: float = 0.95,
    seed: int = 1802,
) -> list[dict[str, float]]:
    """Test AUC against ensemble size, from the members' own predictions.

    Parameters
    ----------
    labels : (n,) 0 or 1.
    members : (n, E) probability of every member.
    sizes : ensemble sizes; default 1 to E.
    repeats : random subsets of members (without replacement) a size; for 1 and E every subset is taken once.
    confidence : coverage of the interval over subsets: it shows what the choice of members does, not the sampling
        error of the slides.

    Returns rows ``{"members", "subsets", "auc", "low", "high", "sd"}``.
    """
    y = np.asarray(labels, dtype=np.int64)
    members = np.asarray(members, dtype=np.float64)
    if len(np.unique(y)) < 2:
        raise UserError("the ensemble-size curve needs test slides of both classes")
    total = members.shape[1]
    out = []
    for size in sorted(set(sizes or range(1, total + 1))):
        if not 1 <= size <= total:
            raise UserError(f"ensemble size {size} is asked for, but there are {total} members")
        if size == 1:
            subsets = np.arange(total)[:, None]
        elif size == total:
            subsets = np.arange(total)[None]
        else:
            rng = seeds.generator(seed, "ensemble_size", size)
            subsets = np.sort(np.argsort(rng.random((repeats, total)), axis=1)[:, :size], axis=1)
        means = members[:, subsets].mean(axis=2).T
        auc = rank_auc(y, means)
        tail = (1 - confidence) / 2
        low, high = np.quantile(auc, [tail, 1 - tail])
        out.append(
            {
                "members": size,
                "subsets": len(subsets),
                "auc": float(auc.mean()),
                "low": float(low),
                "high": float(high),
                "sd": float(auc.std(ddof=1)) if len(auc) > 1 else 0.0,
            }
        )
    return out


def read_splits(path: str | Path, names: Iterable[str] | None = None) -> dict[str, dict[str, list[str]]]:
    """Return the named splits (default all) of a ``splits.json``, in that order, each once."""
    content = read_json(path)
    names = list(dict.fromkeys(names)) if names is not None else list(content)
    for name in names:
        if name not in content:
            raise UserError(f"{path}: there is no split {name!r}: use one of {', '.join(content)}")
        for side in ("train", "test"):
            field(path, field(path, content, name, "object"), side, "list of texts")
    return {name: content[name] for name in names}


def outputs(given: Sequence[str]) -> dict[str, str]:
    """Command-line outputs by split, given as ``SPLIT=PATH``. Errors: :class:`UserError` for another form."""
    out: dict[str, str] = {}
    for text in given:
        split, equals, path = text.partition("=")
        if not (split and equals and path):
            raise UserError(f"output {text!r} names no split: write SPLIT=PATH")
        out[split] = path
    return out
