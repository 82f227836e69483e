"""Camelyon-16 as a table: which slides there are, where a mirror keeps them, and what the organisers say of them.

Slide names, training labels and training centres follow from rules (specification, section 5). Labels, classes and
centres of the test slides, and which slides are not exhaustively annotated, are facts that the table in config/ holds.
The table is checked against the organisers' reference.csv where it is available. Standard library only, so that
importing it stays fast.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chowder.files import UserError, atomic

COLUMNS = ("slide", "image", "label", "split", "center", "class", "annotation", "froc", "exhaustive")
MINI = (
    "tumor_091", "tumor_075", "tumor_082", "tumor_084", "normal_108", "normal_042", "normal_004", "normal_150",
)  # fmt: skip
SERIES = {"normal": (160, {86}), "tumor": (111, set()), "test": (130, {49})}  # how many, numbers that do not exist
MEAN_BYTES = (700 << 30) // 399  # of a slide, roughly
# Where mirrors keep a slide's files: the public bucket (flat), GigaDB 100439 and old copies (folders, mixed case).
LAYOUTS: dict[str, tuple[str, ...]] = {
    "image": (
        "images/{slide}.tif",
        "images/{Slide}.tif",
        "images/{slide}.TIF",
        "images/{slide}.tiff",
        "{folder}/{slide}.tif",
        "{folder}/{Slide}.tif",
    ),
    "annotation": (
        "annotations/{slide}.xml",
        "annotations/{Slide}.xml",
        "{half}/lesion_annotations/{slide}.xml",
        "{half}/lesion_annotations/{Slide}.xml",
    ),
}


@dataclass(frozen=True)
class Reference:
    """What a reference.csv says. A value is None where this form does not hold it; ``complete``: covers all slides."""

    path: str
    slides: Mapping[str, Mapping[str, str | None]]
    complete: bool


def slides() -> list[str]:
    """Return the 399 slide names: normal_001..160 without 086, tumor_001..111, test_001..130 without 049."""
    return [
        f"{series}_{number:03d}"
        for series, (last, gaps) in SERIES.items()
        for number in range(1, last + 1)
        if number not in gaps
    ]


def slide_name(text: str) -> str:
    """Return the canonical name in ``text``: ``Normal_001.TIF`` and ``images/normal_001.tif`` are ``normal_001``.

    Raises UserError when ``text`` is not the name of one of the 399 slides.
    """
    match = re.fullmatch(r"(?:.*/)?(normal|tumor|test)_(\d{3})(?:\.\w+)?", text.strip(), re.IGNORECASE)
    if match:
        series, number = match[1].lower(), int(match[2])
        last, gaps = SERIES[series]
        if 1 <= number <= last and number not in gaps:
            return f"{series}_{number:03d}"
    raise UserError(
        f"{text!r} is not a Camelyon-16 slide: normal_001..160 (not 086), tumor_001..111, test_001..130 (not 049)"
    )


def training_center(slide: str) -> str | None:
    """Centre of a training slide by its number (normal above 100, tumour above 70: UMCU); None for a test slide."""
    series, number = slide.split("_")
    return None if series == "test" else "RUMC" if int(number) <= {"normal": 100, "tumor": 70}[series] else "UMCU"


def candidates(slide: str, kind: str = "image", layouts: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Keys under which mirrors keep a slide's ``image`` or ``annotation``, the public bucket's first.

    ``layouts`` replaces :data:`LAYOUTS` for its kinds: patterns with {slide}, {Slide} (capital), {folder}
    (training/normal, training/tumor, testing/images) and {half} (training, testing).
    """
    slide = slide_name(slide)
    series = slide.split("_")[0]
    half = "testing" if series == "test" else "training"
    names = {"slide": slide, "Slide": slide.capitalize(), "half": half}
    names["folder"] = "testing/images" if series == "test" else f"training/{series}"
    patterns = {**LAYOUTS, **(layouts or {})}
    if kind not in patterns:
        raise UserError(f"{kind!r} is no kind of file: use {' or '.join(patterns)}")
    try:
        return list(dict.fromkeys(pattern.format(**names) for pattern in patterns[kind]))
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"layouts, {kind}: {error} in a pattern: use {{slide}}, {{Slide}}, {{folder}}, {{half}}"
        ) from None


