"""What can be known to be wrong before the first job: patterns, addresses, encoders, weights, folds, slides' names.

Standard library only: the Snakefile calls this while it is parsed. What is only known on the machine that runs a job
(a GPU, a weight file that a library fetches) is checked there.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from chowder.data.download.client import local_path
from chowder.features.encoders.families import FAMILIES, family_of
from chowder.features.encoders.networks import NETWORKS
from chowder.files import UserError

SCHEMES = ("https", "http", "file")
# A torchvision tag, as opposed to the path of a checkpoint.
TAG = re.compile(r"[A-Z0-9_]+")


class Row(Protocol):
    """What is looked at in a row of the slides table (``chowder.data.cohort.Slide``)."""

    slide: str
    label: int
    split: str
    patient: str


def patterns(slides: Mapping[str, object]) -> None:
    """Check slides.image and slides.annotation: each may hold ``{slide}`` and no other field.

    Raises :class:`UserError` for another field, a conversion, or a brace on its own.
    """
    for key in ("image", "annotation"):
        pattern = slides.get(key) or ""
        try:
            fields = [field[1:] for field in string.Formatter().parse(str(pattern)) if field[1] is not None]
        except ValueError as error:
            raise UserError(f"config: slides.{key}: {pattern!r} is no pattern ({error}): use {{slide}} only") from None
        wrong = [name for name, form, turn in fields if name != "slide" or form or turn]
        if wrong:
            raise UserError(f"config: slides.{key}: {pattern!r} has the field {{{wrong[0]}}}: use {{slide}} only")


# Paths in the config, and the field that each may hold.
PATHS = {
    "results": "",
    "slides.table": "{root}",
    "slides.labels": "",
    "slides.root": "",
    "slides.image": "{slide}",
    "slides.annotation": "{slide}",
    "features.folder": "",
    "features.thumbnails": "",
    "evaluation.detections": "",
    "evaluation.against": "",
}
LONGEST = 255  # bytes of a name in a folder, on every usual file system


def paths(config: Mapping[str, Any]) -> None:
    """Check that paths in the config can be names of files for Snakemake, to which a brace is a wildcard.

    Raises :class:`UserError` that names the key.
    """
    found = [(key, _at(config, key), field) for key, field in PATHS.items()]
    weights = _at(config, "embedding.weights") or {}
    found += [(f"embedding.weights.{name}", path, "") for name, path in weights.items()]
    for key, value, field in found:
        text = str(value or "")
        shown = text if len(text) < 80 else f"{text[:80]}..."
        if any(brace in (text.replace(field, "") if field else text) for brace in "{}"):
            raise UserError(
                f"config: {key}: {shown!r} holds a brace, a wildcard of Snakemake: rename the file or folder"
            )
        if any(len(os.fsencode(part)) > LONGEST for part in text.split("/")):
            raise UserError(f"config: {key}: {shown!r} holds a name longer than {LONGEST} bytes: use a shorter one")


def _at(config: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) or {} if isinstance(config, Mapping) else {}
    return config or None


def folders(names: Iterable[str]) -> dict[str, str]:
    """Return encoders by the name of their folder, which has a hyphen for each colon and slash.

    Raises :class:`UserError` for two encoders that would share one, also where the file system ignores upper case.
    """
    found: dict[str, str] = {}
    for name in names:
        folder = re.sub(r"[:/]", "-", name)
        for other, theirs in found.items():
            if other.lower() == folder.lower():
                raise UserError(
                    f"config: encoders: {theirs!r} and {name!r} would share the folder {folder}: run them as two "
                    "datasets"
                )
        found[folder] = name
    return found


def address(url: str) -> None:
    """Check download.base_url: https://, http:// or file://, or the path of a folder that is there.

    Raises :class:`UserError` for another scheme, an address without a host, and a folder that is missing.
    """
    scheme, separator, rest = str(url).partition("://")
    if separator and scheme.lower() not in SCHEMES:
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        hint = f"did you mean {near[0]}://?" if near else f"use {', '.join(f'{name}://' for name in SCHEMES)} or a path"
        if scheme.lower() == "s3":
            hint = "write https://<bucket>.s3.<region>.amazonaws.com/<prefix>"
        raise UserError(f"config: download.base_url: {scheme}:// is not read: {hint}")
    if separator and scheme.lower() != "file" and not rest.partition("/")[0]:
        raise UserError(f"config: download.base_url: {url!r} names no host: write https://<host>/<prefix>")
    try:
        folder = local_path(str(url))
    except UserError as error:
        raise UserError(f"config: download.base_url: {error}") from None
    if folder is not None and not folder.is_dir():
        raise UserError(f"config: download.base_url: {folder}: no such folder: give the folder that holds images/")


def encoders(names: Sequence[str], weights: Mapping[str, str]) -> None:
    """Check the encoders' names and their weight files.

    Raises :class:`UserError` for a family that is not known, weights of an encoder that is not listed, and a weight
    file that is not there.
    """
    for name in names:
        if family_of(name) is None:
            near = difflib.get_close_matches(name.partition(":")[0], set(FAMILIES) - {name}, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(FAMILIES)} (timm as timm:<name>)"
            raise UserError(f"config: encoders: {name!r} is not known: {hint}")
    for name, path in weights.items():
        if name not in names:
            raise UserError(
                f"config: embedding.weights: {name!r} is not among encoders: remove it, or use {', '.join(names)}"
            )
        if path and not TAG.fullmatch(path) and not os.path.isfile(path):
            raise UserError(f"config: embedding.weights.{name}: {path}: no such file: give the path of the checkpoint")


def weights(name: str, given: str, timeout: float = 3.0) -> tuple[str, bool]:
    """Say why an encoder's weights can't be had, in one line, and whether that is certain; ("", True) when they can.

    Parameters
    ----------
    name : of the encoder; given : its entry in embedding.weights, "" where it has none.
    timeout : seconds for a server to answer.

    Encoders for pathology are looked for in the cache of the hub and then asked for there: offline on purpose, no
    network, gated and absent are told apart, and each is certain. Of others (timm, torchvision) another machine of a
    cluster may reach what this one does not.
    """
    if name in NETWORKS and not given:
        from chowder.features.encoders import hub

        try:
            hub.check(name, NETWORKS[name].repository)
        except UserError as error:
            return str(error), True
    elif reason := absent_weights(name, given, timeout):
        text = f"config: encoders: {name}: its weights are neither in the cache nor to be fetched ({reason}): "
        return f"{text}give a checkpoint as embedding.weights, or fetch it once on a machine with a network", False
    return "", True


def models(names: Sequence[str], weights: Mapping[str, str]) -> None:
    """Check names of timm's models and tags of torchvision's weights against the installed packages' text.

    Nothing is imported: torch takes seconds. Where a package is not installed, the job that needs it says so.
    Raises :class:`UserError` for a model or tag that the package does not have.
    """
    for name in names:
        family, _, model = name.partition(":")
        if family == "timm" and ":" not in model and (text := _timm_text()):  # hf-hub:... and others are not timm's
            base, _, tag = model.partition(".")
            known = re.findall(r"^def (\w+)\(pretrained", text, re.M)
            if base not in known and f"'{base}'" not in text:
                near = difflib.get_close_matches(base, known, n=1)
                hint = f"did you mean timm:{near[0]}?" if near else "see timm.list_models()"
                raise UserError(f"config: encoders: {name!r}: timm has no such model: {hint}")
            if tag and f"'{model}'" not in text and f'"{model}"' not in text:
                tags = sorted(set(re.findall(rf"['\"]{re.escape(base)}\.([\w.]+)['\"]", text)))
                raise UserError(
                    f"config: encoders: {name!r}: timm has no such weights: use one of {', '.join(tags) or base}"
                )
        elif family.startswith("resnet") and (tags := torchvision_tags(family)):
            tag = weights.get(name, "")
            if tag and TAG.fullmatch(tag) and not os.path.isfile(tag) and tag not in tags:
                raise UserError(
                    f"config: embedding.weights.{name}: torchvision has no {tag}: use one of {', '.join(tags)}, or the "
                    "path of a checkpoint"
                )


def absent_weights(name: str, given: str, timeout: float) -> str:
    """Say why the weights of an encoder of timm or torchvision can't be had: neither here nor to be fetched, else "".

    ``given``: its entry in embedding.weights. Asks for the head of one file when they are not in a cache.
    """
    family, _, model = name.partition(":")
    if given and os.path.isfile(given):
        return ""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if family == "timm" and ":" not in model:
        hub = Path(os.environ.get("HF_HOME") or home / "huggingface") / "hub"
        hub = Path(os.environ.get("HF_HUB_CACHE") or hub)
        if next(hub.glob(f"models--timm--{model}*"), None):
            return ""
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            return f"{hub} does not hold them, and HF_HUB_OFFLINE is set"
        return unreachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", timeout)
    url = torchvision_tags(family).get(given or "IMAGENET1K_V1", "") if family.startswith("resnet") else ""
    torch = Path(os.environ.get("TORCH_HOME") or home / "torch")
    if url and not (torch / "hub" / "checkpoints" / url.rpartition("/")[2]).is_file():
        return unreachable(url, timeout)
    return ""


def unreachable(url: str, timeout: float) -> str:
    """Return why the head of ``url`` can't be had, "" when it can."""
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "chowder"})
        urllib.request.urlopen(request, timeout=timeout).close()
    except urllib.error.HTTPError as error:
        return f"{url}: HTTP {error.code}" if error.code in (404, 410) else ""
    except (OSError, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"
    return ""


def package(name: str) -> Path | None:
    """Return the folder of an installed package without importing it, None where there is none."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _timm_text() -> str:
    """Return the text of timm's models, "" where it is not installed."""
    folder = package("timm")
    files = sorted((folder / "models").glob("*.py")) if folder else []
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def torchvision_tags(model: str) -> dict[str, str]:
    """Return tags and URLs of a ResNet's weights in torchvision, {} where it is not installed."""
    folder = package("torchvision")
    path = folder / "models" / "resnet.py" if folder else None
    if path is None or not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    block = re.search(rf"^class {model}_Weights\(.*?(?=^class |^def |^@|\Z)", text, re.M | re.S | re.I)
    return dict(re.findall(r'^    (\w+) = Weights\(\s*url="([^"]+)"', block[0], re.M)) if block else {}


def folds(number: int, over: str, rows: Iterable[Row], stratify: str = "label_center") -> None:
    """Check that each class has a patient for every fold; ``over`` is cv.over (all, train), ``stratify`` cv.stratify.

    Raises :class:`UserError` that names the class and how many slides or patients it has, and for patients with several
    slides where folds do not keep them together.
    """
    rows = [row for row in rows if over == "all" or row.split == "train"]
    patients = [row.patient for row in rows if row.patient]
    if stratify == "label" and len(set(patients)) < len(patients):
        raise UserError("config: cv.stratify: label does not keep a patient's slides together: use label_center")
    for label, name in ((1, "tumour"), (0, "normal")):
        mine = [row for row in rows if row.label == label]
        count = len({row.patient for row in mine if row.patient}) + sum(not row.patient for row in mine)
        if count < number:
            where = "training slides" if over == "train" else "slides"
            where += " of different patients" if count < len(mine) else ""
            raise UserError(
                f"config: cv.folds: {number} folds need {number} {name} {where}, the table has {count}: "
                "lower cv.folds or add slides"
            )


def heatmaps(wanted: str | Sequence[str], rows: Iterable[Row], table: str | os.PathLike) -> list[str]:
    """Return the test slides that heat maps are drawn of; ``wanted``: figures.heatmaps, their names or ``auto``.

    ``auto``: the first two tumour slides and the first normal one of the test split, in the table's order.
    Raises :class:`UserError` for a name that is not one of a test slide.
    """
    test = {row.slide: row.label for row in rows if row.split == "test"}
    if wanted == "auto":
        tumour, normal = ([slide for slide, label in test.items() if label == which] for which in (1, 0))
        return [*tumour[:2], *normal[:1]]
    for slide in wanted:
        if slide not in test:
            some = ", ".join(list(test)[:5])
            raise UserError(
                f"config: figures.heatmaps: {slide!r} is not a test slide of {table}: use auto, or some of {some} ..."
            )
    return list(wanted)


def camelyon16(rows: Iterable[Row], known: Collection[str], table: str | os.PathLike) -> None:
    """Check that Camelyon-16 has every slide of a table, and in that split (or none is given).

    Labels, classes and centres are compared with the organisers' own reference before the first slide is fetched.
    Raises :class:`UserError` for the first slide that is wrong.
    """
    for row in rows:
        name, split = row.slide, "test" if row.slide.startswith("test_") else "train"
        if name in known and row.split not in ("", split):
            raise UserError(f"{table}: slide {name}: is a {split} slide, the table says {row.split}: correct the split")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "use names such as normal_001, tumor_001, test_001"
            raise UserError(f"{table}: slide {name}: Camelyon-16 has no such slide: {hint}")


def shipped(folder: str | os.PathLike) -> Path | None:
    """Return the workflow's own table of the 399 Camelyon-16 slides, None where it was not copied along."""
    path = Path(folder) / "config" / "camelyon16.csv"
    return path if path.is_file() else None
