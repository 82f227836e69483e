"""What every encoder is: a frozen network, how tiles are normalised for it, its device and precision.

To add a family, write a module beside this one with a function that returns a ``Built`` and put it into
``chowder.features.encoders.families.FAMILIES``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chowder.features.encoders.weights import brief
from chowder.files import UserError

if TYPE_CHECKING:
    import torch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class Built:
    """A network that ends in its pooled features, what it wants to be fed, and where its weights came from."""

    model: torch.nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    weights_sha256: str


@dataclass
class Encoder:
    """A network ready to embed tiles.

    Attributes
    ----------
    name, normalisation, precision : str
    dim : int
        Length P of a feature vector, as the network gives it.
    size : int
        Tile edge in px that the network was made for.
    mean, std : tuple of float
        Statistics of its training images (RGB, 0 to 1).
    weights_sha256 : str
        Of the weight file, or of the tensors where a library fetched them itself.
    module : str
        Dotted name of the library module that built the network; "" for a network made elsewhere.
    """

    name: str
    model: torch.nn.Module
    dim: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_sha256: str
    normalisation: str
    precision: str
    device: torch.device
    module: str = ""

    def embed(self, batch: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Features (B, P) float32 on the encoder's device of ``batch`` (B, size, size, 3) uint8."""
        import torch

        if isinstance(batch, np.ndarray):
            batch = torch.from_numpy(batch)
        batch = batch.to(self.device, non_blocking=True)
        with torch.inference_mode():
            images = normalise(batch, self.normalisation, self.mean, self.std)
            with self._autocast():
                features = self.model(images)
        return features.float()

    def check(self, size: int, batch: int = 1) -> None:
        """Raise UserError when the network cannot take tiles of ``size`` px (tried on ``batch`` blank ones)."""
        try:
            self.embed(np.zeros((batch, size, size, 3), np.uint8))
        except (RuntimeError, AssertionError) as error:
            raise UserError(
                f"encoder {self.name}: does not take tiles of {size} px ({brief(error)}): set tiles.size to {self.size}"
            ) from None

    def _autocast(self):
        import torch

        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)


def normalise(
    batch: torch.Tensor, kind: str, mean: tuple[float, ...] = IMAGENET[0], std: tuple[float, ...] = IMAGENET[1]
) -> torch.Tensor:
    """uint8 tiles (B, H, W, 3) -> network input (B, 3, H, W) float32, channels_last.

    "nikitenko" stretches every tile and channel so that its minimum becomes 0 and its maximum 255 (Nikitenko et al.
    2008; specification, section 1); a constant channel becomes 0. "none" leaves the colours. Both then subtract
    ``mean`` and divide by ``std`` (of images scaled to 0...1).
    """
    import torch

    images = batch.permute(0, 3, 1, 2)  # a view whose memory is channels_last already
    mean = torch.tensor(mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(std, device=batch.device).view(1, 3, 1, 1)
    if kind == "nikitenko":
        low, high = _extremes(batch)
        span = high - low
        gain = torch.where(span > 0, 1.0 / span.clamp(min=1.0), torch.zeros_like(span))
    elif kind == "none":
        low = torch.zeros(1, 3, 1, 1, device=batch.device)
        gain = torch.full((1, 3, 1, 1), 1 / 255, device=batch.device)
    else:
        raise UserError(f"embedding.normalisation: {kind!r} is neither 'nikitenko' nor 'none'")
    # ((x - low) * gain - mean) / std as one multiplication and one addition
    scale = gain / std
    shift = (-low * gain - mean) / std
    return torch.addcmul(shift, images.float(), scale).contiguous(memory_format=torch.channels_last)


def _extremes(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimum and maximum of every tile and channel, (B, 3, 1, 1) float32."""
    count, height, width, channels = batch.shape
    # over the rows first: long contiguous reductions are an order of magnitude faster than one over every third byte
    lines = batch.reshape(count, height, width * channels)
    low = lines.amin(1).reshape(count, width, channels).amin(1)
    high = lines.amax(1).reshape(count, width, channels).amax(1)
    return low.float()[..., None, None], high.float()[..., None, None]


def fold_batch_norm(model: torch.nn.Module) -> torch.nn.Module:
    """Merge every batch normalisation into the convolution just before it, in place.

    Pairs are taken in the order in which a module defines its children. That this is the order of use is checked by
    comparing outputs; where they differ the model is left as it was.
    """
    import copy

    import torch

    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        return model
    before = copy.deepcopy(model)
    _fold(model)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.inference_mode(), contextlib.suppress(RuntimeError, AssertionError):
        expected, folded = before(probe), model(probe)
        tolerance = 1e-3 * expected.abs().amax().clamp(min=1e-6)
        if (expected - folded).abs().amax() <= tolerance:
            return model
    return before


def _fold(module: torch.nn.Module) -> None:
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    previous = None
    for name, child in list(module.named_children()):
        if (
            isinstance(previous, torch.nn.Conv2d)
            and isinstance(child, torch.nn.BatchNorm2d)
            and previous.out_channels == child.num_features
            and child.track_running_stats
        ):
            weight, bias = fuse_conv_bn_weights(
                previous.weight,
                previous.bias,
                child.running_mean,
                child.running_var,
                child.eps,
                child.weight,
                child.bias,
            )
            previous.weight, previous.bias = weight, bias
            # timm's layers carry the dropout and the activation that follow
            rest = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
            setattr(module, name, torch.nn.Sequential(*rest) if rest else torch.nn.Identity())
        else:
            _fold(child)
        previous = child
