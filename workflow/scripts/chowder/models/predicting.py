"""A bundle's model on other slides: the config that it asks for, what it refuses, and its predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chowder.data.cohort import Slide
from chowder.features.sampling import sample_rows
from chowder.files import UserError
from chowder.models.bundle import Bundle
from chowder.settings import check
from chowder.slides import describe, grid

COLUMNS = ("slide", "probability", "sd", "min", "max", "members", "tiles", "sampled", "mpp", "warnings", "note")
SECTIONS = ("tissue", "tiles", "localisation")
COARSER = 0.02  # relative difference of um/px that a grid forgives


def overlay(config: dict[str, Any], bundle: Bundle) -> None:
    """Put what decides pixels and features in ``bundle`` into ``config``, in place.

    The config keeps what decides nothing (batches, devices, threads) and where weights are, and gives the slides.
    """
    manifest, encoder = bundle.manifest, bundle.manifest["encoder"]
    name = encoder["name"]
    config |= {section: dict(manifest[section]) for section in SECTIONS}
    config |= {"dataset": config["predict"]["name"], "encoders": [name], "methods": [manifest["method"]]}
    source = {"source": "table", "table": config["predict"]["slides"], "labels": None, "root": ".", "keep": True}
    config["slides"] = config["slides"] | source
    config["training"] = config["training"] | {"repeats": 1}
    config["evaluation"] = config["evaluation"] | {"reference": None}
    config["figures"] = config["figures"] | {"method": manifest["method"], "heatmaps": []}
    given = config["embedding"]["weights"].get(name) or encoder["weights"]
    config["embedding"] = config["embedding"] | {
        "normalisation": encoder["normalisation"],
        "precision": encoder["precision"],
        "compile": False,
        "weights": {name: given} if given else {},
        **{key: {} for key in ("mean", "std", "pooling")},
        **{key: {name: value} for key, value in encoder["overrides"].items() if key in ("mean", "std", "pooling")},
    }


def settings_fit(config: dict[str, Any], schema: str | os.PathLike, bundle: Bundle) -> None:
    """Check a config after :func:`overlay`. Errors: :class:`UserError` that names the bundle."""
    try:
        check(config, schema)
    except UserError as error:
        raise UserError(f"{bundle.path}: its settings are not those of this workflow ({error}): refused") from None


def placed(folder: str | os.PathLike) -> None:
    """Raise :class:`UserError` where ``folder``, for predictions, holds a run of training, which it would replace."""
    if os.path.exists(os.path.join(folder, "slides.csv")):
        raise UserError(f"config: predict.name: {folder} holds a run of training: use another name")


def computable(bundle: Bundle, gpus: int) -> None:
    """Raise :class:`UserError` where the bundle's features can't be made with so many ``gpus``."""
    if bundle.manifest["encoder"]["precision"] == "fp16" and not gpus:
        raise UserError(f"{bundle.path}: its features were made in fp16, which needs a GPU: run it where there is one")


def unreadable(slides: Iterable[Slide], bundle: Bundle) -> list[str]:
    """Say which slides cannot give the bundle's tiles, and why: not open, um/px unknown, too coarse.

    A slide's level 0 (with ``tiles.resample: level``, the level that is read) may be 2 % coarser than the grid, or as
    coarse as the coarsest training slide.
    """
    tiles, cohort = bundle.manifest["tiles"], bundle.manifest["cohort"]
    coarsest = max(tiles["mpp"], cohort["mpp_read"]["max"]) * (1 + COARSER)
    found = []
    for slide in slides:
        try:
            info = describe.describe(slide.image, float(slide.mpp) if slide.mpp else None)
        except UserError as error:
            found.append(
                f"slide {slide.slide}: {str(error).replace('the slides table', 'the table of predict.slides')}"
            )
            continue
        read = grid.grid(info, tiles["size"], tiles["mpp"], tiles["resample"]).mpp_read
        if read > coarsest:
            found.append(
                f"slide {slide.slide}: its finest level that serves has {read:.4g} um/px, the model was trained on "
                f"{tiles['mpp']:.4g}: scan it again at a higher magnification, or leave it out"
            )
    return found


@dataclass(frozen=True)
class Prediction:
    """One slide's probability of tumour by each member that counts, and how it came about."""

    slide: str
    members: np.ndarray
    tiles: int
    sampled: int
    mpp: float
    warnings: Sequence[str]

    @property
    def probability(self) -> float:
        """Mean over the members."""
        return float(self.members.mean())

    def row(self, note: str) -> dict[str, str]:
        """Return the row of the CSV (:data:`COLUMNS`)."""
        several = len(self.members) > 1
        return {
            "slide": self.slide,
            "probability": f"{self.probability:.8g}",
            "sd": f"{self.members.std(ddof=1):.4g}" if several else "",
            "min": f"{self.members.min():.8g}",
            "max": f"{self.members.max():.8g}",
            "members": str(len(self.members)),
            "tiles": str(self.tiles),
            "sampled": str(self.sampled),
            "mpp": f"{self.mpp:.6g}",
            "warnings": "; ".join(self.warnings),
            "note": note,
        }


def sampled(features: np.ndarray, slide: str, sample: Mapping[str, Any]) -> np.ndarray:
    """Return the rows of ``features`` (tiles, P) that the training would have sampled of a slide of that name.

    ``sample``: seed, dataset, repeat, and tiles (M_S before the slide's own tiles limit it), of the manifest.
    """
    wanted = min(len(features), sample["tiles"])
    rows = sample_rows(len(features), wanted, sample["seed"], sample["dataset"], slide, sample["repeat"])
    return features if rows is None else features[rows]


def members_of(estimators: Sequence[Any], bag: np.ndarray) -> np.ndarray:
    """Return the probabilities (members,) of all members that count, of the models of all splits, for one bag."""
    return np.concatenate([np.asarray(one.predict_proba([bag]), np.float64)[0, one.averaged] for one in estimators])


def tile_scores(estimators: Sequence[Any], features: np.ndarray, score: str) -> np.ndarray:
    """Return the lesion score (tiles,) of every tile: the mean over the models of all splits."""
    return np.mean([one.instance_scores(features, score) for one in estimators], axis=0, dtype=np.float32)


def same_features(bundle: Bundle, path: str | os.PathLike, found: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` where a feature file's attributes ``found`` are not what the bundle's model was fed."""
    manifest = bundle.manifest
    wanted = {key: manifest["encoder"][key] for key in ("weights_sha256", "dim", "normalisation", "precision")}
    wanted |= {"encoder": manifest["encoder"]["name"], "tile_size": manifest["tiles"]["size"]}
    wanted |= {"mpp_wanted": manifest["tiles"]["mpp"], "resample": manifest["tiles"]["resample"]}
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UserError(f"{path}: {key} is {found.get(key)!r}, the bundle's {value!r}: delete {path} and run again")
