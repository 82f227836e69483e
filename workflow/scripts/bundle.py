"""A trained ensemble and all that is needed to run it on other slides, as one zip (docs/predict.md)."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from chowder.features import feature_file, identity
from chowder.features.bags import read_index
from chowder.files import UserError, read_json, run
from chowder.models import bundle, names
from chowder.models.splits import outputs

README = """{title} on {encoder}, trained on {dataset}{simulated}: a bundle of the CHOWDER workflow.

{note}. It is not a medical device, and nobody has tested it as one.

Run it on slides of your own (a folder of slides, or a CSV with the columns slide and image):

  snakemake --cores all predict --config 'predict={{model: {name}, slides: /path/to/slides}}'

The probability is that of label 1 ({positive}); label 0 is {negative}.
Training slides: {slides} ({tumour} tumour, {normal} normal). Models of: {splits}.
The weights of the encoder {encoder} are not in here. Their licence: {licence}.
What the features may be used for, and with them this model, is for that licence to say.
manifest.json holds everything else: settings, versions, sha256 sums, what the training slides were like.
"""


def embedded(index: Path, known: dict) -> dict:
    """What the training features' files say of the encoder; they must be from the encoder that is ``known``."""
    entries = read_index(index)[1]
    path = index.parent / next(iter(entries.values()))["file"]
    found = feature_file.attributes(path)
    for key in ("weights_sha256", "normalisation", "dim"):
        if found.get(key) != known[key]:
            raise UserError(
                f"{path}: {key} is {found.get(key)!r}, the encoder's is {known[key]!r} now: run the workflow again, so "
                "that features and encoder agree"
            )
    return known | {"precision": found["precision"], "code": found["code"]}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decode, embed and train."""
    found = {"python": sys.version.split()[0]} | identity.library_versions()
    for package in ("scikit-learn", "torchmil"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def highest_red(paths: list[str]) -> float | None:
    """Return the tile score that heat maps of the test slides draw in full red; None without scores."""
    import pyarrow.parquet as pq

    scores = np.concatenate([pq.read_table(path)["score"].to_numpy() for path in paths]) if paths else np.zeros(0)
    quantile = float(np.nanquantile(scores, 0.995)) if np.isfinite(scores).any() else 0.0
    return quantile if quantile > 0 else None


def numbers(auc: str | None, froc: str | None) -> dict:
    """Return the method's numbers of auc.json and froc.json, without those of single centres."""
    found = {}
    if auc:
        content = read_json(auc)
        found["auc_test"] = _plain(content["competition"] or {})
        found["auc_cross_validation"] = _plain(content["cv"])
    if froc:
        content = read_json(froc)
        found |= {f"froc_{mode}": _plain(content[mode]) for mode in ("official", "corrected") if content[mode]}
    return found


def _plain(part: dict) -> dict:
    return {key: value for key, value in part.items() if isinstance(value, int | float | str | list | None)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True, help="for example chowder_r5")
    parser.add_argument("--models", nargs="+", required=True, metavar="SPLIT=PATH", help="model files")
    parser.add_argument("--identity", required=True, help="what the encoder is, of encoder_identity.py")
    parser.add_argument("--index", type=Path, required=True, help="features/<encoder>/index.json")
    parser.add_argument("--cohort", required=True, help="of training_cohort.py")
    parser.add_argument("--scores", nargs="*", default=[], help="tile scores of the test slides: the heat maps' scale")
    parser.add_argument("--auc", help="auc.json of the method")
    parser.add_argument("--froc", help="froc.json of the method")
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="JSON: dataset, simulated, seed; tissue, tiles, ... sections"
    )
    parser.add_argument("--training", type=json.loads, required=True, help="JSON: what the model depends on")
    parser.add_argument("--output", required=True, help="zip to write")
    args = parser.parse_args(argv)

    settings, method, cohort = args.settings, names.parse(args.method), read_json(args.cohort)
    encoder = embedded(args.index, read_json(args.identity))
    models = {split: Path(path).read_bytes() for split, path in outputs(args.models).items()}
    sample = {"seed": settings["seed"], "dataset": settings["dataset"], "repeat": method.repeat}
    manifest = {key: settings[key] for key in ("dataset", "simulated", "tissue", "tiles", "localisation")} | {
        "method": args.method,
        "title": names.label(method),
        "encoder": encoder,
        "sample": sample | {"tiles": cohort.pop("sampled")},
        "full_red": highest_red(args.scores),
        "cohort": cohort,
        "training": args.training,
        "numbers": numbers(args.auc, args.froc),
        "versions": versions(),
    }
    readme = README.format(
        title=manifest["title"],
        encoder=encoder["name"],
        dataset=settings["dataset"],
        simulated=" (simulated slides)" if settings["simulated"] else "",
        note=bundle.NOTE,
        name=Path(args.output).name,
        positive=bundle.LABELS["1"],
        negative=bundle.LABELS["0"],
        slides=cohort["slides"],
        tumour=cohort["tumour"],
        normal=cohort["normal"],
        splits=", ".join(models),
        licence=encoder["licence"],
    )
    bundle.write(args.output, manifest, models, readme)
    print(f"{args.output}: {manifest['title']}, {len(models)} model files", file=sys.stderr)


if __name__ == "__main__":
    run(main)
