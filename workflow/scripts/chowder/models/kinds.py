"""The kinds of aggregators: the one place where a new one is added.

This module does not count in fingerprints of code. A job that depends on a method takes that method's entry instead
(``code`` in workflow/rules/common.smk), so that a new line here computes nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of aggregator.

    Attributes
    ----------
    title : name in figures and tables.
    estimator : ``"module:Class"``; a class with ``fit``, ``predict_proba``, ``instance_scores``, ``save``, ``load``.
    settings : section of the config that holds its keyword arguments, ``"training"`` or ``"baselines"``.
    r : whether the name carries R, the number of top and of bottom instances.
    j : whether the name may carry J, the number of embeddings.
    unused : keys of its section that decide nothing: a change of them trains nothing.
    """

    title: str
    estimator: str
    settings: str
    r: bool = False
    j: bool = False
    unused: tuple[str, ...] = ()


# A new aggregator is one line here and one class (docs/models.md).
KINDS: dict[str, Kind] = {
    "meanpool": Kind("MeanPool", "chowder.models.pooled:MeanPool", "baselines"),
    "maxpool": Kind("MaxPool", "chowder.models.pooled:MaxPool", "baselines"),
    "weldon": Kind("WELDON", "chowder.models.estimators:Weldon", "training", r=True, unused=("hidden", "dropout")),
    "chowder": Kind("CHOWDER", "chowder.models.estimators:Chowder", "training", r=True, j=True),
}
