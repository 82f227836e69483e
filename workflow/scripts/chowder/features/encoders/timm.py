"""Any network of timm, as ``timm:<name>``."""

from __future__ import annotations

from pathlib import Path

from chowder.features.encoders.base import Built
from chowder.features.encoders.weights import brief, checked_sha256, fill_model, read_tensors, tensors_sha256
from chowder.files import UserError


def timm_model(name: str, weights: str | None) -> Built:
    """Build a model of timm by its name; ``weights`` is a checkpoint, or None for those of its hub."""
    import timm
    from timm.data import resolve_model_data_config

    try:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    except Exception as error:  # timm raises RuntimeError, ValueError, and what a hub client raises
        raise UserError(f"encoder timm:{name}: timm knows no such model ({brief(error)})") from None
    if weights is not None:
        digest = checked_sha256(Path(weights))
        fill_model(model, read_tensors(Path(weights)), Path(weights))
    else:
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:
            raise UserError(
                f"encoder timm:{name}: its weights are neither in the cache nor to be fetched ({brief(error)}): give a "
                f"checkpoint as embedding.weights, or fetch it once on a machine with a network"
            ) from None
        digest = tensors_sha256(model.state_dict())
    settings = resolve_model_data_config(model)
    return Built(model, settings["mean"], settings["std"], settings["input_size"][-1], digest)
