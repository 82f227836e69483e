"""The families of encoders: the one place where a new one is added.

This module does not count in fingerprints of code. A job that depends on an encoder takes that encoder's entry instead
(``code`` in workflow/rules/common.smk), so that a new line here computes nothing again.
"""

from __future__ import annotations

from chowder.features.encoders.networks import NETWORKS

# Name, or what stands before the colon of a name, and the function that builds the network: "module:function".
FAMILIES: dict[str, str] = {
    **dict.fromkeys(
        ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), "chowder.features.encoders.resnet:resnet"
    ),
    "efficientnet_lite0": "chowder.features.encoders.lite0:efficientnet_lite0",
    **dict.fromkeys(NETWORKS, "chowder.features.encoders.pathology:pathology"),
    "timm": "chowder.features.encoders.timm:timm_model",
}


def family_of(name: str) -> str | None:
    """Return the builder of an encoder's name as ``"module:function"``; None for a name that is not known."""
    family, _, rest = name.partition(":")
    return FAMILIES.get(family) if (family == "timm") == bool(rest) else None