# Checksums --------------------------------------------------------------------------


def read_md5_list(path: str | os.PathLike) -> dict[str, str]:
    """md5 by key in lower case, from lines ``<md5> *images/tumor_091.tif`` (also without the star, or with ``./``)."""
    sums: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{32})[ \t]+\*?(?:\./)?(\S.*)", line.rstrip())
        if not match:
            raise UserError(f"{path}, line {number}: is not '<md5> *<key>': is this the mirror's checksums.md5?")
        sums[match[2].lower()] = match[1].lower()
    if not sums:
        raise UserError(f"{path}: holds no checksum: fetch it again")
    return sums


def md5_of(sums: Mapping[str, str], keys: Iterable[str], path: str | os.PathLike = "checksums.md5") -> str:
    """Return the md5 of the first of ``keys`` in ``sums``; failing that, of the one entry with such a file name.

    Raises UserError when there is none, or entries that disagree.
    """
    keys = [key.lower() for key in keys]
    if not keys:
        raise UserError(f"{path}: no key to look up: give --key or --slide")
    for key in keys:
        if key in sums:
            return sums[key]
    names = {key.rpartition("/")[2] for key in keys}
    found = {md5 for key, md5 in sums.items() if key.rpartition("/")[2] in names}
    if len(found) == 1:
        return found.pop()
    what = "holds different sums for" if found else "holds no sum for"
    raise UserError(f"{path}: {what} {keys[0]}: use the list of the mirror that the file comes from")


# The organisers' reference --------------------------------------------------------------------------


def read_reference(path: str | os.PathLike) -> Reference:
    """Read either form of reference.csv.

    * with header ``image,type,class,center``: all 399 slides;
    * without header, ``test_001,Tumor,IDC,Macro``: the 129 test slides; the third column is the histological type.

    Values come out in the table's words: label 0/1, class negative/itc/micro/macro, center RUMC/UMCU (public code that
    reads the file takes 0 for RUMC and 1 for UMCU: both spellings are read, any other is left open).
    """
    rows = [row for row in csv.reader(_text(path).splitlines()) if any(cell.strip() for cell in row)]
    if not rows:
        raise UserError(f"{path}: is empty: fetch it again")
    header = [cell.strip().lower() for cell in rows[0]]
    headed = "image" in header
    if headed:
        if missing := {"type", "class", "center"} - set(header):
            raise UserError(f"{path}: has no column {sorted(missing)[0]!r}: expected image,type,class,center")
        rows, places = rows[1:], {name: header.index(name) for name in ("image", "type", "class", "center")}
    else:
        places = {"image": 0, "type": 1, "class": 3}
    found: dict[str, dict[str, str | None]] = {}
    for number, row in enumerate(rows, 2 if headed else 1):
        cells = {name: row[place].strip().lower() if place < len(row) else "" for name, place in places.items()}
        where = f"{path}, line {number}"
        label = {"tumor": "1", "tumour": "1", "normal": "0"}.get(cells["type"])
        if label is None:
            raise UserError(
                f"{where}: type {cells['type']!r} is neither tumor nor normal: is this Camelyon-16's reference.csv?"
            )
        try:
            slide = slide_name(cells["image"])
        except UserError:
            if re.fullmatch(r"(?:.*/)?(normal_086|test_049)(?:\.\w+)?", cells["image"]):
                continue  # withdrawn by the organisers; old copies of the list still hold them
            raise UserError(
                f"{where}: {cells['image']!r} is not a Camelyon-16 slide: is this the right file?"
            ) from None
        if slide in found:
            raise UserError(f"{where}: {slide} is listed twice: fetch the file again")
        kind = cells["class"] if cells["class"] in ("itc", "micro", "macro", "negative") else None
        if label == "0" and cells["class"] in ("none", "normal", ""):
            kind = "negative"
        center = {"rumc": "RUMC", "umcu": "UMCU", "0": "RUMC", "1": "UMCU"}.get(cells.get("center", ""))
        found[slide] = {"label": label, "class": kind, "center": center}
    return Reference(str(path), found, complete=headed)


