"""A slides table from what a newcomer has: a folder of slides, and a CSV of names and labels with any header."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from chowder import seeds
from chowder.data.cohort import LABELS, NAME, OPTIONAL, SPLITS
from chowder.files import UserError

# Kinds of files that OpenSlide opens.
SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".czi")
WORDS = LABELS | {"benign": 0, "healthy": 0, "no": 0, "false": 0, "malignant": 1, "cancer": 1, "metastasis": 1} | {
    "yes": 1,
    "true": 1,
    "neg": 0,
    "pos": 1,
}  # fmt: skip
CARRIED = tuple(column for column in OPTIONAL if column != "image")
HEADER = ("slide", "label", "image", "split", "mpp")


def find_slides(folder: str | Path) -> dict[str, Path]:
    """Return the slides in a folder and the folders in it, by their name without its ending, in order.

    Errors: :class:`UserError` for a folder that is absent or has none, and for two slides of the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the one that holds the slides")
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        if path.stem in found:
            raise UserError(f"{folder}: two slides are called {path.stem}: {found[path.stem]} and {path}: rename one")
        found[path.stem] = path
    if not found:
        raise UserError(f"{folder}: no slide found: files must end in {', '.join(SUFFIXES)}")
    return found


def read_labels(path: str | Path, slides: Mapping[str, Path], positive: str = "") -> dict[str, dict[str, str]]:
    """Return the row of every slide that the CSV names: ``label`` as normal or tumor, and further known columns.

    The column of slides is the one whose cells are names of slides (with or without their ending); the column of labels
    the one called ``label``, or the only other one. ``positive``: the label that means tumour, where the words don't
    say it.

    Errors: :class:`UserError` for a file that can't be read so, saying what is missing.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            text = handle.read()
        separator = max(",;\t", key=text.partition("\n")[0].count)
        lines = [[cell.strip() for cell in line] for line in csv.reader(text.splitlines(), delimiter=separator)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give the CSV with a column of slides and one of labels") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error}): save it again") from None
    lines = [line for line in lines if any(line)]
    width = max(map(len, lines), default=0)
    if width < 2:
        raise UserError(f"{path}: needs two columns at least, slides and labels")
    lines = [line + [""] * (width - len(line)) for line in lines]
    names = {path.name: name for name, path in slides.items()} | {name: name for name in slides}
    hits = [sum(line[i] in names for line in lines) for i in range(width)]
    place = hits.index(max(hits))
    if not max(hits):
        shown = ", ".join(list(slides)[:3])
        raise UserError(f"{path}: no cell is the name of a slide: one column must have names such as {shown}")
    head = [] if lines[0][place] in names else [cell.lower() for cell in lines.pop(0)]
    others = [i for i in range(width) if i != place]
    if "label" in head:
        where = head.index("label")
    elif len(others) == 1:
        where = others[0]
    else:
        columns = ", ".join(head) or "no header"
        raise UserError(f"{path}: which column has the labels? Call it label (has: {columns})")
    say = _words(path, {line[where] for line in lines if line[place] in names}, positive)
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        name = names.get(line[place])
        if name is None:
            continue
        if name in rows:
            raise UserError(f"{path}: slide {name} is there twice: keep one row")
        known = {head[i]: line[i] for i in others if head and head[i] in CARRIED and line[i]}
        rows[name] = known | {"label": "tumor" if say(line[where]) else "normal"}
    return rows


def _words(path: Path, found: set[str], positive: str) -> Callable[[str], int]:
    """What a label means. Errors: labels whose words don't say it, and not two of them."""
    if "" in found:
        raise UserError(f"{path}: a slide has no label: fill it in, or remove the row")
    if positive:
        if positive not in found:
            raise UserError(
                f"{path}: no label is {positive!r}, which shall mean tumour (has: {', '.join(sorted(found))})"
            )
        return lambda label: int(label == positive)
    unknown = sorted(label for label in found if label.lower() not in WORDS)
    if unknown:
        raise UserError(
            f"{path}: what does label {unknown[0]!r} mean? Use normal and tumor, or say which label is the tumour's "
            f"(has: {', '.join(sorted(found))})"
        )
    return lambda label: WORDS[label.lower()]


def draw_split(rows: dict[str, dict[str, str]], share: float, seed: int) -> bool:
    """Give each row a ``split``: of each class about a ``share`` of the patients, one at least, is for testing.

    Returns whether it could be done: there must be two patients of each class that have no slide of the other class on
    the other side. Rows keep the split that they have.
    """
    if any(row.get("split") for row in rows.values()):
        return True
    patients: dict[str, list[str]] = {}
    for slide, row in rows.items():
        patients.setdefault(row.get("patient") or f"slide {slide}", []).append(slide)
    tumour = {p: any(rows[s]["label"] == "tumor" for s in slides) for p, slides in patients.items()}
    test: set[str] = set()
    for kind in (True, False):
        mine = sorted(p for p, is_tumour in tumour.items() if is_tumour == kind)
        if len(mine) < 2:
            return False
        order = seeds.generator(seed, "first split", str(kind)).permutation(len(mine))
        number = min(max(1, round(share * len(mine))), len(mine) - 1)
        test |= {mine[i] for i in order[:number]}
    for patient, slides in patients.items():
        for slide in slides:
            rows[slide]["split"] = "test" if patient in test else "train"
    return True


def folds(rows: Mapping[str, Mapping[str, str]], most: int = 3) -> int:
    """Return the number of folds that the smaller class (by patients) allows, at most ``most``; 0 where it is one."""
    counts = Counter(dict.fromkeys(("normal", "tumor"), 0))
    for label in counts:
        counts[label] = len({r.get("patient") or f"slide {s}" for s, r in rows.items() if r["label"] == label})
    number = min(most, *counts.values())
    return number if number > 1 else 0


def safe_name(name: str) -> str:
    """Return a name that a slides table takes: other signs than letters, digits, '.', '_' and '-' become '_'."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-").rstrip(".") or "slide"
    assert NAME.fullmatch(safe[:100])
    return safe[:100]


def table(rows: Mapping[str, Mapping[str, str]], slides: Mapping[str, Path], root: Path) -> list[dict[str, str]]:
    """Return the rows of a slides table, with the path of each image below ``root``.

    Errors: :class:`UserError` for names that become the same, and a split that is none.
    """
    result = []
    seen: dict[str, str] = {}
    for name, row in rows.items():
        safe = safe_name(name)
        if safe in seen:
            raise UserError(f"slides {seen[safe]!r} and {name!r} would both be called {safe}: rename one file")
        seen[safe] = name
        if row.get("split", "").lower() not in SPLITS:
            raise UserError(f"slide {name}: split {row['split']!r} is not known: use train, test, or leave it empty")
        result.append({"slide": safe, "image": str(slides[name].relative_to(root)), **row})
    return result
