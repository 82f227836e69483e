"""The kinds of aggregators: the one place where a new one is added.

This module does not count in fingerprints of code. A job that depends on a method takes that method's entry instead
(``code`` in workflow/rules/common.smk), so that a new line here computes nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """One kind of aggregator.

    Attributes
    ----------
    title : name in figures and tables.
    estimator : ``"module:Class"``; a class with ``fit``, ``predict_proba``, ``instance_scores``, ``save``, ``load``.
    settings : section of the config that holds its keyword arguments; ``"baselines"`` for those that are no ensemble.
    r : whether the name carries R, the number of top and of bottom instances.
    j : whether the name may carry J, the number of embeddings.
    unused : keys of its section that decide nothing: a change of them trains nothing.
    lesion_score : what the score of a tile is, for the note under the table; "" where it depends on the config.
    source : authors and year of a method that is not in the paper.
    bottom : whether the name may carry B, the number of bottom instances where it is not R.
    """

    title: str
    estimator: str
    settings: str
    r: bool = False
    j: bool = False
    unused: tuple[str, ...] = ()
    lesion_score: str = ""
    source: str = ""
    bottom: bool = field(default=False, repr=False)  # decides which names there are, not what a model is


AGGREGATORS = "chowder.models.aggregators"
ATTENTION = "n x attention x the logit of the tile's own embedding"

# A new aggregator is one line here and one class (docs/models.md).
KINDS: dict[str, Kind] = {
    "meanpool": Kind("MeanPool", "chowder.models.pooled:MeanPool", "baselines"),
    "maxpool": Kind("MaxPool", "chowder.models.pooled:MaxPool", "baselines"),
    "weldon": Kind(
        "WELDON", "chowder.models.estimators:Weldon", "training", r=True, unused=("hidden", "dropout", "tile_hidden")
    ),
    "chowder": Kind(
        "CHOWDER",
        "chowder.models.estimators:Chowder",
        "training",
        r=True,
        j=True,
        unused=("tile_hidden",),
        bottom=True,
    ),
    # not in the paper
    "chowder_mlp": Kind(
        "CHOWDER MLP",
        "chowder.models.tile_mlp:ChowderMlp",
        "training",
        r=True,
        j=True,
        source="Owkin 2023, HistoSSLscaling",
        bottom=True,
    ),
    "abmil": Kind("ABMIL", f"{AGGREGATORS}:Abmil", "abmil", lesion_score=ATTENTION, source="Ilse et al. 2018"),
    "abmil_gated": Kind(
        "ABMIL gated", f"{AGGREGATORS}:AbmilGated", "abmil", lesion_score=ATTENTION, source="Ilse et al. 2018"
    ),
    "clam_sb": Kind("CLAM-SB", f"{AGGREGATORS}:ClamSb", "clam_sb", lesion_score=ATTENTION, source="Lu et al. 2021"),
    "dsmil": Kind(
        "DSMIL",
        f"{AGGREGATORS}:Dsmil",
        "dsmil",
        lesion_score="the logit of the instance stream",
        source="Li et al. 2021",
    ),
    "transmil": Kind(
        "TransMIL",
        f"{AGGREGATORS}:TransMil",
        "transmil",
        lesion_score="n x attention of the class token, which has no sign: read its FROC with care",
        source="Shao et al. 2021",
    ),
    "dtfd": Kind(
        "DTFD-MIL",
        f"{AGGREGATORS}:Dtfd",
        "dtfd",
        lesion_score="the logit of the first tier's classifier",
        source="Zhang et al. 2022",
    ),
}
