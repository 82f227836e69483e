"""Encoders by name: ``load`` makes one ready to embed. The networks are imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chowder.features.encoders.base import Encoder, fold_batch_norm
from chowder.features.encoders.families import FAMILIES, family_of
from chowder.files import UserError
from chowder.machine import torch_device

if TYPE_CHECKING:
    import torch


def load(
    name: str,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    normalisation: str = "nikitenko",
    compile: bool = False,
    fold: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pooling: str | None = None,
) -> Encoder:
    """Load an encoder by name, check its weights, and make it fast.

    Parameters
    ----------
    name : "resnet50", "efficientnet_lite0", "timm:<name>", ... (``families.FAMILIES``)
    weights : a checkpoint file; for ResNets also a torchvision tag such as "IMAGENET1K_V2". None: the default ones.
    device : "auto" (CUDA when there is one), "cpu", "cuda" or "cuda:1"
    precision : "auto" (bf16 where the hardware is fast at it, else fp32), "fp32", "bf16", "fp16" (CUDA only)
    compile : torch.compile; costs about a minute at the start
    normalisation : "nikitenko", "none" (its mean and std alone), or "auto": nikitenko for the ResNets of the paper's
        family, none for others
    fold : merge batch normalisation into the convolutions (equal up to rounding)
    mean, std : of the training images (RGB, 0 to 1), where the encoder's own are not known or not wanted
    pooling : "class", "mean" or "class_mean" of the tokens of a transformer, in place of its own

    Raises UserError for an unknown name, an absent, corrupt or unsuitable weight file, and a device that is not there.
    """
    import torch

    builder = family_of(name)
    if builder is None:
        raise UserError(
            f"encoder {name!r} is not known: use one of {', '.join(sorted(FAMILIES))} (timm as timm:<name>)"
        )
    module, _, function = builder.partition(":")
    place = torch_device(device)
    precision = _precision(precision, place)
    if normalisation not in {"auto", "nikitenko", "none"}:
        raise UserError(f"embedding.normalisation: {normalisation!r} is none of 'auto', 'nikitenko', 'none'")
    if normalisation == "auto":
        normalisation = "nikitenko" if name.startswith("resnet") else "none"
    if (mean is None) != (std is None):
        raise UserError(f"embedding.mean and embedding.std of {name}: give both or neither")
    more = {"statistics": (tuple(mean), tuple(std))} if mean is not None else {}
    makes = getattr(importlib.import_module(module), function)
    built = makes(name.partition(":")[2] or name, weights or None, **(more if name.startswith("timm:") else {}))
    if more:
        built.mean, built.std = more["statistics"]
    if pooling:
        from chowder.features.encoders.pathology import pooled

        built.model = pooled(getattr(built.model, "model", built.model), pooling)
    model = built.model.eval().requires_grad_(False)
    if fold:
        model = fold_batch_norm(model)
    model = model.to(place, memory_format=torch.channels_last)
    probe = torch.zeros(1, 3, built.size, built.size, device=place).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        shape = tuple(model(probe).shape)
    if len(shape) != 2:
        raise UserError(f"encoder {name}: gives features of shape {shape}, not one vector a tile: choose another model")
    if compile:
        model = torch.compile(model, dynamic=False)
    encoder = Encoder(
        name,
        model,
        shape[1],
        built.size,
        tuple(built.mean),
        tuple(built.std),
        built.weights_sha256,
        normalisation,
        precision,
        place,
        module,
    )
    decisive = {"mean": mean, "std": std, "pooling": pooling, "entry": getattr(built, "entry", None)}
    encoder.decisive = {key: value for key, value in decisive.items() if value}
    return encoder


def _precision(precision: str, device: torch.device) -> str:
    import torch

    if precision not in {"auto", "fp32", "bf16", "fp16"}:
        raise UserError(f"precision: {precision!r} is none of auto, fp32, bf16, fp16")
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision: fp16 is for CUDA; on a CPU use auto, fp32 or bf16")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    # AVX512-BF16 or AMX multiply bf16 natively; elsewhere it is emulated and slower than fp32
    fast = any(
        getattr(torch.cpu, test, lambda: False)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return "bf16" if fast else "fp32"