def check_table(table: Sequence[Mapping[str, str]], reference: Reference) -> int:
    """How many slides of ``table`` agree with the reference on label, class and centre, and on the split of their name.

    A value that either side leaves open (the class of a training slide, the centre in the old form) is not compared.
    Raises UserError naming the first slides that disagree, or that the reference should hold and does not.
    """
    wrong: list[str] = []
    agreed = 0
    for row in table:
        slide = row["slide"]
        said = reference.slides.get(slide)
        split = "test" if slide.startswith("test_") else "train"
        if row["split"].lower().removesuffix("ing") not in ("", split):
            wrong.append(f"{slide} has split {row['split']} but is a {split} slide")
            continue
        if said is None:
            if reference.complete or slide.startswith("test_"):
                wrong.append(f"{slide} is not in the reference")
            continue
        differs = [
            f"{slide} has {key} {row[key]} but the reference says {said[key]}"
            for key in ("label", "class", "center")
            if said[key] and row[key] and said[key].lower() != row[key].lower()
        ]
        wrong += differs
        agreed += not differs
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"{reference.path}: {'; '.join(wrong[:3])}{more}: mend the slides table or use the right reference.csv"
        )
    return agreed


# The table --------------------------------------------------------------------------


def left_out(table: Sequence[Mapping[str, str]], reference: Reference) -> list[str]:
    """Return the slides that the reference holds and the table does not."""
    return sorted(set(reference.slides) - {row["slide"] for row in table})


def make_table(facts: Iterable[Mapping[str, str]], only: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Build the slides table from rules and facts (columns slide,split,label,class,center,exhaustively_annotated).

    ``only``: a subset, which gets no split. ``froc`` is 1 where a lesion score can be computed: the slide is not a
    training slide and all its lesions are outlined. ``class`` is given for test slides only, as the challenge does.
    Raises UserError when facts and rules disagree.
    """
    known = {row["slide"]: row for row in facts}
    if set(known) != set(slides()):
        odd = sorted(set(known) ^ set(slides()))
        raise UserError(f"facts: {odd[0]} and {len(odd) - 1} others are missing or too many: expected the 399 slides")
    table = []
    for slide in only or slides():
        fact, series = known[slide], slide.split("_")[0]
        split = "test" if series == "test" else "train"
        if fact["split"] != split or (split == "train" and fact["label"] != series):
            raise UserError(f"facts: {slide} is {fact['split']}, {fact['label']}: its name says otherwise")
        if split == "train" and fact["center"] != training_center(slide):
            raise UserError(f"facts: {slide} is from {fact['center']}: its number says {training_center(slide)}")
        tumour, split = fact["label"] == "tumor", "" if only else split
        table.append(
            {
                "slide": slide,
                "image": f"images/{slide}.tif",
                "label": str(int(tumour)),
                "split": split,
                "center": fact["center"],
                "class": fact["class"] if split == "test" else "",
                "annotation": f"annotations/{slide}.xml" if tumour else "",
                "froc": str(int(split != "train" and fact["exhaustively_annotated"] == "1")),
                "exhaustive": fact["exhaustively_annotated"],
            }
        )
    return table


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read the rows of a slides table of Camelyon-16 (slide, label, split, center and class are needed)."""
    reader = csv.DictReader(_text(path).splitlines())
    if missing := [
        name for name in ("slide", "label", "split", "center", "class") if name not in (reader.fieldnames or [])
    ]:
        raise UserError(f"{path}: has no column {missing[0]!r}: expected {','.join(COLUMNS)}")
    return [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]


def write_table(path: str | os.PathLike, table: Sequence[Mapping[str, str]]) -> None:
    """Write the rows with :data:`COLUMNS`."""
    with atomic(path) as scratch, Path(scratch).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _text(path: str | os.PathLike) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file: fetch it from the mirror first") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text file: fetch it again") from None
