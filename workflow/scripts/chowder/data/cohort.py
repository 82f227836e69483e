"""The slides table: which slides there are, what is known of each, and every mistake in it named before a job starts.

Standard library only, so that the Snakefile can read a table without paying for pandas.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from chowder.files import UserError, atomic, has_control, is_formula

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
RESERVED = ("low", "high")  # centres become columns auc_test_<center>, and these two are the interval's
LABELS = {"0": 0, "1": 1, "normal": 0, "tumor": 1, "tumour": 1, "negative": 0, "positive": 1}
SPLITS = {"": "", "train": "train", "training": "train", "test": "test", "testing": "test"}
CLASSES = ("", "negative", "itc", "micro", "macro")
REQUIRED = ("slide", "label")
OPTIONAL = (
    "image",
    "split",
    "patient",
    "center",
    "class",
    "annotation",
    "mpp",
    "md5",
    "froc",
    "exhaustive",
    "lesions",
    "width",
    "height",
)
RESOLVED = ("slide", "image", "label", "split", "patient", "center", "class", "annotation", "mpp", "froc", "simulated")


@dataclass(frozen=True)
class Slide:
    """One row of the slides table.

    ``image`` and ``annotation`` are as the table has them (relative to the root of the dataset), ``annotation`` is
    empty where there is none; ``label`` is 1 for tumour; ``mpp`` (um/px at level 0) is empty where the file knows it;
    ``froc`` is False for a slide that must not count in the lesion evaluation; ``patient`` is empty where each slide
    is of another patient.
    """

    slide: str
    image: str
    label: int
    split: str = ""
    center: str = ""
    cls: str = ""
    annotation: str = ""
    mpp: str = ""
    md5: str = ""
    froc: bool = True
    patient: str = ""

    def resolved(self, simulated: bool) -> dict[str, object]:
        """Return the row as ``results/<dataset>/slides.csv`` shows it."""
        return {
            "slide": self.slide,
            "image": self.image,
            "label": self.label,
            "split": self.split,
            "patient": self.patient,
            "center": self.center,
            "class": self.cls,
            "annotation": self.annotation,
            "mpp": self.mpp,
            "froc": int(self.counts_for_froc),
            "simulated": int(simulated),
        }

    @property
    def counts_for_froc(self) -> bool:
        """Whether the slide's lesions are known: a test slide that is normal, or a tumour with its annotation."""
        return self.froc and self.split == "test" and (self.label == 0 or bool(self.annotation))


def read(
    table: str | os.PathLike, image: str = "", annotation: str = "", root: str | os.PathLike | None = None
) -> list[Slide]:
    """Read and check a slides table.

    Parameters
    ----------
    table : path of a CSV with the columns ``slide`` and ``label`` and, where known, those in ``OPTIONAL``.
    image, annotation : patterns such as ``images/{slide}.tif``, used for a slide whose cell is empty or missing.
        An annotation by pattern is taken only for tumour slides and, with ``root``, only when the file exists.
    root : folder against which the files are checked; ``None`` where they are still to be made or downloaded.

    Raises
    ------
    UserError
        A column, name, label, split, class, mpp or file is wrong: the message names the table, the line and the cell.
    """
    path = Path(table)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise UserError(f"slides table {path}: no such file: set slides.table in the config") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"slides table {path}: cannot be read as CSV in UTF-8 ({error}): save it again") from None
    unknown = [c for c in columns if c not in REQUIRED + OPTIONAL]
    missing = [c for c in REQUIRED if c not in columns]
    if missing:
        has = " ".join(", ".join(columns).split())[:200]
        raise UserError(f"slides table {path}: column {missing[0]!r} is missing: add it (has: {has})")
    if unknown:
        raise UserError(f"slides table {path}: unknown column {unknown[0]!r}: use {', '.join(REQUIRED + OPTIONAL)}")
    if len(set(columns)) != len(columns):
        raise UserError(f"slides table {path}: a column stands there twice: keep one of each")
    slides = [_slide(path, line, row, image, annotation, root) for line, row in rows]
    if not slides:
        raise UserError(f"slides table {path}: has no slides: add one row a slide")
    _check_set(path, slides)
    return slides


OVERRIDES = ("label", "class", "annotation", "froc")


