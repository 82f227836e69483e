"""The second table, metrics.csv: what the slides' probabilities are worth in use, and sensitivity by lesion size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from chowder.evaluation.lesion_sizes import EDGES, size_name
from chowder.files import UserError, read_json
from chowder.report import paper
from chowder.report.table.html import forest
from chowder.report.table.page import Head, Item, badge, download, listed, page, sortable
from chowder.report.table.rows import SIMULATED
from chowder.report.table.text import literal, pipe

#: Numbers with an interval: key in measures.json and column, heading, group.
ESTIMATES = (
    ("auprc", "AUPRC", "Test slides"),
    ("sensitivity_at_90", "Sens. at 90 % spec.", "Test slides"),
    ("sensitivity_at_95", "Sens. at 95 % spec.", "Test slides"),
    ("brier", "Brier score", "Test slides"),
    ("balanced_accuracy", "Balanced accuracy", "Threshold from training slides"),
    ("f1", "F1", "Threshold from training slides"),
    ("sensitivity", "Sensitivity", "Threshold from training slides"),
    ("specificity", "Specificity", "Threshold from training slides"),
)
FOLDS = (("auprc", "AUPRC"), ("brier", "Brier score"))
RATE = 1.0  # false positives per slide at which lesions are counted by size
ENDS = ("low", "high")


@dataclass
class Measures:
    """The table: ``frame`` with the columns of metrics.csv, ``notes`` for under it."""

    frame: pd.DataFrame
    title: str
    simulated: bool
    notes: list[str]


def _bins() -> list[tuple[str, str]]:
    """Return column and heading of every bin of lesion sizes."""
    highs = (*EDGES[1:], math.nan)
    return [(f"sens_from_{low:g}_um", size_name(low, high)) for low, high in zip(EDGES, highs, strict=True)]


def entry(path: Path, sizes_path: Path, *, encoder: str, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return one row of metrics.csv and the content of its measures.json, from that and lesion_sizes.csv."""
    content = read_json(path)
    try:
        sizes = pd.read_csv(sizes_path)
    except (OSError, ValueError) as error:
        raise UserError(f"{sizes_path}: cannot be read as CSV ({error}): make it again with its rule") from None
    try:
        return _entry(content, sizes, encoder, method), content
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, {sizes_path}: one of them was edited ({error!r}): delete them and run the workflow again"
        ) from None


def _entry(content: dict[str, Any], sizes: pd.DataFrame, encoder: str, method: str) -> dict[str, Any]:
    row: dict[str, Any] = {"encoder": encoder, "method": method}
    test = content.get("competition") or {}
    for key, _, _ in ESTIMATES:
        part = test.get(key) or {}
        row[key] = part.get("value")
        row |= {f"{key}_{end}": part.get(end) for end in ENDS}
    row["threshold"] = (content.get("threshold") or {}).get("value")
    for key, _ in FOLDS:
        row |= {f"{key}_cv": content["cv"].get(f"{key}_mean"), f"{key}_cv_sd": content["cv"].get(f"{key}_sd")}
    for (column, _), low in zip(_bins(), EDGES, strict=True):
        rows = sizes[(sizes["fps"] == RATE) & (sizes["from_um"] == low)] if len(sizes) else sizes
        one = rows.iloc[0] if len(rows) else {}
        row[column] = one.get("sensitivity")
        row |= {f"{column}_{end}": one.get(end) for end in ENDS}
        row[f"{column}_lesions"] = one.get("lesions")
    return row


def build(entries: Sequence[tuple[dict, dict]], settings: dict) -> Measures:
    """Return the table from rows of :func:`entry`, sorted by encoder, family and R.

    ``settings``: dataset, simulated.
    """
    if not entries:
        raise UserError("metrics: no method was given; name at least one in the config")
    ordered = sorted(entries, key=lambda pair: (pair[0]["encoder"], paper.parse(pair[0]["method"]).order))
    frame = pd.DataFrame([row for row, _ in ordered])
    for column in frame.columns[2:]:
        frame[column] = pd.to_numeric(frame[column])
        if column.endswith("_lesions"):
            frame[column] = frame[column].astype("Int64")
    simulated = bool(settings.get("simulated", False))
    title = f"Measures of use on {settings.get('dataset', 'unnamed')}" + (f" – {SIMULATED}" if simulated else "")
    return Measures(frame, title, simulated, _notes(frame, [content for _, content in ordered]))


def _notes(frame: pd.DataFrame, contents: list[dict]) -> list[str]:
    notes = []
    tests = [content["competition"] for content in contents if content.get("competition")]
    if tests:
        share, n = tests[0]["positives"] / tests[0]["slides"], tests[0]["slides"]
        notes.append(
            f"{n} test slides, {tests[0]['positives']} with tumour. A constant prediction has an AUPRC of {share:.3f} "
            f"and a Brier score of {share * (1 - share):.3f} (0 is best)."
        )
    notes += [f"Test columns are empty: {reason}." for reason in _reasons(contents, "competition_reason")]
    thresholds = [content["threshold"] for content in contents]
    if any(one.get("value") is not None for one in thresholds):
        text = (
            "The threshold has the highest balanced accuracy on the out-of-fold predictions of slides that are not in "
            "the test set; its sensitivity and specificity are those of the test slides."
        )
        if any(one.get("models_saw_test") for one in thresholds):
            text += (
                " The folds' models were trained on test slides too (cv.over: all); with cv.over: train no test slide "
                "has any part in the threshold."
            )
        notes.append(text)
    notes += [f"No threshold: {reason}." for reason in _reasons(thresholds, "reason")]
    notes.append(
        "Sensitivity at a specificity: the highest among the thresholds that have at least this specificity on the "
        "test slides; that threshold is chosen on the test slides."
    )
    counts = [(name, int(frame[f"{column}_lesions"].max())) for column, name in _bins() if frame[column].notna().any()]
    if counts:
        listed = ", ".join(f"{name}: {number}" for name, number in counts)
        notes.append(
            f"Lesions by major axis: sensitivity at {RATE:g} false positive per slide; other rates are in "
            f"lesion_sizes.csv of each method. Lesions: {listed}."
        )
    level = next((content["confidence"] for content in contents if content.get("confidence")), 0.95)
    notes.append(
        f"[low, high] are {level:.0%} intervals over slides; ± is the standard deviation over folds. This table has no "
        "tests: a higher number is not a better method."
    )
    return notes


