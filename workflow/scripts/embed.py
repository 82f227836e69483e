"""Features of a shard of slides: images and tile tables in, one HDF5 file a slide in the store, a manifest out.

The four lists run parallel. A file of the store carries the fingerprint of all that made it in its name, so a second
run of the shard, after a kill or with one slide changed, does only what is not there. The manifest is written last.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from pathlib import Path

from chowder import machine
from chowder.files import UserError, run, write_text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", required=True, help="resnet50, efficientnet_lite0, timm:<name>, ...")
    parser.add_argument("--slides", nargs="+", required=True, help="names")
    parser.add_argument("--images", nargs="+", required=True, help="slide files")
    parser.add_argument("--tiles", nargs="+", required=True, help="tile tables")
    parser.add_argument("--mpp", nargs="+", default=[], help="um per level-0 px, or the word file: as the file says")
    parser.add_argument("--records", type=Path, help="folder of what the fetches wrote down, <slide>.json")
    parser.add_argument(
        "--settings",
        required=True,
        help="JSON: normalisation, precision, compile; by encoder: weights, mean, std, pooling",
    )
    parser.add_argument("--batch", type=int, default=32, help="tiles per forward pass")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads for reading and computing")
    parser.add_argument("--store", type=Path, required=True, help="folder of the feature files")
    parser.add_argument(
        "--manifest", type=Path, required=True, help="JSON to write: each slide's file in the store, its sha256"
    )
    args = parser.parse_args(argv)
    spacings = args.mpp or ["file"] * len(args.slides)
    if len({len(args.slides), len(args.images), len(args.tiles), len(spacings)}) != 1:
        raise UserError("--slides, --images, --tiles and --mpp must have the same length")

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)  # before torch is imported
    machine.keep_freed_memory()
    import torch

    from chowder.features import embedding, identity, integrity
    from chowder.features.encoders import registry

    torch.set_num_threads(args.threads)
    settings = json.loads(args.settings)
    encoder = registry.load(
        args.encoder,
        weights=settings.get("weights", {}).get(args.encoder),
        device=args.device,
        precision=settings["precision"],
        normalisation=settings["normalisation"],
        compile=settings["compile"],
        **{key: settings.get(key, {}).get(args.encoder) for key in ("mean", "std", "pooling")},
    )
    items = [
        identity.Item(
            slide,
            image,
            tiles,
            None if mpp == "file" else float(mpp),
            str(args.records / f"{slide}.json") if args.records else "",
        )
        for slide, image, tiles, mpp in zip(args.slides, args.images, args.tiles, spacings, strict=True)
    ]
    made = embedding.embed_shard(items, encoder, args.store, args.batch, args.threads)
    for slide, path in made.items():  # the same slide as it was before a change
        for stale in args.store.glob(f"{glob.escape(slide)}.{'[0-9a-f]' * 16}.*"):
            if stale.stem != path.stem:
                stale.unlink()
    files = {
        slide: {"file": os.path.relpath(path, args.manifest.parent), "sha256": integrity.recorded(path)}
        for slide, path in made.items()
    }
    write_text(args.manifest, json.dumps({"encoder": args.encoder, "slides": files}, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