def override(slides: Iterable[Slide], path: str | os.PathLike) -> tuple[list[Slide], list[str]]:
    """Return the slides with a second label set in place of their own labels, and the names of those it changes.

    ``path`` is a CSV with the column ``slide`` and one or more of ``OVERRIDES``; an empty cell leaves what is there. A
    further column ``source`` says where a row is from. A slide that becomes normal loses its outline.

    Errors: :class:`UserError` for a slide that is not in the slides table or there twice, an unknown column, and a
    value that the slides table could not have either.
    """
    rows = read_rows(path, ("slide",))
    unknown = [column for column in rows[0] if column not in ("slide", "source", *OVERRIDES)]
    if unknown or len(rows[0]) == 1:
        what = f"unknown column {unknown[0]!r}" if unknown else "no column beside slide"
        raise UserError(f"{path}: {what}: use slide, source and {', '.join(OVERRIDES)}")
    slides = list(slides)
    known = {slide.slide: slide for slide in slides}
    changed = []
    for line, row in enumerate(rows, start=2):
        slide = known.get(row["slide"])
        if slide is None:
            raise UserError(f"{path}, line {line}: slide {row['slide']} is not in the slides table: remove the row")
        cells = {"slide": slide.slide, "label": row.get("label") or str(slide.label)}
        cells |= {"class": row.get("class") or slide.cls, "split": slide.split}
        checked = _slide(Path(path), line, cells, "", "", None)
        outline = row.get("annotation") or slide.annotation
        if row.get("froc", "") not in ("", "0", "1"):
            raise UserError(
                f"{path}, line {line}: slide {slide.slide}: froc {row['froc']!r}: use 1 (counts) or 0 (not)"
            )
        kind = checked.cls if row.get("class") or checked.label == slide.label else ""
        new = replace(
            slide,
            label=checked.label,
            cls=kind,
            annotation=outline if checked.label else "",
            froc=slide.froc if not row.get("froc") else row["froc"] == "1",
        )
        if new != slide:
            known[slide.slide] = new
            changed.append(slide.slide)
    result = list(known.values())
    _check_set(Path(path), result)
    return result, changed


def outlined(slides: Iterable[Slide], folder: str | os.PathLike | None, places: bool = True) -> list[Slide]:
    """Return slides of ready-made features: an outline counts where its file lies in ``folder``.

    Without ``places`` (coordinates of tiles) no slide counts in the lesion evaluation.
    """
    result = []
    for slide in slides:
        there = places and folder is not None and os.path.isfile(Path(folder) / slide.annotation)
        result.append(replace(slide, annotation=slide.annotation if there else "", froc=slide.froc and places))
    return result


def read_rows(path: str | os.PathLike, needed: Iterable[str] = REQUIRED) -> list[dict[str, str]]:
    """Read a slides table that a rule wrote, or a stranger's: rows as text without blanks around, each slide once.

    Errors: :class:`UserError` for a file that is absent or no CSV, without a column of ``needed``, without a row, or
    with a slide that is there twice.
    """
    needed = tuple(needed)
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(handle)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such slides table: check its path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error}): save it again as CSV in UTF-8") from None
    if not rows:
        raise UserError(f"{path}: no rows: it needs a header with {', '.join(needed)} and one row per slide")
    for key in needed:
        if key not in rows[0]:
            raise UserError(f"{path}: no column '{key}': the header must have {', '.join(needed)}")
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        for key, value in row.items():
            if has_control(value):
                raise UserError(
                    f"{path}, line {line}: {key[:60]!r} is {value[:60]!r}, with a control character: remove it"
                )
        if row["slide"] in seen:
            raise UserError(f"{path}, line {line}: slide {row['slide']} is there twice: keep one row")
        seen.add(row["slide"])
    return rows


