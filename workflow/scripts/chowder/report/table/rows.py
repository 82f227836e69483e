"""The benchmark table: one row per method, intervals, the paper's figures in columns of their own.

``benchmark.csv`` holds the numbers; Markdown, LaTeX and HTML show the same numbers with the best value marked, and
with ≈ at those that a paired test (``tests.csv``) does not tell apart from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from chowder.files import UserError
from chowder.models.names import PLATEAU, UNDERTRAINED_ADVICE
from chowder.report import paper, published
from chowder.report.table.entry import AFTER, BEFORE, SENSITIVITIES
from chowder.report.table.remarks import label_set, not_the_papers, score_note
from chowder.report.table.significance import TEST_COLUMNS, TESTED, p_text
from chowder.report.units import seconds

#: column of the best-marked metrics: (its lower end, its upper end), or (its standard deviation,).
SPREAD = {"auc_cv": ("auc_cv_sd",), "auc_test": ("auc_test_low", "auc_test_high"), "froc": ("froc_low", "froc_high")}
SIMULATED = "SIMULATED slides"


@dataclass
class Benchmark:
    """The table and what has to be said with it. ``frame`` has the columns of benchmark.csv, NaN where not known.

    ``tests``: the rows of tests.csv (``significance.TEST_COLUMNS``), none where no test was made. ``remarks``:
    sentences for the notes under the table. ``about``: those of them that are about one row, by (encoder, method).
    ``theirs``: the paper's numbers of each row, by column. ``undertrained``: sentences on members that learnt nothing.
    """

    frame: pd.DataFrame
    dataset: str
    simulated: bool
    tests: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TEST_COLUMNS)))
    counts: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    about: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    theirs: list[dict[str, published.Number]] = field(default_factory=list)
    undertrained: list[str] = field(default_factory=list)
    confidence: float = 0.95
    mode: str = "official"

    @property
    def title(self) -> str:
        """Heading of the table."""
        return f"Benchmark on {self.dataset}" + (f" – {SIMULATED}" if self.simulated else "")

    @property
    def shown(self) -> list[published.Number]:
        """The paper's numbers that stand in the table."""
        return [number for row in self.theirs for number in row.values()]

    @property
    def level(self) -> float:
        """The p below which two methods are told apart."""
        return round(1 - self.confidence, 12)

    def against_best(self, encoder: str, method: str, column: str) -> pd.Series | None:
        """Return the test of a method against the best of its encoder in one column, None where there is none."""
        rows = self.tests[(self.tests["encoder"] == encoder) & (self.tests["column"] == column)]
        group = self.frame[self.frame["encoder"] == encoder].set_index("method")[column]
        best = set(group.index[group == group.max()])
        rows = rows[(rows["method"] == method) & rows["against"].isin(best)]
        return None if rows.empty else rows.iloc[0]


