"""How a slide is stained: haematoxylin and eosin by colour deconvolution of its overview.

Source: Ruifrok and Johnston 2001, Anal Quant Cytol Histol 23:291, with the vectors of ImageJ and scikit-image.
"""

from __future__ import annotations

import numpy as np

# Optical density of RGB per unit of haematoxylin, eosin, and DAB (here: what neither explains).
VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STATISTICS = ("haematoxylin_mean", "haematoxylin_sd", "eosin_mean", "eosin_sd")
MOST = 1_000_000  # tissue px that are looked at


def statistics(rgb: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of haematoxylin and eosin (:data:`STATISTICS`) over the tissue of an overview.

    ``rgb`` (height, width, 3) uint8, ``mask`` (height, width) bool. Units: optical density (log10) along the stain's
    vector. At most :data:`MOST` px are taken, evenly spaced in reading order. Without tissue the result is empty.
    """
    pixels = rgb[mask]
    pixels = pixels[:: -(-len(pixels) // MOST)] if len(pixels) else pixels
    if not len(pixels):
        return {}
    density = -np.log10(np.maximum(np.arange(256), 1) / 255)[pixels]  # of black, which is darker than a camera tells
    stains = (density @ np.linalg.inv(VECTORS))[:, :2]
    values = np.stack([stains.mean(0), stains.std(0)], 1).ravel()
    return dict(zip(STATISTICS, values.tolist(), strict=True))