def _reasons(parts: list[dict], key: str) -> list[str]:
    return list(dict.fromkeys(part[key] for part in parts if part.get(key)))


# ---------------------------------------------------------------------------------------------------- as text


@dataclass(frozen=True)
class Cell:
    """A cell as shown: text, the interval below it, the value to sort by, and the drawing of its interval."""

    text: str = ""
    interval: str = ""
    value: float | str = ""
    forest: str = ""


def _estimate(row: pd.Series, key: str, draw: bool = True) -> Cell:
    if pd.isna(row[key]):
        return Cell()
    low, high = (float(row[f"{key}_{end}"]) for end in ENDS)
    drawn = forest(row[key], low, high) if draw else ""
    return Cell(f"{row[key]:.3f}", f"[{low:.3f}, {high:.3f}]", float(row[key]), drawn)


def _fold(row: pd.Series, key: str) -> Cell:
    if pd.isna(row[key]):
        return Cell()
    sd = row[f"{key}_sd"]
    return Cell(f"{row[key]:.3f}", "" if pd.isna(sd) else f"± {sd:.3f}", float(row[key]))


def shown(table: Measures) -> tuple[list[tuple[str, str, str]], list[list[Cell]]]:
    """Return (key, heading, group) of the shown columns, and one list of cells per method, without empty columns."""
    frame = table.frame
    heads = [("encoder", "Encoder", "")] if frame["encoder"].nunique() > 1 else []
    heads += [("method", "Method", "")]
    heads += [(key, head, group) for key, head, group in ESTIMATES if frame[key].notna().any()]
    heads += [(f"{key}_cv", head, "Cross-validation") for key, head in FOLDS if frame[f"{key}_cv"].notna().any()]
    heads += [(key, head, "Lesions found, by size") for key, head in _bins() if frame[key].notna().any()]
    rows = []
    for place, (_, row) in enumerate(frame.iterrows()):
        cells = []
        for key, _, group in heads:
            if key == "encoder":
                cells.append(Cell(row[key], value=row[key]))
            elif key == "method":
                cells.append(Cell(paper.parse(row[key]).label, value=place))
            else:
                cells.append(_fold(row, key) if group == "Cross-validation" else _estimate(row, key))
        rows.append(cells)
    return heads, rows


def to_csv(table: Measures) -> str:
    """metrics.csv: six decimals, empty where not known."""
    return table.frame.round(6).to_csv(index=False, lineterminator="\n")


def to_markdown(table: Measures) -> str:
    """Return the table in GitHub Markdown with its notes."""
    heads, rows = shown(table)
    prefix = {"Cross-validation": "CV ", "Lesions found, by size": "lesions ", "Test slides": "test "}
    lines = [f"# {literal(table.title)}", ""]
    if table.simulated:
        lines += [f"> **{SIMULATED}**: made by this workflow, not patients' tissue.", ""]
    names = [literal(prefix.get(group, "") + head) for _, head, group in heads]
    lines += [pipe(names), pipe([":--" if group == "" else "--:" for _, _, group in heads])]
    lines += [
        pipe([" ".join(part for part in (literal(cell.text), cell.interval) if part) for cell in row]) for row in rows
    ]
    return "\n".join([*lines, "", *(f"- {literal(note)}" for note in table.notes)]) + "\n"


def to_html(table: Measures) -> str:
    """metrics.html: self-contained, sorted by a click (or key) on a column header."""
    heads, rows = shown(table)
    several = table.frame["encoder"].nunique() > 1
    places = [place for place, (key, _, _) in enumerate(heads) if key != "encoder"]
    columns = [
        Head(key, head, group, f"{group}: {head}" if group else head, _first(key, group))
        for key, head, group in (heads[place] for place in places)
    ]
    body = []
    for number, (cells, encoder) in enumerate(zip(rows, table.frame["encoder"], strict=True)):
        name = escape(cells[places[0]].text) + (f'<span class="interval">{escape(encoder)}</span>' if several else "")
        line = [Item(name, number)]
        for cell in (cells[place] for place in places[1:]):
            interval = f'<span class="interval">{escape(cell.interval)}</span>' if cell.interval else ""
            line.append(Item((escape(cell.text) + interval + cell.forest) or "–", cell.value))
        body.append(line)
    return page(
        table.title,
        f"<h1>{escape(table.title)}</h1>\n{badge(SIMULATED, table.simulated)}\n"
        + sortable(columns, body, "Measures of use", tools=download("metrics.csv", to_csv(table)))
        + listed(table.notes),
    )


def _first(key: str, group: str) -> str:
    return "ascending" if not group or key.startswith("brier") else "descending"