def build(
    entries: Sequence[tuple[dict, dict]],
    slides: pd.DataFrame | None = None,
    summary: pd.DataFrame | None = None,
    settings: dict | None = None,
    tests: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    numbers: Sequence[published.Number] = (),
) -> Benchmark:
    """Return the whole table from the rows of ``entry.entry``, the slides table and tiles/summary.csv.

    ``settings``: dataset, simulated, confidence, froc_mode, score, leave_out_undertrained, repeats. ``tests``: the rows
    of tests.csv. ``notes``: more sentences for under the table. ``numbers``: published ones. Rows are sorted by
    encoder, family and R.
    """
    settings = settings or {}
    if not entries:
        raise UserError("benchmark: no method was given; name at least one in the config")
    dataset, infos = str(settings.get("dataset", "unnamed")), [info for _, info in entries]
    simulated = bool(settings.get("simulated", False))
    keys = [(row["encoder"], row["method"]) for row, _ in entries]
    double = {key for key in keys if keys.count(key) > 1}
    if double:
        raise UserError(f"benchmark: {'/'.join(sorted(double)[0])} is listed twice; list every method once")
    entries = sorted(entries, key=lambda pair: (pair[0]["encoder"], paper.parse(pair[0]["method"]).order))
    frame = pd.DataFrame([row for row, _ in entries])
    centres = sorted(name for name in frame.columns if name not in BEFORE + AFTER)
    theirs = [published.lookup(numbers, row["method"], row["ensemble"]) for row, _ in entries]
    for column in published.COLUMNS:
        frame[column] = [found[column].value if column in found else math.nan for found in theirs]
    frame = frame[BEFORE + centres + AFTER]
    remarks, about = [*rankings(frame), *notes], {}
    for row, info in entries:
        label = paper.parse(row["method"]).label + ("" if frame["encoder"].nunique() == 1 else f" ({row['encoder']})")
        about[row["encoder"], row["method"]] = [f"{label}: {line}" for line in info.get("notes") or []]
        remarks += about[row["encoder"], row["method"]]
    stayed = [line for lines in about.values() for line in lines]
    if stayed:
        average = "left out of" if settings.get("leave_out_undertrained") else "part of"
        remarks.append(
            "A member on the plateau has a cross-entropy on its training slides above "
            f"{PLATEAU * 100:.0f} % of a constant prediction's. "
            f"Such members are {average} the averages. What helps: {UNDERTRAINED_ADVICE}."
        )
    if frame["froc"].notna().any() and (line := score_note(settings.get("score", "auto"), frame["method"])):
        remarks.append(line)
    remarks += label_set(settings)
    remarks += [line] if (line := not_the_papers(frame["method"])) else []
    if settings.get("repeats", 1) > 1:
        remarks.append(
            f"Each method was trained {settings['repeats']} times: this table and its tests are those of the first. "
            "repeats.csv has the means over repeats, with their spread over repeats and over slides."
        )
    bench = Benchmark(frame, dataset, simulated, remarks=remarks, about=about, theirs=theirs, undertrained=stayed)
    bench.mode = infos[0].get("mode", "official")
    remarks += published.remarks(numbers, bench.shown, dataset, simulated, sorted(set(frame["encoder"])))
    for line, fitting in published.by_others(numbers, zip(frame["encoder"], frame["method"], strict=True)).items():
        remarks.append(line)
        for row in fitting:
            about[row].append(line)
    known = [info["confidence"] for info in infos if info.get("confidence")]
    bench.confidence = float(settings.get("confidence") or (known[0] if known else 0.95))
    bench.tests = bench.tests if tests is None else tests
    bench.counts = _counts(infos, slides, summary)
    for key, name in (("no_cv", "AUC of cross-validation"), ("no_test", "Test AUC"), ("no_froc", "FROC")):
        reasons: dict[str, list[str]] = {}
        for row, info in entries:
            if key in info:
                reasons.setdefault(str(info[key]).rstrip("."), []).append(paper.parse(row["method"]).label)
        for reason, methods in reasons.items():
            which = "" if len(methods) == len(entries) else f" for {', '.join(methods)}"
            bench.missing.append(f"{name} is empty{which}: {reason}.")
    warnings = dict.fromkeys(str(line).rstrip(".") for info in infos for line in info.get("warnings") or [])
    bench.missing += [f"Lesion evaluation: {line}." for line in warnings]
    return bench


def _counts(infos: list[dict], slides: pd.DataFrame | None, summary: pd.DataFrame | None) -> dict[str, int]:
    counts: dict[str, int] = {}
    if slides is not None:
        split, label = slides["split"].fillna(""), slides["label"].astype(int)
        counts |= {"slides": len(slides), "tumour slides": int(label.sum())}
        for name in ("train", "test"):
            counts |= {f"{name} slides": int((split == name).sum())}
            counts |= {f"{name} tumour slides": int(label[split == name].sum())}
    for key in ("froc_slides", "lesions", "itc", "expected_lesions", "folds"):
        known = [int(info[key]) for info in infos if info.get(key) is not None]
        if known:
            counts[key] = max(known)
    if summary is not None:
        sampled = summary["sampled"]
        if slides is not None and counts["train slides"]:
            trained = set(slides.loc[slides["split"].fillna("") == "train", "slide"])
            sampled = sampled[summary["slide"].isin(trained)]
        counts |= {"tiles": int(summary["tiles"].sum()), "sampled": int(sampled.sum())}
    return counts


def rankings(frame: pd.DataFrame) -> list[str]:
    """Say for each encoder how far the ranking by test AUC agrees with that by FROC (Kendall's tau-b).

    Nothing for fewer than three methods, or where one of the two is the same for all.
    """
    from scipy.stats import kendalltau

    lines = []
    for encoder, part in frame.groupby("encoder", sort=True):
        both = part[["auc_test", "froc"]].dropna()
        tau = kendalltau(both["auc_test"], both["froc"]).statistic if len(both) > 2 else math.nan
        if not math.isnan(tau):
            which = "" if frame["encoder"].nunique() == 1 else f" of {encoder}"
            lines.append(
                f"Rankings by test AUC and by FROC{which}: Kendall's tau {tau:.2f} over {len(both)} methods "
                "(1: the same order, 0: unrelated, -1: reversed)."
            )
    return lines


