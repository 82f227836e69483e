"""Weight files: downloaded, checked against their checksum, and put into a network."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chowder.files import UserError, sha256

if TYPE_CHECKING:
    import torch


def download_checkpoint(name: str, url: str, path: Path) -> None:
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
            f"encoder {name}: cannot fetch {url} ({brief(error)}): put that file at {path}, or give its path as "
            f"embedding.weights.{name}"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)


def checked_sha256(path: Path, expected: str | None = None) -> str:
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


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint; nothing in the file is executed."""
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
        raise UserError(f"{path}: is no checkpoint that PyTorch reads ({brief(error)})") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(value, "shape") for value in state.values()):
        raise UserError(f"{path}: holds no state_dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def fill_model(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
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


def tensors_sha256(state: dict[str, torch.Tensor]) -> str:
    """sha256 over names and values of tensors, where no single file can be named."""
    import hashlib

    total = hashlib.sha256()
    for key in sorted(state):
        total.update(key.encode())
        total.update(np.ascontiguousarray(state[key].cpu().float().numpy()).tobytes())
    return total.hexdigest()


def brief(error: Exception) -> str:
    """Return the first line of an error, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
