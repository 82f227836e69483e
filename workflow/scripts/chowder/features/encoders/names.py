"""Names of encoders, apart from what builds them: the Snakefile reads names while it is parsed."""

from __future__ import annotations

# "timm" stands for timm:<name>. The registry has a builder for each (tests/unit/features/test_encoders.py).
FAMILIES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_lite0", "timm")