def marks(bench: Benchmark) -> pd.DataFrame:
    """Say which values are "best" and which are "near" it, for the columns of :data:`SPREAD`, within each encoder.

    near: the paired test against the best does not tell the two apart (``p_holm`` not below :attr:`Benchmark.level`).
    Without a test there is no mark. A lone value gets none.
    """
    frame = bench.frame
    result = pd.DataFrame("", index=frame.index, columns=list(SPREAD))
    for column in SPREAD:
        for encoder, part in frame.groupby("encoder"):
            values = part[column].dropna()
            if len(values) < 2:
                continue
            for index in values.index:
                test = bench.against_best(encoder, frame.loc[index, "method"], column)
                if values[index] == values.max():
                    result.loc[index, column] = "best"
                elif test is not None and test["p_holm"] >= bench.level:
                    result.loc[index, column] = "near"
    return result


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, and ``value``, by which a click on the column sorts."""

    text: str = ""
    interval: str = ""
    mark: str = ""
    value: float | str = ""


@dataclass(frozen=True)
class Column:
    """One column: key, heading, the group of columns around it, and how a cell is made of a row and its marks."""

    key: str
    head: str
    group: str
    cell: Callable[[pd.Series, pd.Series], Cell]


def _plain(key: str, digits: int = 3) -> Callable[[pd.Series, pd.Series], Cell]:
    def cell(row: pd.Series, _: pd.Series) -> Cell:
        value = row[key]
        return Cell() if pd.isna(value) else Cell(f"{value:.{digits}f}", value=float(value))

    return cell


def _estimate(key: str) -> Callable[[pd.Series, pd.Series], Cell]:
    def cell(row: pd.Series, mark: pd.Series) -> Cell:
        if pd.isna(row[key]):
            return Cell()
        ends = [row[name] for name in SPREAD[key]]
        interval = "" if any(map(pd.isna, ends)) else f"± {ends[0]:.3f}"
        if interval and len(ends) == 2:
            interval = f"[{ends[0]:.3f}, {ends[1]:.3f}]"
        return Cell(f"{row[key]:.3f}", interval, mark[key], float(row[key]))

    return cell


def columns(bench: Benchmark) -> list[Column]:
    """Return the shown columns, without those that are empty for every method (AUC and FROC always stay)."""
    frame, order = bench.frame, {name: place for place, name in enumerate(bench.frame["method"])}
    shown = [
        Column("encoder", "Encoder", "", lambda row, _: Cell(row["encoder"], value=row["encoder"])),
        Column(
            "method", "Method", "", lambda row, _: Cell(paper.parse(row["method"]).label, value=order[row["method"]])
        ),
        Column("ensemble", "E", "", _plain("ensemble", 0)),
        Column("auc_cv", "AUC, cross-validation", "Measured here", _estimate("auc_cv")),
        Column("auc_test", "AUC, test", "Measured here", _estimate("auc_test")),
        Column("froc", "FROC", "Measured here", _estimate("froc")),
    ]
    for key, rate in zip(SENSITIVITIES, ("¼", "½", "1", "2", "4", "8"), strict=True):
        if frame[key].notna().any():
            shown.append(Column(key, rate, "Sensitivity at false positives per slide", _plain(key)))
    for key in frame.columns:
        if key.startswith("auc_test_") and key not in BEFORE and frame[key].notna().any():
            shown.append(Column(key, key.removeprefix("auc_test_"), "Test AUC by centre", _plain(key)))
    if frame["train_seconds"].notna().any():
        shown.append(
            Column(
                "train_seconds",
                "Training",
                "Run time",
                lambda row, _: Cell(
                    seconds(row["train_seconds"]), value="" if pd.isna(row["train_seconds"]) else row["train_seconds"]
                ),
            )
        )
    heads = {"paper_auc_cv": "AUC, CV", "paper_auc_test": "AUC, test", "paper_froc": "FROC"}
    heading = published.heading(bench.shown)
    return shown + [Column(key, head, heading, _theirs(bench, key)) for key, head in heads.items()]


def _theirs(bench: Benchmark, key: str) -> Callable[[pd.Series, pd.Series], Cell]:
    """Cells of a column of the paper's: with ? where a value is remembered and others are confirmed."""
    plain, mixed = _plain(key, 4 if key == "paper_froc" else 3), published.is_mixed(bench.shown)

    def cell(row: pd.Series, mark: pd.Series) -> Cell:
        shown, number = plain(row, mark), bench.theirs[row.name].get(key)
        return replace(shown, text=f"{shown.text}?") if mixed and number and number.status == "remembered" else shown

    return cell


