"""Any network of timm, as ``timm:<name>``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chowder.features.encoders.base import IMAGENET, Built
from chowder.features.encoders.weights import brief, checked_sha256, fill_model, read_tensors, tensors_sha256
from chowder.files import UserError, read_json


def timm_model(
    name: str, weights: str | None, statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
) -> Built:
    """Build a model of timm by its name; ``weights`` is a checkpoint, or None for those of its hub.

    ``local-dir:/path`` takes a folder with config.json and weights. ``statistics`` (mean, std) stand for those that
    timm knows. They are asked for where timm would guess: a file of weights for a model whose published weights have
    several, or none, and a folder whose config.json says nothing.
    """
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
    mean, std = statistics or known_statistics(name, model, settings, weights is not None)
    return Built(model, mean, std, settings["input_size"][-1], digest)


def known_statistics(name: str, model: Any, settings: dict[str, Any], own_file: bool) -> tuple[tuple, tuple]:
    """(mean, std) of the weights. Errors: :class:`UserError` where timm's would be a guess."""
    import timm

    known = True
    if name.startswith("local-dir:"):
        content = read_json(Path(name.partition(":")[2]) / "config.json")
        known = {"mean", "std"} <= {*content, *content.get("pretrained_cfg", {})}
    elif own_file and "." not in name and ":" not in name:  # which of the published weights does the file resemble?
        published = [tag for tag in timm.list_pretrained(f"{name}.*") if tag.partition(".")[0] == name]
        configs = [timm.get_pretrained_cfg(tag) for tag in published]
        known = len({(tuple(config.mean), tuple(config.std)) for config in configs}) == 1
    if not known:
        given = {key: {f"timm:{name}": list(values)} for key, values in zip(("mean", "std"), IMAGENET, strict=True)}
        raise UserError(
            f"encoder timm:{name}: mean and std of the images that its weights were trained on are not known: give "
            f"embedding.mean and embedding.std, as in --config 'embedding={json.dumps(given)}'"
        )
    return settings["mean"], settings["std"]
