"""The file of a trained model: tensors and plain values only, so that it can't run code when loaded."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch

from chowder.files import UserError, atomic, reason


def save_content(path: Any, content: dict[str, Any]) -> None:
    """torch.save with bytes that depend on the content alone (not on the file's name), written whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path) as scratch:
        scratch.write_bytes(buffer.getvalue())


def read_content(path: Any, kind: str | None = None) -> dict[str, Any]:
    """Read what :func:`save_content` wrote: a dict with the estimator's ``kind`` and its content.

    ``kind``: the only kind that is taken, default any. Errors: :class:`UserError` when the file is missing, is not
    such a file, or holds another kind. The file can't run code when loaded.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content["kind"], str):
            raise TypeError("its kind is no text")
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file: train the method first") from None
    except Exception as error:
        raise UserError(
            f"{path}: not a model file of this workflow ({reason(error)}): train the method again"
        ) from None
    if kind is not None and content["kind"] != kind:
        raise UserError(f"{path}: holds a {content['kind']} model, not {kind}")
    return content


def made_of(path: Any, content: dict[str, Any], make: Callable[[dict[str, Any]], Any]) -> Any:
    """Return ``make(content)``, the estimator. Errors: :class:`UserError` when parts of the content do not fit."""
    try:
        return make(content)
    except UserError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"{path}: not a whole model file ({what}): train the method again") from None
