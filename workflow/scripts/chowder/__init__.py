"""Weakly supervised whole-slide analysis: the science of the workflow, free of Snakemake.

Every module is one idea and can be used alone from a notebook, for example ``from chowder.evaluation import froc``.
The names most used can be taken from here: ``from chowder import Bags, Chowder, Weldon, MeanPool, MaxPool``. They are
loaded when first used, so that importing ``chowder``, or one light module of it, never pays for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chowder.features.bags import Bags
    from chowder.models.estimators import Chowder, Weldon
    from chowder.models.pooled import MaxPool, MeanPool

__version__ = "0.2.0"

__all__ = ["Bags", "Chowder", "MaxPool", "MeanPool", "Weldon", "__version__"]

_HOME = {
    "Bags": "chowder.features.bags",
    "Chowder": "chowder.models.estimators",
    "MaxPool": "chowder.models.pooled",
    "MeanPool": "chowder.models.pooled",
    "Weldon": "chowder.models.estimators",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
