"""Encoders made for pathology, by name: networks of timm with the authors' arguments, statistics and pooling.

Weights come from the Hugging Face hub (its cache first) or from a file, in timm's layout or in that of the
library transformers, whose tensors are renamed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chowder.features.encoders import hub
from chowder.features.encoders.base import Built
from chowder.features.encoders.networks import NETWORKS
from chowder.features.encoders.weights import checked_sha256, fill_model, read_tensors
from chowder.files import UserError

if TYPE_CHECKING:
    import torch


def pathology(name: str, weights: str | None) -> Built:
    """Build an encoder of :data:`NETWORKS`; ``weights`` is a checkpoint, or None for the hub's."""
    network = NETWORKS[name]
    path = Path(weights) if weights else hub.fetch(name, network.repository)
    digest = checked_sha256(path)
    model = skeleton(name)
    state = from_transformers(read_tensors(path), path)
    fill_model(model, state, path)
    built = Built(pooled(model, network.pooling), *network.statistics, 224, digest)
    built.entry = network.decisive
    return built


def skeleton(name: str, **other: Any) -> torch.nn.Module:
    """Return the untrained network of ``name`` without classifier; ``other`` replaces arguments (tests make it small).

    The number of tokens is that of tiles of 224 px.
    """
    import timm
    import torch
    from timm.layers import SwiGLUPacked

    network = NETWORKS[name]
    arguments = {"img_size": 224, "num_classes": 0, "global_pool": "token"} | network.arguments | other
    if arguments.get("mlp_layer") == "SwiGLUPacked":
        arguments |= {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU}
    if name == "phikon":
        from functools import partial

        arguments["norm_layer"] = partial(torch.nn.LayerNorm, eps=1e-12)  # of transformers' ViTModel
    return timm.create_model(network.architecture, pretrained=False, **arguments)


def pooled(model: torch.nn.Module, pooling: str) -> torch.nn.Module:
    """Return ``model`` so that it ends in one vector a tile: ``class``, ``mean`` or ``class_mean`` of its tokens.

    Errors: :class:`UserError` for another word, and for a network without tokens.
    """
    if pooling not in ("class", "mean", "class_mean"):
        raise UserError(f"embedding.pooling: {pooling!r} is not known: use class, mean or class_mean")
    if not hasattr(model, "num_prefix_tokens"):
        raise UserError(f"embedding.pooling: {type(model).__name__} has no tokens: leave pooling out for this encoder")
    if pooling != "mean" and not getattr(model, "num_prefix_tokens", 0):
        raise UserError(f"embedding.pooling: {type(model).__name__} has no class token: use mean")
    from torch import nn

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            import torch

            tokens = self.model.forward_features(x)
            patches = tokens[:, self.model.num_prefix_tokens :].mean(dim=1)
            return {
                "class": lambda: tokens[:, 0],
                "mean": lambda: patches,
                "class_mean": lambda: torch.cat([tokens[:, 0], patches], dim=1),
            }[pooling]()

    return Pooled()


#: Names of tensors in transformers' ViTModel and Dinov2Model, as patterns, and their names in timm.
RENAMED = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.(norm[12])\.(\w+)", r"blocks.\1.\2.\3"),
    (r"encoder\.layer\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"blocks.\1.mlp.\2.\3"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_in\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_out\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"layernorm\.(\w+)", r"norm.\1"),
)


def from_transformers(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Return a checkpoint of transformers' ViTModel or Dinov2Model under timm's names; any other as it is.

    Queries, keys and values become one tensor. With registers, timm's networks have no position for the class token;
    its position is added to the token itself.
    """
    import torch

    state = {re.sub(r"^(vit|dinov2|model)\.(?=embeddings|encoder|layernorm)", "", k): v for k, v in state.items()}
    if "embeddings.cls_token" not in state:
        return state
    found: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        if key.startswith(("pooler.", "embeddings.mask_token")):
            continue
        split = re.fullmatch(r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(\w+)", key)
        if split:
            parts.setdefault(f"blocks.{split[1]}.attn.qkv.{split[3]}", {})[split[2]] = value
            continue
        for pattern, name in RENAMED:
            if re.fullmatch(pattern, key):
                found[re.sub(pattern, name, key)] = value
                break
        else:
            raise UserError(f"{path}: tensor {key} is not known: give the checkpoint of the model's own repository")
    for key, three in parts.items():
        if len(three) != 3:
            raise UserError(f"{path}: {key} lacks a query, key or value: the checkpoint is not whole")
        found[key] = torch.cat([three["query"], three["key"], three["value"]])
    if "reg_token" in found:
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return found