def notes(bench: Benchmark) -> list[str]:
    """Return the sentences under the table: data, how to read it, what is missing and why, the paper's numbers."""
    counts, lines = bench.counts, []
    if bench.simulated:
        lines.append(f"Data: {SIMULATED}, made by this workflow. These numbers say nothing about real pathology.")
    if "slides" in counts:
        text = f"{counts['slides']:,} slides ({counts['tumour slides']:,} with tumour)"
        if counts["train slides"] or counts["test slides"]:
            text += (
                f": {counts['train slides']:,} for training ({counts['train tumour slides']:,} with tumour), "
                f"{counts['test slides']:,} for testing ({counts['test tumour slides']:,} with tumour)"
            )
        if "tiles" in counts:
            where = "of them sampled for training" if counts["train slides"] else "of them sampled"
            text += f"; {counts['tiles']:,} tissue tiles, {counts['sampled']:,} {where}"
        lines.append(text + ".")
    if "lesions" in counts:
        expected = f", {counts['expected_lesions']} expected" if "expected_lesions" in counts else ""
        itc = f" ({counts['itc']:,} regions of isolated tumour cells are not counted)" if counts.get("itc") else ""
        where = f"{itc} on {counts.get('froc_slides', 0):,} slides"
        lines.append(f"FROC ({bench.mode}): {counts['lesions']:,} lesions{expected}{where}.")
    folds = f"{counts['folds']} folds" if counts.get("folds") else "folds"
    several = " of its encoder" if bench.frame["encoder"].nunique() > 1 else ""
    lines.append(
        f"[low, high] are {bench.confidence:.0%} intervals over slides; ± is the standard deviation over {folds}. "
        f"Bold: highest value{several}."
    )
    if bench.tests.empty:
        lines.append("No paired tests were made: bold does not mean better than the rest.")
    else:
        lines.append(
            f"Grey with ≈: a paired test does not tell it apart from the highest. Its p is at least {bench.level:g}, "
            "corrected by Holm for all tests of its encoder and column; the list of tests has each p. The highest was "
            "chosen by the same numbers, so p against it is a little too small."
        )
        if "auc_cv" in set(bench.tests["column"]):
            lines.append(
                "Tests of the cross-validation compare the models as trained: what training on other slides would "
                f"change is not in p, and {folds} are too few to show it."
            )
    return lines + bench.missing + bench.remarks


def shown_table(bench: Benchmark) -> tuple[list[Column], list[list[Cell]]]:
    """Return the shown columns, and one list of cells per method."""
    shown, mark = columns(bench), marks(bench)
    rows = [[column.cell(row, mark.loc[index]) for column in shown] for index, row in bench.frame.iterrows()]
    return shown, rows


TEST_HEADS = ("Column", "Method", "Against", "Difference", "p", "p (Holm)", "Test")


def tests_shown(bench: Benchmark) -> list[tuple[str, ...]]:
    """The rows of tests.csv as text, under :data:`TEST_HEADS`, with the encoder where there are several."""
    several = bench.frame["encoder"].nunique() > 1
    rows = []
    for _, row in bench.tests.iterrows():
        names = [paper.parse(row[key]).label for key in ("method", "against")]
        names[0] = f"{row['encoder']}: {names[0]}" if several else names[0]
        difference = f"{row['difference']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        p = [p_text(row[key]) for key in ("p", "p_holm")]
        rows.append((TESTED.get(row["column"], row["column"]), *names, difference, *p, row["test"]))
    return rows


def to_csv(bench: Benchmark) -> str:
    """benchmark.csv: six decimals (seconds: one), empty where not known."""
    frame = bench.frame.copy()
    frame["train_seconds"] = frame["train_seconds"].round(1)
    return frame.round(6).to_csv(index=False, lineterminator="\n")
