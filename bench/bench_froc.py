"""FROC of a test set as large as Camelyon-16's: this library against a plain implementation of the same algorithm.

129 simulated slides (49 with lesions), 5,000 detections each. The plain version is the loop of the published script
(one pass over all scores a threshold); it is timed on growing numbers of detections, and its time on the whole set,
which would take most of a day, is extrapolated with its known square growth.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
for folder in ("workflow/scripts", "tests", "tests/unit"):
    sys.path.insert(0, str(ROOT / folder))

import froc_reference as plain  # noqa: E402

from chowder.data.annotations import read_asap, tumor_mask  # noqa: E402
from chowder.evaluation import froc, resampling  # noqa: E402
from chowder.evaluation.lesions import label_lesions  # noqa: E402
from clock import least  # noqa: E402
from shared_data import SHARED  # noqa: E402

SLIDES, TUMOUR = 129, 49


def discs(rng: np.random.Generator, size: int = 1200) -> np.ndarray:
    """A tumour mask with a few discs."""
    mask = np.zeros((size, size), dtype=bool)
    for _ in range(int(rng.integers(1, 10))):
        radius = int(rng.integers(3, 60))
        y, x = rng.integers(radius, size - radius, 2)
        dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        mask[y - radius : y + radius + 1, x - radius : x + radius + 1] |= dx**2 + dy**2 <= radius**2
    return mask


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detections", type=int, default=5000, help="detections a slide")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(1802)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}\n")

    lesions = [label_lesions(discs(rng)) if index < TUMOUR else None for index in range(SLIDES)]
    tables = [
        np.column_stack([rng.random(args.detections), *rng.integers(0, 1200 * 32, (2, args.detections))]).astype(float)
        for _ in range(SLIDES)
    ]
    hits = [froc.hits(one, table, f"s{i}") for i, (one, table) in enumerate(zip(lesions, tables, strict=True))]

    print(f"{SLIDES} slides, {args.detections} detections each, {sum(len(one.best) for one in hits)} lesions")
    print("| step | seconds |\n|---|---|")
    looked_up = least(lambda: [froc.hits(a, b, "s") for a, b in zip(lesions, tables, strict=True)])
    scored = least(lambda: froc.froc(hits))
    print(f"| detections looked up in cached masks | {looked_up:.3f} |")
    print(f"| curve and score | {scored:.3f} |")
    intervals = least(lambda: resampling.bootstrap_froc(hits, 2000))
    paired = least(lambda: resampling.paired_bootstrap(hits, hits))
    print(f"| 2,000 resamples, score and six sensitivities | {intervals:.2f} |")
    print(f"| paired test of two methods, 2,000 resamples | {paired:.2f} |")

    print("\nlook-up and score together, against the plain implementation")
    print("| detections a slide | plain, s | here, s | times faster | equal |\n|---|---|---|---|---|")
    images = [(one.labels.tolist(), len(one.table), set(one.itc)) if one else (None, 0, set()) for one in lesions]
    seconds, sizes = [], (10, 20, 40, 80)
    for size in sizes:
        cut = [table[:size] for table in tables]
        rows = [table.tolist() for table in cut]

        def slow(rows=rows):
            return plain.froc([plain.slide_scores(*image, row, 32) for image, row in zip(images, rows, strict=True)])

        def fast(cut=cut):
            return froc.froc([froc.hits(one, table, "s") for one, table in zip(lesions, cut, strict=True)])

        same = slow()[3] == fast().score
        seconds.append(least(slow, 1))
        here = least(fast)
        print(f"| {size} | {seconds[-1]:.3f} | {here:.4f} | {seconds[-1] / here:.0f} | {same} |")
    whole = seconds[-1] * (args.detections / sizes[-1]) ** 2
    ratio = whole / (looked_up + scored)
    print(f"| {args.detections} | {whole:.0f} (extrapolated) | {looked_up + scored:.3f} | {ratio:.0f} | |")

    print("\nmasks\n| annotation | read, s | level-5 mask, s | lesions labelled, s |\n|---|---|---|---|")
    for path in sorted((SHARED / "camelyon16" / "annotations").glob("*.xml")) if SHARED else []:
        outlines = read_asap(path)
        width, height = (int(side) + 3200 for side in outlines.tumor.bounds[2:])
        mask = tumor_mask(outlines, width, height)
        times = [
            least(lambda path=path: read_asap(path)),
            least(lambda o=outlines, w=width, h=height: tumor_mask(o, w, h)),
            least(lambda mask=mask: label_lesions(mask)),
        ]
        print(f"| {path.stem} | " + " | ".join(f"{value:.3f}" for value in times) + " |")


if __name__ == "__main__":
    main()
