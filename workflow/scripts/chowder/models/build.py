"""Estimators by the name of a method: make, fit, load. The classes are imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from chowder.files import UserError
from chowder.models import names
from chowder.models.model_file import made_of, read_content


def _class(kind: str) -> type:
    module, _, name = names.KINDS[kind].estimator.partition(":")
    return getattr(importlib.import_module(module), name)


def build(method: names.Method | str, settings: dict[str, Any], *, seed: int | None = None, stream: tuple = ()) -> Any:
    """Make the untrained estimator of a method.

    Parameters
    ----------
    settings : dict with the config's sections ``training`` and ``baselines`` (each may be missing).
    seed : overrides the section's own ``seed``.
    stream : what else the random numbers depend on, for example ``(dataset, split)``.

    Errors: :class:`UserError` for a key that the estimator does not know.
    """
    method = names.parse(method) if isinstance(method, str) else method
    section = names.KINDS[method.kind].settings
    unused = names.KINDS[method.kind].unused  # keys of the section that are for other kinds
    arguments = {key: value for key, value in (settings.get(section) or {}).items() if key not in unused}
    if method.r:
        arguments["r"] = method.r
    if method.bottom:
        arguments["bottom"] = method.bottom
    if method.j > 1:
        arguments["embeddings"] = method.j
    if seed is not None:
        arguments["seed"] = seed
    arguments |= {"name": method.base, "stream": (*stream, method.repeat) if method.repeat else stream}
    try:
        return _class(method.kind)(**arguments)
    except TypeError as error:
        raise UserError(f"config section {section}: {error}: remove or rename the key") from None


def fit(group: list[names.Method], bags: Any, labels: list[int], settings: dict[str, Any], stream: tuple) -> list[Any]:
    """Build and fit methods on the same bags. Parameters as for :func:`build` and :func:`fit_together`."""
    estimators = [build(method, settings, stream=stream) for method in group]
    return fit_together(estimators, bags, labels, " ".join(str(part) for part in stream if part))


def _shares_readings(estimator: Any) -> bool:
    """Whether an estimator's tiles are scored by the product that other ensembles share."""
    return hasattr(estimator, "fit_with") and not getattr(estimator, "alone", False)


def fit_together(estimators: list[Any], bags: Any, labels: list[int], what: str = "") -> list[Any]:
    """Fit estimators on the same bags; kinds that are trained together share each reading of the features.

    Parameters: estimators as :func:`build` makes them, bags and labels as for their ``fit``; ``what`` stands with the
    methods' names in the line of progress. Returns the estimators.
    """
    together = [estimator for estimator in estimators if _shares_readings(estimator)]
    for estimator in estimators:
        if estimator not in together:
            estimator.fit(bags, labels)
    if together:
        progress = f"training {', '.join(estimator.name for estimator in together)} ({what})"
        together[0].fit_with(together[1:], bags, labels, progress)
    return estimators


def predict_together(estimators: list[Any], bags: Any) -> list[Any]:
    """Return the probabilities (n, members) of each fitted estimator; ensembles share each reading of the features."""
    together = [estimator for estimator in estimators if _shares_readings(estimator)]
    shared = together[0].predict_with(together[1:], bags) if together else []
    found = {id(estimator): proba for estimator, proba in zip(together, shared, strict=True)}
    return [found[id(e)] if id(e) in found else e.predict_proba(bags) for e in estimators]


def load(path: Any) -> Any:
    """Load a trained estimator of any kind from a file that its ``save`` wrote.

    Errors: :class:`UserError` when the file is missing or is not such a file. The file can't run code when loaded.
    """
    content = read_content(path)
    if content["kind"] not in names.KINDS:
        raise UserError(f"{path}: not a model file of this workflow (kind {content['kind']}): train the method again")
    return made_of(path, content, _class(content["kind"]).from_content)
