"""From slide to HDF5: this workflow beside the loop that most people write (DataLoader, OpenSlide, fp32, NCHW).

    python bench/bench_embedding.py [--rounds 5] [--threads 2] [--encoders efficientnet_lite0 resnet50] [--tiles 96]

Three processes are measured in turn, so that other work on the machine hits all alike: this workflow (slide to HDF5),
its encoder alone on tiles that lie in memory already (what could be reached at most), and the plain loop. Start-up is
left out of all. ResNets run with random weights (speed does not depend on them). On a machine with a GPU the same
command measures the GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
for folder in (HERE.parent, HERE.parents[1] / "workflow" / "scripts", HERE.parents[1] / "tests"):
    sys.path.insert(0, str(folder))


def prepare(folder: Path, tiles: int, encoders: list[str]) -> dict:
    """Slide, tile table and weights."""
    import numpy as np
    import torch
    import torchvision

    from bench_reading import make
    from chowder.slides import describe, tile_table
    from chowder.slides import grid as tiling

    make(folder / "slide.tif", 8192)
    grid = tiling.grid(describe.describe(folder / "slide.tif"), 224, 0.5, "target")
    table, _ = tiling.tissue_tiles(np.ones((160, 160), bool), (102.4, 102.4), grid)
    tile_table.write(folder / "slide.parquet", table.slice(0, tiles), grid, "slide")
    weights = {}
    for name in encoders:
        if name.startswith("resnet"):
            weights[name] = str(folder / f"{name}.pth")
            torch.save(getattr(torchvision.models, name)().state_dict(), weights[name])
    return weights


def ours(pipe, folder: str, name: str, weights: str | None, threads: int, batch: int) -> None:
    from chowder import machine

    machine.keep_freed_memory()
    import torch

    from chowder.features import embedding, identity
    from chowder.features.encoders import registry

    torch.set_num_threads(threads)
    encoder = registry.load(name, weights)
    item = identity.Item("slide", f"{folder}/slide.tif", f"{folder}/slide.parquet")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    while pipe.recv():
        for path in Path(folder).glob("scratch/*.h5"):
            path.unlink()
        start = time.perf_counter()
        embedding.embed_shard([item], encoder, f"{folder}/scratch", batch, threads)
        pipe.send(time.perf_counter() - start)


def encoder_alone(pipe, folder: str, name: str, weights: str | None, threads: int, batch: int) -> None:
    from chowder import machine

    machine.keep_freed_memory()
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import torch

    from chowder.features.encoders import registry
    from chowder.slides import tile_table
    from chowder.slides.reader import Reader

    encoder = registry.load(name, weights)
    xy, grid, _ = tile_table.read(f"{folder}/slide.parquet")
    with Reader(f"{folder}/slide.tif") as reader:
        images = torch.from_numpy(np.stack(list(reader.tiles(xy, grid))))
    torch.set_num_threads(1 if encoder.device.type == "cpu" else threads)
    pool = ThreadPoolExecutor(threads if encoder.device.type == "cpu" else 1)
    while pipe.recv():
        start = time.perf_counter()
        parts = list(pool.map(lambda first: encoder.embed(images[first : first + batch]), range(0, len(xy), batch)))
        torch.cat(parts).cpu()
        pipe.send(time.perf_counter() - start)


def plain(pipe, folder: str, name: str, weights: str | None, threads: int, batch: int) -> None:
    """What a user would write: nothing of this library but the model's architecture and the places of the tiles."""
    import h5py
    import numpy as np
    import openslide
    import timm
    import torch
    import torchvision

    from chowder.slides import tile_table

    xy, grid, _ = tile_table.read(f"{folder}/slide.parquet")
    if weights:
        model = getattr(torchvision.models, name)()
        model.load_state_dict(torch.load(weights, weights_only=True))
        model.fc = torch.nn.Identity()
    else:
        model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.eval().to(device)
    side = round(224 * grid.scale)

    class Tiles(torch.utils.data.Dataset):
        def __init__(self):
            self.slide = None

        def __len__(self):
            return len(xy)

        def __getitem__(self, number):
            if self.slide is None:
                self.slide = openslide.OpenSlide(f"{folder}/slide.tif")
            corner = (int(xy[number, 0]), int(xy[number, 1]))
            tile = self.slide.read_region(corner, grid.level, (side, side)).convert("RGB").resize((224, 224))
            image = torch.from_numpy(np.asarray(tile).transpose(2, 0, 1).astype(np.float32))
            low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
            return ((image - low) / (high - low).clamp(min=1) - 0.5) / 0.5

    torch.set_num_threads(threads)
    while pipe.recv():
        start = time.perf_counter()
        loader = torch.utils.data.DataLoader(Tiles(), 32, num_workers=threads, multiprocessing_context="fork")
        with torch.inference_mode():
            rows = [model(images.to(device)).cpu().numpy() for images in loader]
        with h5py.File(f"{folder}/plain.h5", "w") as file:
            file["features"], file["coords"] = np.concatenate(rows), xy
        pipe.send(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--encoders", nargs="+", default=["efficientnet_lite0", "resnet50"])
    parser.add_argument("--tiles", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(
        f"| {args.threads} threads, {args.tiles} tiles a round | tiles/s | range | share of the encoder | times plain |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        weights = prepare(Path(folder), args.tiles, args.encoders)
        for name in args.encoders:
            workers = []
            for work in (ours, encoder_alone, plain):
                here, there = context.Pipe()
                rest = (there, folder, name, weights.get(name), args.threads, args.batch)
                process = context.Process(target=work, args=rest)
                process.start()
                workers.append((work.__name__, here, process, []))
            for round_ in range(args.rounds + 1):
                for _, pipe, _, rates in workers:
                    pipe.send(True)
                    seconds = pipe.recv()
                    if round_:
                        rates.append(args.tiles / seconds)
            middle = {title: statistics.median(rates) for title, _, _, rates in workers}
            for title, pipe, process, rates in workers:
                pipe.send(False)
                process.join()
                label = {
                    "ours": "this workflow, slide to HDF5",
                    "encoder_alone": "its encoder alone, tiles in memory",
                    "plain": "DataLoader + OpenSlide, fp32 NCHW, slide to HDF5",
                }[title]
                print(
                    f"| {name}: {label} | {middle[title]:.1f} | {min(rates):.1f}-{max(rates):.1f} | "
                    f"{middle[title] / middle['encoder_alone']:.0%} | {middle[title] / middle['plain']:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
