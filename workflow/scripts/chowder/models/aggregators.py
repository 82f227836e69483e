"""Aggregators of the library torchmil: networks, the settings of their authors' code, and a lesion score of a tile.

Networks and losses are torchmil's (Apache-2.0); docs/models.md says where the settings are from and what differs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from chowder import seeds
from chowder.files import UserError
from chowder.models.aggregator import Aggregator, NumpySeeded


def reduced(dim: int, hidden: int, dropout: float = 0.0, bias: bool = True) -> nn.Module:
    """The layer that the authors put before their aggregator: linear, ReLU, dropout."""
    layers = [nn.Linear(dim, hidden, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout)) if dropout else nn.Sequential(*layers)


class Abmil(Aggregator):
    """Attention-based pooling (Ilse et al. 2018).

    Lesion score of a tile: n times its attention weight times the logit of its own embedding. Its mean over the
    slide's tiles is the slide's logit, so a tile scores what it adds, against the case that all tiles count alike.
    """

    kind = "abmil"
    OWN: ClassVar[dict[str, Any]] = {"hidden": 500, "attention": 128, "dropout": 0.0}
    gated = False

    def network(self, dim: int) -> nn.Module:
        """Return torchmil's ABMIL behind a linear layer."""
        from torchmil.models import ABMIL

        own, before = self.own, reduced(dim, self.own["hidden"], self.own["dropout"])
        return ABMIL((dim,), att_dim=own["attention"], gated=self.gated, feat_ext=before)

    def lesion_scores(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        h = model.feat_ext(x[None])
        _, attention = model.pool(h, return_att=True)
        return len(x) * torch.softmax(attention[0], dim=0) * model.classifier(h)[0, :, 0]


class AbmilGated(Abmil):
    """Gated attention-based pooling (Ilse et al. 2018); lesion score as :class:`Abmil`."""

    kind = "abmil_gated"
    gated = True


class TileLoss(nn.Module):
    """Cross-entropy of tiles, the loss that CLAM's own code takes unless told otherwise.

    It stands in for torchmil 1.0.2's SmoothTop1SVM, which takes targets (k, 1) for (k,), so that its sum runs over all
    pairs of tiles, and which fails as soon as some tiles are certain and some are not.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the tiles of ``logits`` (k, 2) for ``targets`` (k, 1)."""
        return nn.functional.cross_entropy(logits, targets[:, 0].long())


class ClamSb(Abmil):
    """CLAM with a single branch (Lu et al. 2021): gated attention, and tiles told apart by its extremes.

    Lesion score as :class:`Abmil`.
    """

    kind = "clam_sb"
    OWN: ClassVar[dict[str, Any]] = {"hidden": 512, "attention": 256, "dropout": 0.25, "k_sample": 8, "bag_weight": 0.7}

    def network(self, dim: int) -> nn.Module:
        """Return torchmil's CLAM_SB behind a linear layer."""
        from torchmil.models import CLAM_SB

        own, before = self.own, reduced(dim, self.own["hidden"], self.own["dropout"])
        model = CLAM_SB((dim,), att_dim=own["attention"], gated=True, k_sample=own["k_sample"], feat_ext=before)
        model.inst_loss_fn = TileLoss()
        return model

    def logit(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """See :class:`Aggregator`."""
        return model(x[None]).reshape(())

    def _weight(self, term: str) -> float:
        return 1 - self.own["bag_weight"] if term == "InstLoss" else self.own["bag_weight"]


class Dsmil(Aggregator):
    """Two streams, the tile with the highest score and attention to it (Li, Li and Eliceiri 2021).

    Lesion score of a tile: the logit of the instance stream.
    """

    kind = "dsmil"
    OWN: ClassVar[dict[str, Any]] = {"attention": 128, "nonlinear": True}
    TERMS: ClassVar[dict[str, float]] = {"_max": 0.5, "Loss": 0.5}
    BETAS = (0.5, 0.9)
    LAST_RATE = 5e-6

    def network(self, dim: int) -> nn.Module:
        """Return torchmil's DSMIL."""
        from torchmil.models import DSMIL

        return DSMIL((dim,), att_dim=self.own["attention"], nonlinear_q=bool(self.own["nonlinear"]))

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Cosine down to ``LAST_RATE``."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs, self.LAST_RATE)

    def lesion_scores(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return model.inst_classifier(model.feat_ext(x))[:, 0]


class TransMil(Aggregator):
    """Two Nystrom attention layers with a convolution between them (Shao et al. 2021). Slow on a CPU.

    Lesion score of a tile: n times the attention of the class token to it in the last layer. It has no sign: a tile
    that speaks against tumour scores as high as one that speaks for it. A large slide is scored in pieces of
    ``PIECE`` tiles, because the attention matrix grows with their square.
    """

    kind = "transmil"
    OWN: ClassVar[dict[str, Any]] = {"attention": 512, "heads": 8, "landmarks": 256, "dropout": 0.1}
    PIECE = 2048

    def network(self, dim: int) -> nn.Module:
        """Return torchmil's TransMIL behind a linear layer with ReLU, as in the authors' code."""
        from torchmil.models import TransMIL

        own = self.own
        if own["attention"] % own["heads"]:
            raise UserError(f"transmil attention {own['attention']} is no multiple of heads {own['heads']}: change one")
        size, before = own["attention"], reduced(dim, own["attention"])
        more = {"n_landmarks": own["landmarks"], "dropout": own["dropout"]}
        return TransMIL((dim,), att_dim=size, n_heads=own["heads"], feat_ext=before, **more)

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """RAdam, as in the authors' code, without its Lookahead."""
        return torch.optim.RAdam(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def lesion_scores(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        parts = [model(piece[None], return_att=True)[1][0] * len(piece) for piece in x.split(self.PIECE)]
        return torch.cat(parts)


class Dtfd(Aggregator):
    """Two tiers over random groups of tiles (Zhang et al. 2022), distilled by attention (AFS).

    Lesion score of a tile: the logit of the first tier's classifier for the tile's own embedding.
    """

    kind = "dtfd"
    OWN: ClassVar[dict[str, Any]] = {"hidden": 512, "attention": 128, "groups": 4}
    CLIP = 5.0

    def network(self, dim: int) -> nn.Module:
        """Return torchmil's DTFDMIL behind a linear layer without bias, as in the authors' code."""
        from torchmil.models import DTFDMIL

        own, before = self.own, reduced(dim, self.own["hidden"], bias=False)
        more = {"n_groups": own["groups"], "distill_mode": "afs", "feat_ext": before}
        return DTFDMIL((dim,), att_dim=own["attention"], **more)

    def drawing(self, *key: object) -> Any:
        """Groups are drawn from numpy's global generator: seed it, and put it back."""
        return NumpySeeded(seeds.seed_of(self.seed, *self.stream, self.name, *key))

    def lesion_scores(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return model.classifier(model.feat_ext(x))[:, 0]
