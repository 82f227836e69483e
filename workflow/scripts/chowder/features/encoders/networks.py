"""Encoders made for pathology: how timm builds each, its statistics and pooling, where its weights are.

This module does not count in fingerprints of code, and importing it costs nothing. A job takes the entry of its own
encoder instead (``code`` in workflow/rules/common.smk; ``entry`` in features/identity.py), so that another line here
computes nothing again. The facts are those of the model cards (docs/encoders.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}


@dataclass(frozen=True)
class Network:
    """How timm builds an encoder, and where its weights are.

    Attributes
    ----------
    repository : on the Hugging Face hub.
    licence : as the model card says; read it before you publish.
    architecture, arguments : timm's name and what differs from its defaults.
    dim : length P of a feature vector.
    statistics : mean and std of the training images, RGB, 0 to 1.
    pooling : ``class`` (the class token) or ``class_mean`` (with the mean of the patch tokens behind it).
    gated : whether the hub wants you to accept terms first.
    """

    repository: str
    licence: str
    architecture: str
    dim: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    arguments: dict[str, Any] = field(default_factory=dict)
    pooling: str = "class"
    gated: bool = True

    @property
    def decisive(self) -> str:
        """What decides a feature, as text."""
        return repr((self.architecture, self.dim, self.statistics, self.arguments, self.pooling))


SCALED = {"init_values": 1e-5}
NETWORKS: dict[str, Network] = {
    "uni": Network("MahmoodLab/UNI", "CC-BY-NC-ND-4.0", "vit_large_patch16_224", 1024, arguments=SCALED),
    "uni2_h": Network(
        "MahmoodLab/UNI2-h",
        "CC-BY-NC-ND-4.0",
        "vit_giant_patch14_224",
        1536,
        arguments=SCALED
        | SWIGLU
        | {"depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2}
        | {"no_embed_class": True, "reg_tokens": 8},
    ),
    "virchow": Network(
        "paige-ai/Virchow",
        "Apache-2.0",
        "vit_huge_patch14_224",
        2560,
        arguments=SCALED | SWIGLU | {"mlp_ratio": 5.3375},
        pooling="class_mean",
    ),
    "virchow2": Network(
        "paige-ai/Virchow2",
        "CC-BY-NC-ND-4.0",
        "vit_huge_patch14_224",
        2560,
        arguments=SCALED | SWIGLU | {"mlp_ratio": 5.3375, "reg_tokens": 4},
        pooling="class_mean",
    ),
    "gigapath": Network(
        "prov-gigapath/prov-gigapath",
        "Apache-2.0",
        "vit_giant_patch14_dinov2",
        1536,
        arguments=SCALED | {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24, "mlp_ratio": 5.33334},
    ),
    "h_optimus_0": Network(
        "bioptimus/H-optimus-0", "Apache-2.0", "vit_giant_patch14_reg4_dinov2", 1536, OPTIMUS, SCALED
    ),
    "h_optimus_1": Network(
        "bioptimus/H-optimus-1", "CC-BY-NC-ND-4.0", "vit_giant_patch14_reg4_dinov2", 1536, OPTIMUS, SCALED
    ),
    "phikon": Network("owkin/phikon", "Owkin's own, not commercial", "vit_base_patch16_224", 768, gated=False),
    "phikon_v2": Network(
        "owkin/phikon-v2", "Owkin's own, not commercial", "vit_large_patch16_224", 1024, arguments=SCALED, gated=False
    ),
    "hibou_b": Network("histai/hibou-b", "Apache-2.0", "vit_base_patch14_reg4_dinov2", 768, HIBOU, SCALED),
    "hibou_l": Network("histai/hibou-L", "Apache-2.0", "vit_large_patch14_reg4_dinov2", 1024, HIBOU, SCALED),
    "midnight": Network(
        "kaiko-ai/midnight", "MIT", "vit_giant_patch14_dinov2", 3072, HALF, SCALED, "class_mean", gated=False
    ),
}
