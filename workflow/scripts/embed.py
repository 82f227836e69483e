"""Features of a shard of slides: images and tile tables in, one HDF5 file a slide out.

The four lists run parallel. Files appear in the output folder under their final names when the whole shard is done;
until then whole slides wait in the scratch folder, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from chowder.files import UserError, atomic, run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", required=True, help="resnet50, efficientnet_lite0, timm:<name>, ...")
    parser.add_argument("--slides", nargs="+", required=True, help="names")
    parser.add_argument("--images", nargs="+", required=True, help="slide files")
    parser.add_argument("--tiles", nargs="+", required=True, help="tile tables")
    parser.add_argument("--mpp", nargs="+", default=[], help="um per level-0 px; '' = as the file says")
    parser.add_argument("--settings", required=True, help="section `embedding` of the config, as JSON")
    parser.add_argument("--threads", type=int, default=1, help="threads for reading and computing")
    parser.add_argument("--scratch", required=True, help="folder for whole slides of an unfinished shard")
    parser.add_argument("--output-dir", required=True, help="folder of <slide>.h5")
    args = parser.parse_args(argv)
    spacings = args.mpp or [""] * len(args.slides)
    if len({len(args.slides), len(args.images), len(args.tiles), len(spacings)}) != 1:
        raise UserError("--slides, --images, --tiles and --mpp must have the same length")

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)  # before torch is imported
    import torch

    from chowder import encoders, features

    torch.set_num_threads(args.threads)
    settings = json.loads(args.settings)
    encoder = encoders.load(
        args.encoder,
        weights=settings.get("weights", {}).get(args.encoder),
        device=settings["device"],
        precision=settings["precision"],
        normalisation=settings["normalisation"],
        compile=settings["compile"],
    )
    items = [
        features.Item(slide, image, tiles, float(mpp) if mpp.strip() else None)
        for slide, image, tiles, mpp in zip(args.slides, args.images, args.tiles, spacings, strict=True)
    ]
    made = features.embed_shard(items, encoder, args.scratch, settings["batch"], args.threads)
    for slide, path in made.items():
        with atomic(Path(args.output_dir) / f"{slide}.h5") as final:
            shutil.move(path, final)
    if not any(Path(args.scratch).iterdir()):
        Path(args.scratch).rmdir()


if __name__ == "__main__":
    run(main)
