"""ResNets of torchvision."""

from __future__ import annotations

import re
from pathlib import Path

from chowder.features.encoders.base import IMAGENET, Built
from chowder.features.encoders.weights import checked_sha256, download_checkpoint, fill_model, read_tensors
from chowder.files import UserError


def resnet(name: str, weights: str | None) -> Built:
    """Build a ResNet of torchvision; ``weights`` is a checkpoint or a tag such as ``IMAGENET1K_V2``."""
    import torch
    import torchvision

    tags = torchvision.models.get_model_weights(name)
    tag = weights or "IMAGENET1K_V1"
    if tag in tags.__members__:
        url = tags[tag].url
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not path.is_file():
            download_checkpoint(name, url, path)
    elif re.fullmatch(r"[A-Z0-9_]+", tag) and not Path(tag).exists():
        raise UserError(f"embedding.weights.{name}: {tag!r} is no file and none of {', '.join(tags.__members__)}")
    else:
        path = Path(tag)
    digest = checked_sha256(path)
    model = getattr(torchvision.models, name)()
    fill_model(model, read_tensors(path), path)
    model.fc = torch.nn.Identity()
    return Built(model, *IMAGENET, 224, digest)
