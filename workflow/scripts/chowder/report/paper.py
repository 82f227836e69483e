"""What a method's name means in tables and figures: its family, R, J, and how it is printed and ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chowder.models.names import KINDS

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