def _slide(path: Path, line: int, row: dict, image: str, annotation: str, root: str | os.PathLike | None) -> Slide:
    def wrong(what: str) -> UserError:
        return UserError(f"slides table {path}, line {line}: {what}")

    if None in row or None in row.values():
        raise wrong("has more or fewer cells than the header: check the commas")
    cell = {key: (value or "").strip() for key, value in row.items()}
    name = cell["slide"]
    if not NAME.fullmatch(name):
        raise wrong(
            f"slide name {name[:60]!r}: use at most 100 letters, digits, '.', '_' and '-', beginning with a letter or "
            "digit and not ending with '.'"
        )
    for column, value in cell.items():
        if has_control(value):
            raise wrong(f"slide {name}: {column} {value[:60]!r} holds a control character: remove it")
    for column in ("center", "patient"):
        if len(cell.get(column, "")) > 100:
            raise wrong(f"slide {name}: {column} has {len(cell[column])} characters: use at most 100")
        if is_formula(cell.get(column, "")):
            raise wrong(f"slide {name}: {column} {cell[column]!r} is a formula to spreadsheets: begin it with a letter")
    if cell.get("center", "") in RESERVED:
        raise wrong(f"slide {name}: center {cell['center']!r} is the name of another column: give it another name")
    if cell["label"].lower() not in LABELS:
        raise wrong(f"slide {name}: label {cell['label']!r} is not known: use normal or tumor (or 0, 1)")
    label = LABELS[cell["label"].lower()]
    if cell.get("split", "").lower() not in SPLITS:
        raise wrong(f"slide {name}: split {cell['split']!r} is not known: use train, test, or leave it empty")
    if cell.get("class", "").lower() not in CLASSES:
        raise wrong(
            f"slide {name}: class {cell['class']!r} is not known: use {', '.join(CLASSES[1:])}, or leave it empty"
        )
    mpp = cell.get("mpp", "")
    try:
        if mpp and not 0.01 <= float(mpp) <= 100:
            raise ValueError
    except ValueError:
        raise wrong(f"slide {name}: mpp {mpp!r} is not a number of um/px between 0.01 and 100") from None
    if cell.get("froc", "") not in ("", "0", "1"):
        raise wrong(f"slide {name}: froc {cell['froc']!r}: use 1 (counts) or 0 (does not)")
    md5 = cell.get("md5", "").lower()
    if md5 and not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise wrong(f"slide {name}: md5 {md5!r} is not 32 hexadecimal digits")

    picture = cell.get("image", "") or image.format(slide=name)
    outline = cell.get("annotation", "")
    for column, value in (("image", picture), ("annotation", outline)):
        if "{" in value or "}" in value:
            raise wrong(f"slide {name}: {column} {value!r} holds a brace, a wildcard of Snakemake: rename the file")
        if is_formula(value):
            raise wrong(f"slide {name}: {column} {value!r} is a formula to spreadsheets: write ./{value}")
    if root is not None:
        if not picture:
            raise wrong(f"slide {name}: has no image: fill the column image or set slides.image in the config")
        if not os.path.isfile(Path(root) / picture):
            raise wrong(f"slide {name}: image {Path(root) / picture}: no such file: mend the table or slides.root")
        if outline and not os.path.isfile(Path(root) / outline):
            raise wrong(f"slide {name}: annotation {Path(root) / outline}: no such file: mend the table or slides.root")
    if not outline and label == 1 and annotation:
        candidate = annotation.format(slide=name)
        if root is None or os.path.isfile(Path(root) / candidate):
            outline = candidate
    return Slide(
        slide=name,
        image=picture,
        label=label,
        split=SPLITS[cell.get("split", "").lower()],
        center=cell.get("center", ""),
        cls=cell.get("class", "").lower(),
        annotation=outline,
        mpp=mpp,
        md5=md5,
        froc=cell.get("froc", "") != "0",
        patient=cell.get("patient", ""),
    )


def _check_set(path: Path, slides: list[Slide]) -> None:
    seen: dict[str, str] = {}
    for s in slides:
        if s.slide.lower() in seen:  # some file systems do not tell upper from lower case
            raise UserError(f"slides table {path}: slide {s.slide} is listed twice: keep one row a slide")
        seen[s.slide.lower()] = s.slide
    without = [s.slide for s in slides if not s.split]
    if without and len(without) < len(slides):
        raise UserError(
            f"slides table {path}: slide {without[0]} has no split but others have: fill all of them or none"
        )
    if not without:
        for split in ("train", "test"):
            labels = {s.label for s in slides if s.split == split}
            if split == "train" and labels != {0, 1}:
                raise UserError(
                    f"slides table {path}: the training slides need both labels: add normal and tumor slides"
                )
    sides: dict[str, Slide] = {}
    for s in slides:
        first = sides.setdefault(s.patient, s) if s.patient else s
        if first.split != s.split:
            raise UserError(
                f"slides table {path}: slides {first.slide} and {s.slide} are of patient {s.patient}, one in "
                f"{first.split} and one in {s.split}: put all slides of a patient on one side"
            )
    if {s.label for s in slides} != {0, 1}:
        raise UserError(f"slides table {path}: both labels are needed: add normal and tumor slides")


def write(path: str | os.PathLike, slides: list[Slide], simulated: bool) -> None:
    """Write the resolved table (columns ``RESOLVED``) to ``path``, whole or not at all."""
    with atomic(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, RESOLVED, lineterminator="\n")
        writer.writeheader()
        writer.writerows(s.resolved(simulated) for s in slides)
