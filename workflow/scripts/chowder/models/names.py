"""Names of methods (``chowder_r5``) and what they stand for.

Only the standard library is imported: the Snakefile reads method names while it is parsed. The classes are named by
path; chowder.models.build imports them when a method is built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chowder.files import UserError
from chowder.models.kinds import KINDS

# A member is undertrained when its loss is above this share of the loss of a constant prediction.
PLATEAU = 0.9
# What to do about members that stayed on the plateau; said in the log and under the table.
UNDERTRAINED_ADVICE = "raise training.epochs, lower training.l2, or scale the features"


@dataclass(frozen=True)
class Method:
    """A parsed method name: ``chowder_r5_b20_j4_s2`` is kind chowder, R = 5, 20 at the bottom, J = 4, repeat 2.

    ``r`` is None for kinds without R; ``bottom`` is None where there are R bottom instances; ``j`` is 1 unless named;
    ``repeat`` is 0 unless named (other tile samples and initial weights, for the spread of a table's cell).
    """

    name: str
    kind: str
    r: int | None = None
    j: int = 1
    repeat: int = 0
    bottom: int | None = None

    @property
    def base(self) -> str:
        """The name without its repeat: rows of one table cell share it."""
        return re.sub(r"_s[0-9]+$", "", self.name)

    @property
    def trained_as_ensemble(self) -> bool:
        """True for kinds trained by gradient descent with E members, False for the pooled baselines."""
        return KINDS[self.kind].settings != "baselines"


def _form(name: str) -> str:
    kind = KINDS[name]
    form = name + ("_r<R>" if kind.r else "") + ("[_b<bottom>]" if kind.bottom else "")
    return form + ("[_j<J>]" if kind.j else "") + "[_s<repeat>]"


def parse(name: str) -> Method:
    """Read a method's name.

    Errors: :class:`UserError` that lists the forms a name may have. Numbers have no leading zero and start at 1, so
    that one method has one name.
    """
    number = r"([1-9]\d*)"
    match = re.fullmatch(
        rf"([a-z_]+?)(?:_r{number})?(?:_b{number})?(?:_j{number})?(?:_s{number})?", str(name), re.ASCII
    )
    if match:
        kind, r, bottom, j, repeat = match.groups()
        known = KINDS.get(kind)
        # chowder_r5_j1 and chowder_r5_b5 would be second names of chowder_r5.
        one_name = (j is None or (known and known.j and j != "1")) and (
            bottom is None or (known and known.bottom and bottom != r)
        )
        if known and (r is not None) == known.r and one_name:
            numbers = int(r) if r else None, int(j or 1), int(repeat or 0), int(bottom) if bottom else None
            return Method(str(name), kind, *numbers)
    forms = ", ".join(_form(kind) for kind in KINDS)
    raise UserError(f"method {name!r} is not known: use one of {forms} (for example chowder_r5)")


def label(method: Method | str) -> str:
    """Return the method's name in figures and tables: ``CHOWDER R=5 bottom 20 J=4``, ``MeanPool``."""
    method = parse(method) if isinstance(method, str) else method
    text = KINDS[method.kind].title
    text += f" R={method.r}" if method.r else ""
    text += f" bottom {method.bottom}" if method.bottom else ""
    text += f" J={method.j}" if method.j > 1 else ""
    return text + (f" (repeat {method.repeat})" if method.repeat else "")


def tile_score(kind: str, score: str) -> str:
    """Return the lesion score that a kind of ensemble takes, ``"evidence"`` or ``"embedding"``.

    ``score``: localisation.score of the config. ``auto`` is the embedding value for WELDON, whose logit is a sum of
    them, and the evidence for every other kind (docs/decisions/lesion_score.md).
    """
    if score != "auto":
        return score
    return "embedding" if kind == "weldon" else "evidence"
