"""The README's heat map, out of a finished demo: ``make pictures``. Needs results/demo; nothing else is computed."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLIDE = "test_002"
WIDTH = 1200  # px; a palette of 256 colours at this width is a third of a megabyte


def main() -> None:
    import pyvips

    figure = ROOT / f"results/demo/figures/heatmap_efficientnet_lite0_chowder_r5_{SLIDE}.png"
    if not figure.is_file():
        sys.exit(f"error: {figure}: no such file: make demo first")
    image = pyvips.Image.new_from_file(str(figure))
    output = ROOT / "docs/images/heatmap.png"
    image.resize(WIDTH / image.width).write_to_file(str(output), palette=True, dither=1.0, compression=9, strip=True)
    print(f"{output.relative_to(ROOT)}: {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
