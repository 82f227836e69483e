"""The slides of a run as cards: heat maps of the test slides, and all slides with the outline of their tissue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from chowder.data.annotations import read_asap
from chowder.files import UserError
from chowder.models.predictions import read_probabilities
from chowder.report.figures import heatmap, style, view
from chowder.report.overview.cards import Card
from chowder.report.overview.drawings import Drawing
from chowder.report.overview.maps import jpeg, longest_side, small_map, wrong
from chowder.slides import picture, tile_scores, tile_table
from chowder.slides.record import read as read_record

RATE = 1.0  # false positives per slide at which a card counts the lesions found
SIDE = 220  # px of a picture of the contact sheet
MAP_SORTS = {"error": "error, largest first", "probability": "probability", "missed": "lesions missed"}
MAP_KINDS = {"tumour": "labelled tumour", "normal": "labelled normal", "wrong": "wrong side of 0.5"}
ALL_SORTS = {"warnings": "warnings first", "area": "tissue area"}
ALL_KINDS = {"train": "training", "test": "test", "tumour": "labelled tumour", "warning": "with warnings"}


def read_slides(path: Path) -> pd.DataFrame:
    """Return the rows of slides.csv by slide: label 0 or 1, split "" where there is none."""
    try:
        slides = pd.read_csv(path, dtype={"slide": str, "split": str})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}): delete it and rerun `slides_table`") from None
    return slides.assign(split=slides["split"].fillna("")).set_index("slide")


def map_cards(
    results: Path,
    encoder: str,
    method: str,
    slides: pd.DataFrame,
    annotations: Mapping[str, Path],
    drawings: Sequence[Drawing] = (),
    prefix: str = "slide",
) -> list[Card]:
    """Return a card per test slide: heat map, label, probability, lesions found.

    ``slides``: the test slides, from :func:`read_slides`. ``annotations``: slide to its ASAP XML, where it has one.
    ``drawings``: figures, to which the card of their slide links. ``prefix`` of the cards' ids.
    """
    probabilities = read_probabilities(results / "predictions" / encoder / method / "competition.csv")
    found = style.read_csv(results / "metrics" / encoder / method / "lesions.csv", slide=str)
    scores = {
        slide: tile_scores.read(results / f"tile_scores/{encoder}/{method}/{slide}.parquet") for slide in slides.index
    }
    full = heatmap.full_red(np.concatenate([part["score"] for part in scores.values()]))
    longest = longest_side(len(slides))
    cards = []
    for slide, row in slides.iterrows():
        record = read_record(results / f"tissue/{slide}.json", "width", "height", "mpp")
        preview = picture.read(results / f"previews/{slide}.jpg")
        whole = view.whole(preview, record["width"], record["height"], record["mpp"])
        annotation = read_asap(annotations[slide]) if slide in annotations else None
        plain, tinted = small_map(
            whole,
            scores[slide],
            tile_table.read(results / f"tiles/{slide}.parquet")[1].extent,
            record["mpp"],
            full,
            longest,
            annotation.tumor if annotation else None,
            annotation.excluded if annotation else None,
        )
        label, probability = int(row["label"]), float(probabilities.get(slide, (0, math.nan))[1])
        lesions = found[found["slide"] == slide] if len(found) else found
        cards.append(
            _map_card(
                slide,
                label,
                probability,
                lesions,
                (plain, tinted),
                slide in annotations,
                drawings,
                prefix,
                viewer_link(results, str(slide), method) if prefix == "slide" else "",
            )
        )
    return cards


def viewer_link(results: Path, slide: str, method: str) -> str:
    """Return the address of a slide in the viewer, beside the page; "" where the viewer was not made for it.

    The viewer shows the first encoder only.
    """
    made = (results / "viewer/index.html").exists() and (results / f"viewer/pyramids/{slide}.json").exists()
    return f"viewer/index.html#slide={quote(slide)}&method={quote(method)}" if made else ""


def _map_card(slide, label, probability, lesions, pixels, annotated, drawings, prefix, viewed) -> Card:
    word = "tumour" if label else "normal"
    error, kinds, missed = wrong(label, probability), [word], math.nan
    lines = [f"labelled {word}"]
    if math.isnan(error):
        lines.append("no prediction")
    else:
        kinds += ["wrong"] if error > 0.5 else []
        side = ' <strong class="warn">wrong side of 0.5</strong>' if error > 0.5 else ""
        lines.append(
            f'probability of tumour <strong>{probability:.3f}</strong><span class="bar" aria-hidden="true">'
            f'<i style="width:{100 * probability:.0f}%"></i></span>{side}'
        )
    if len(lesions):
        counted = lesions[lesions["itc"] == 0]
        seen = int((counted["found_at_fps"] <= RATE).sum())
        missed = len(counted) - seen
        cells = len(lesions) - len(counted)
        text = f"{seen} of {len(counted)} lesion{'s' * (len(counted) != 1)} found at {RATE:g} false positive per slide"
        lines.append(text + (f"; isolated tumour cells not counted: {cells}" if cells else ""))
    elif label:
        lines.append("lesions annotated, none counted" if annotated else "no lesion annotated")
    links = [(viewed, "viewer")] if viewed else []
    links += [
        (f"#{one.identity}", {"heatmap": "heat map in detail", "gallery": "highest and lowest tiles"}.get(one.kind, ""))
        for one in drawings
        if one.wildcards.get("slide") == slide
    ]
    about = f"{slide}, labelled {word}" + ("" if math.isnan(error) else f", probability of tumour {probability:.3f}")
    return Card(
        slide,
        f"{prefix}-{slide}",
        [(jpeg(pixels[1]), f"Heat map of {about}"), (jpeg(pixels[0]), f"Slide {about}")],
        lines,
        {"error": error, "probability": probability, "missed": missed},
        kinds,
        [link for link in links if link[1]],
    )


def tissue_cards(results: Path, slides: pd.DataFrame) -> list[Card]:
    """Return a card per slide: its thumbnail with the outline of its tissue mask, label, split, area, warnings."""
    cards = []
    for slide, row in slides.iterrows():
        record = read_record(results / f"tissue/{slide}.json", "area_mm2", "warnings")
        mask = picture.read(results / f"tissue/{slide}.png", "L")
        small = view.thumbnail(picture.read(results / f"previews/{slide}.jpg"), mask, SIDE)
        warnings = [str(text) for text in record.get("warnings") or []]
        word = "tumour" if int(row["label"]) else "normal"
        split = {"train": "training", "": "no split"}.get(row["split"], row["split"])
        lines = [f"{escape(split)}, labelled {word}", f"{record['area_mm2']:.1f} mm² of tissue"]
        lines += [f'<span class="warn">{escape(text)}</span>' for text in warnings]
        kinds = [word, row["split"], *(["warning"] if warnings else [])]
        numbers = {"warnings": float(len(warnings)), "area": float(record["area_mm2"])}
        words = f"{slide} with the outline of its tissue"
        cards.append(
            Card(slide, f"tissue-{slide}", [(jpeg(small, 76), words)], lines, numbers, [k for k in kinds if k])
        )
    return cards


def warnings_of(results: Path, slides: Sequence[str], annotations: Mapping[str, Path]) -> list[str]:
    """Return every warning of tissue detection and annotations, with its slide."""
    lines = []
    for slide in slides:
        record = read_record(results / f"tissue/{slide}.json", "warnings")
        lines += [f"{slide}: tissue: {text}" for text in record.get("warnings") or []]
        if slide in annotations:
            lines += [f"{slide}: annotation: {text}" for text in read_asap(annotations[slide]).warnings]
    return lines
