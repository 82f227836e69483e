"""The paper's numbers, and what a method's name means. The numbers stand beside ours and are never mixed with ours.

Source: Courtiol et al., arXiv 1802.02212, as listed in the specification, section 4. They were written down from
memory and partly confirmed by re-implementations, so everything that shows them also shows :data:`STATUS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chowder.files import UserError
from chowder.models.names import KINDS

STATUS = "as remembered from the paper"
CONTEXT = "Camelyon-16, ResNet-50"
HEADING = f"{STATUS} ({CONTEXT})"

#: method: (AUC of the 3-fold cross-validation, AUC of the competition test split); Table 1, E = 10.
TABLE1: dict[str, tuple[float, float]] = {
    "maxpool": (0.749, 0.655),
    "meanpool": (0.802, 0.530),
    "weldon_r1": (0.782, 0.765),
    "weldon_r10": (0.832, 0.670),
    "weldon_r100": (0.809, 0.600),
    "weldon_r300": (0.761, 0.573),
    "chowder_r1": (0.809, 0.821),
    "chowder_r5": (0.903, 0.858),
    "chowder_r10": (0.900, 0.843),
    "chowder_r100": (0.870, 0.775),
    "chowder_r300": (0.837, 0.652),
}
#: The leaderboard row: (method, ensemble size, AUC, FROC) of the competition test split.
LEADERBOARD = ("chowder_r5", 50, 0.8706, 0.3103)
#: Split bias: AUC of telling the test set from the training set, for the competition split and for random ones.
SPLIT_BIAS = {"competition": 0.75, "random": 0.55}
#: Sampling error on 49 tumour and 80 normal slides: 95 % interval of an AUC of 0.858, and what follows from it.
SAMPLING = {"auc": 0.858, "low": 0.79, "high": 0.93, "positives": 49, "negatives": 80, "no_difference": 0.07}

FAMILIES = {name: kind.title for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Method:
    """A method's name taken apart: ``chowder_r5_j4`` is family chowder, R = 5, J = 4; ``extra`` is what follows.

    ``bottom``: number of bottom tiles where it is not R.
    """

    family: str
    r: int | None = None
    j: int | None = None
    extra: str = ""
    bottom: int | None = None

    @property
    def label(self) -> str:
        """The name as figures and tables print it: ``CHOWDER R=5``."""
        words = [FAMILIES.get(self.family, self.family)]
        words += [f"R={self.r}"] if self.r else []
        words += [f"bottom {self.bottom}"] if self.bottom else []
        words += [f"J={self.j}"] if self.j else []
        for word in self.extra.split("_"):
            words += [f"(repeat {word[1:]})" if re.fullmatch(r"s\d+", word) else word.upper()] if word else []
        return " ".join(words)

    @property
    def order(self) -> tuple:
        """Sort key: mean, max, WELDON, CHOWDER, then by R, J and the rest."""
        known = list(FAMILIES)
        rank = known.index(self.family) if self.family in known else len(known)
        return rank, self.family, self.r or 0, self.bottom or 0, self.j or 0, self.extra


def parse(name: str) -> Method:
    """Take a method's name apart for display. Unlike :func:`chowder.models.names.parse` it refuses nothing.

    A name of no known family is its own family, so that rows made elsewhere (a user's detections) can be listed.
    """
    longest = sorted(FAMILIES, key=len, reverse=True)
    found = re.fullmatch(rf"({'|'.join(longest)})(?:_r(\d+))?(?:_b(\d+))?(?:_j(\d+))?(?:_(\w+))?", name)
    if not found:
        return Method(name)
    family, r, bottom, j, extra = found.groups()
    numbers = (int(number) if number else None for number in (r, j, bottom))
    r, j, bottom = numbers
    return Method(family, r, j, extra or "", bottom)


@dataclass(frozen=True)
class Numbers:
    """The paper's figures for one method; None where it gives none."""

    auc_cv: float | None = None
    auc_test: float | None = None
    froc: float | None = None


def lookup(method: str, ensemble: int | None = None) -> Numbers:
    """Return the paper's numbers for a method (J = 1, no post-processing), else all None.

    ``ensemble`` chooses between Table 1 (E = 10) and the leaderboard row (R = 5, E = 50) for the test AUC. FROC is
    known for the leaderboard row only and is given for that method at any ensemble size (:func:`remarks` says so).
    """
    if ensemble is not None and ensemble < 1:
        raise UserError(f"ensemble {ensemble}: an ensemble has at least one member; give 1 or more")
    method = re.sub(r"_s\d+$", "", method)  # a repeat is the same method
    if method not in TABLE1:
        return Numbers()
    cv, test = TABLE1[method]
    name, members, auc, froc = LEADERBOARD
    if method != name:
        return Numbers(cv, test)
    return Numbers(cv, auc if ensemble == members else test, froc)


def remarks(dataset: str, simulated: bool, encoders: list[str]) -> list[str]:
    """Return what must be said wherever the paper's numbers are shown beside ours, one sentence per item."""
    name, members, auc, froc = LEADERBOARD
    lines = [
        f"Paper columns: {HEADING}, not yet checked against the PDF; Table 1 has E = 10. The paper's FROC {froc:.4f} "
        f"is its leaderboard row ({parse(name).label}, E = {members}, AUC {auc:.4f})."
    ]
    unlike = [] if dataset.lower().replace("-", "") in ("camelyon16", "camelyon") else [f"dataset {dataset}"]
    unlike += ["simulated slides"] if simulated else []
    other = [name for name in encoders if name != "resnet50"]
    unlike += [f"encoder {', '.join(other)}"] if other else []
    if unlike:
        lines.append(
            f"They are {CONTEXT} numbers, while ours are of {'; '.join(unlike)}: shown for orientation, not comparable."
        )
    lines.append(
        f"Sampling error at Camelyon-16's size ({SAMPLING['positives']} tumour and {SAMPLING['negatives']} normal test "
        f"slides): an AUC of {SAMPLING['auc']} has a 95 % interval of about {SAMPLING['low']} to {SAMPLING['high']}, "
        f"so a difference below {SAMPLING['no_difference']} is no difference."
    )
    return lines
