"""The benchmark table: one row per method, intervals, the paper's figures in columns of their own.

``benchmark.csv`` holds the numbers; Markdown, LaTeX and HTML show the same numbers with the best value marked, and
with ≈ at those that a paired test (``tests.csv``) does not tell apart from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from chowder import paper
from chowder.files import UserError, read_json
from chowder.methods import UNDERTRAINED_ADVICE

RATES = ("0.25", "0.5", "1", "2", "4", "8")
SENSITIVITIES = [f"sens_at_{rate}" for rate in RATES]
BEFORE = ["encoder", "method", "ensemble", "auc_cv", "auc_cv_sd", "auc_test", "auc_test_low", "auc_test_high"]
BEFORE += ["froc", "froc_low", "froc_high", *SENSITIVITIES]
AFTER = ["train_seconds", "paper_auc_cv", "paper_auc_test", "paper_froc"]
#: column of tests.csv: its name in the table
TESTED = {"auc_cv": "AUC, cross-validation", "auc_test": "AUC, test", "froc": "FROC"}
TEST_COLUMNS = ("encoder", "column", "method", "against", "difference", "low", "high", "p", "p_holm", "test")
#: column of the best-marked metrics: (its lower end, its upper end), or (its standard deviation,).
SPREAD = {"auc_cv": ("auc_cv_sd",), "auc_test": ("auc_test_low", "auc_test_high"), "froc": ("froc_low", "froc_high")}
SIMULATED = "SIMULATED slides"


@dataclass
class Benchmark:
    """The table and what has to be said with it. ``frame`` has the columns of benchmark.csv, NaN where not known.

    ``tests``: the rows of tests.csv (:data:`TEST_COLUMNS`), none where no test was made. ``remarks``: sentences for the
    notes under the table.
    """

    frame: pd.DataFrame
    dataset: str
    simulated: bool
    tests: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TEST_COLUMNS)))
    counts: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    confidence: float = 0.95
    mode: str = "official"

    @property
    def title(self) -> str:
        return f"Benchmark on {self.dataset}" + (f" – {SIMULATED}" if self.simulated else "")

    @property
    def level(self) -> float:
        """The p below which two methods are told apart."""
        return round(1 - self.confidence, 12)

    def against_best(self, encoder: str, method: str, column: str) -> pd.Series | None:
        """The test of a method against the best of its encoder in one column, None where there is none."""
        rows = self.tests[(self.tests["encoder"] == encoder) & (self.tests["column"] == column)]
        group = self.frame[self.frame["encoder"] == encoder].set_index("method")[column]
        best = set(group.index[group == group.max()])
        rows = rows[(rows["method"] == method) & rows["against"].isin(best)]
        return None if rows.empty else rows.iloc[0]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def method_entry(
    auc: Path, froc: Path | None, timing: Path | None, *, encoder: str, method: str, settings: dict
) -> tuple[dict, dict]:
    """Return :func:`entry` of the files. ``settings``: froc_mode (else the files')."""
    content = read_json(auc)
    mode = settings.get("froc_mode") or (content.get("settings") or {}).get("froc_mode") or "official"
    return entry(
        content,
        read_json(froc) if froc else None,
        read_json(timing) if timing else None,
        encoder=encoder,
        method=method,
        ensemble=int(content.get("ensemble") or 1),
        mode=mode,
    )


def read_tests(path: Path | None) -> pd.DataFrame | None:
    """Read tests.csv; None without a path.

    Errors: :class:`UserError` when a column is missing.
    """
    if path is None:
        return None
    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(("encoder", "column", "method", "against", "test"), str))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}): delete it and rerun `tests_table`") from None
    missing = [column for column in TEST_COLUMNS if column not in rows]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}: delete it and rerun `tests_table`")
    return rows


def matched(paths: Sequence, wanted: int, option: str) -> list:
    """One of ``paths`` a method, or as many None when there are none; else :class:`UserError` naming ``option``."""
    if paths and len(paths) != wanted:
        raise UserError(f"{option}: {len(paths)} given for {wanted} methods; give one a method, in the same order")
    return list(paths) or [None] * wanted


def entry(auc: dict, froc: dict | None, timing: dict | None, *, encoder: str, method: str, ensemble: int, mode: str):
    """One row of benchmark.csv from the contents of a method's auc.json, froc.json and timing file.

    This is the only place that knows how those files are laid out. Returns (row, info): ``info`` has the reasons for
    what is missing and the counts of slides and lesions behind the numbers. ``info["notes"]``, a list of sentences,
    is shown under the table, after the method's name.
    """
    row: dict[str, Any] = {"encoder": encoder, "method": method, "ensemble": ensemble}
    info: dict[str, Any] = {"mode": mode, "confidence": (auc.get("settings") or {}).get("confidence")}
    test, cv = auc.get("competition"), auc.get("cv") or {}
    row["auc_cv"], row["auc_cv_sd"] = _number(cv.get("auc_mean")), _number(cv.get("auc_sd"))
    if cv.get("auc_mean") is None:
        info["no_cv"] = auc.get("cv_reason") or cv.get("reason") or "no cross-validation was made"
    else:
        info["folds"] = len(cv.get("folds") or [])
    for key in ("auc", "low", "high"):
        row["auc_test" if key == "auc" else f"auc_test_{key}"] = _number((test or {}).get(key))
    if test:
        info |= {"test_slides": test.get("slides"), "test_positives": test.get("positives")}
        for centre, part in sorted((test.get("by_center") or {}).items()):
            row[f"auc_test_{centre}"] = _number((part or {}).get("auc"))
    else:
        info["no_test"] = auc.get("competition_reason") or "the slides table has no test split"
    part = (froc or {}).get(mode) if (froc or {}).get("available", froc is not None) else None
    row |= {"froc": _number((part or {}).get("score"))}
    row |= {f"froc_{end}": _number((part or {}).get(end)) for end in ("low", "high")}
    at = {float(rate): value for rate, value in ((part or {}).get("sens_at") or {}).items()}
    row |= {f"sens_at_{rate}": _number(at.get(float(rate))) for rate in RATES}
    if part:
        info |= {key: froc.get(key) for key in ("lesions", "itc", "detections", "expected_lesions", "warnings")}
        info["froc_slides"] = froc.get("slides")
    else:
        info["no_froc"] = (froc or {}).get("reason") or "no lesion evaluation was made"
    row["train_seconds"] = _number((timing or {}).get("train_seconds"))
    info["notes"] = undertrained((timing or {}).get("undertrained") or {}, ensemble)
    return row, info


def undertrained(by_split: dict[str, list[int]], ensemble: int) -> list[str]:
    """Return a sentence about the members that learnt nothing, listed by split; no sentence where there are none."""
    counts = {split: len(members) for split, members in by_split.items() if members}
    if not counts:
        return []
    return [
        "members that stayed on the plateau of the training loss: "
        + ", ".join(f"{count} of {ensemble} ({split})" for split, count in counts.items())
        + "."
    ]


def score_note(score: str, methods: Iterable[str]) -> str:
    """Return the sentence on the lesion scores that the FROC uses; ``score``: the config's localisation.score."""
    kinds = {paper.parse(name).family for name in methods}
    parts = []
    for kind, label in (("chowder", "CHOWDER"), ("weldon", "WELDON")):
        own = ("evidence" if kind == "chowder" else "embedding") if score == "auto" else score
        if kind in kinds:
            what = "the evidence of a tile (mean change of the logit when it is added to a training slide)"
            parts.append(f"{label}: {what if own == 'evidence' else 'the mean embedding value of the members'}")
    if kinds & {"meanpool", "maxpool"}:
        parts.append("pooled baselines: the logit of the tile's own features")
    return f"Lesion scores behind the FROC. {'; '.join(parts)}." if parts else ""


def build(
    entries: Sequence[tuple[dict, dict]],
    slides: pd.DataFrame | None = None,
    summary: pd.DataFrame | None = None,
    settings: dict | None = None,
    tests: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> Benchmark:
    """Return the whole table from the rows of :func:`entry`, the slides table and tiles/summary.csv.

    ``settings``: dataset, simulated, confidence, froc_mode, score, leave_out_undertrained. ``tests``: the rows of
    tests.csv. ``notes``: more sentences for under the table. Rows are sorted by encoder, family and R.
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
    theirs = [paper.lookup(row["method"], row["ensemble"]) for row, _ in entries]
    for column, values in (
        ("paper_auc_cv", [numbers.auc_cv for numbers in theirs]),
        ("paper_auc_test", [numbers.auc_test for numbers in theirs]),
        ("paper_froc", [numbers.froc for numbers in theirs]),
    ):
        frame[column] = [_number(value) for value in values]
    frame = frame[BEFORE + centres + AFTER]
    remarks = [*rankings(frame), *notes]
    for row, info in entries:
        label = paper.parse(row["method"]).label + ("" if frame["encoder"].nunique() == 1 else f" ({row['encoder']})")
        remarks += [f"{label}: {line}" for line in info.get("notes") or []]
    if any(info.get("notes") for _, info in entries):
        average = "left out of" if settings.get("leave_out_undertrained") else "part of"
        remarks.append(
            "A member on the plateau has a cross-entropy on its training slides above 90 % of a constant prediction's. "
            f"Such members are {average} the averages. What helps: {UNDERTRAINED_ADVICE}."
        )
    if frame["froc"].notna().any() and (line := score_note(settings.get("score", "auto"), frame["method"])):
        remarks.append(line)
    remarks += paper.remarks(dataset, simulated, sorted(set(frame["encoder"])))
    bench = Benchmark(frame, dataset, simulated, remarks=remarks, mode=infos[0].get("mode", "official"))
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


# How a row is shown ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    text: str = ""
    interval: str = ""
    mark: str = ""
    value: float | str = ""


@dataclass(frozen=True)
class Column:
    key: str
    head: str
    group: str
    cell: Callable[[pd.Series, pd.Series], Cell]


def seconds(value: float) -> str:
    """Run time for people: ``12.3 s``, ``4.2 min``, ``1.5 h``."""
    if math.isnan(value):
        return ""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (math.inf, "h", 3600)):
        if value < limit:
            return f"{value / size:.1f} {unit}"
    return ""


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
    """The shown columns, those that are empty for every method left out (AUC and FROC always stay)."""
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
    shown += [
        Column(key, head, paper.HEADING, _plain(key, 4 if key == "paper_froc" else 3)) for key, head in heads.items()
    ]
    return shown


def notes(bench: Benchmark) -> list[str]:
    """The sentences under the table: data, how to read it, what is missing and why, the paper's numbers."""
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


def _table(bench: Benchmark) -> tuple[list[Column], list[list[Cell]]]:
    shown, mark = columns(bench), marks(bench)
    rows = [[column.cell(row, mark.loc[index]) for column in shown] for index, row in bench.frame.iterrows()]
    return shown, rows


def p_text(p: float) -> str:
    """p for people: three decimals, ``< 0.001`` below."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


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


def to_markdown(bench: Benchmark) -> str:
    """The table in GitHub Markdown with its notes."""
    shown, rows = _table(bench)
    prefix = {"Sensitivity at false positives per slide": "sens. at ", "Test AUC by centre": "AUC "}
    heads = [f"{prefix.get(column.group, '')}{column.head}" for column in shown]
    heads = [
        f"paper* {head}" if column.group == paper.HEADING else head for head, column in zip(heads, shown, strict=True)
    ]

    def text(cell: Cell) -> str:
        body = f"**{cell.text}**" if cell.mark == "best" else cell.text
        return " ".join(part for part in (body, cell.interval, "≈" if cell.mark == "near" else "") if part)

    lines = [f"# {bench.title}", ""]
    if bench.simulated:
        lines += [f"> **{SIMULATED}**: made by this workflow, not patients' tissue.", ""]
    lines += [_pipe(heads), _pipe([":--" if column.group == "" else "--:" for column in shown])]
    lines += [_pipe([text(cell).replace("|", r"\|") for cell in row]) for row in rows]
    lines += ["", f"\\* paper columns: {paper.HEADING}.", ""] + [f"- {line}" for line in notes(bench)]
    if not bench.tests.empty:
        lines += ["", "## Tests", "", _pipe(TEST_HEADS), _pipe([":--"] * len(TEST_HEADS))]
        lines += [_pipe([cell.replace("|", r"\|") for cell in row]) for row in tests_shown(bench)]
    return "\n".join(lines) + "\n"


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≈": r"$\approx$", "–": "--"}
_LATEX |= {"¼": "1/4", "½": "1/2", "µ": r"$\mu$"}


def latex(text: str) -> str:
    """Text made safe for LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def to_latex(bench: Benchmark) -> str:
    r"""A ``\input``-able fragment of two tables (metrics; sensitivities and centres). Needs booktabs and xcolor."""
    shown, rows = _table(bench)
    detail = ("Sensitivity at false positives per slide", "Test AUC by centre")
    main = [place for place, column in enumerate(shown) if column.group not in detail]
    rest = [
        place for place, column in enumerate(shown) if column.key in ("encoder", "method") or column.group in detail
    ]
    parts = ["% Needs \\usepackage{booktabs} and \\usepackage{xcolor}; UTF-8."]
    parts.append(
        _latex_table(shown, rows, main, bench.title, "\n".join(latex(line) for line in notes(bench)), "benchmark")
    )
    if len(rest) > 2:
        caption = f"{bench.title}: sensitivity at false positives per slide, and test AUC by centre"
        parts.append(_latex_table(shown, rows, rest, caption, "", "benchmark-detail"))
    if not bench.tests.empty:
        lines = [r"\begin{table}", r"\centering\small", rf"\caption{{{latex(bench.title)}: paired tests}}"]
        lines += [r"\label{tab:benchmark-tests}", rf"\begin{{tabular}}{{{'l' * len(TEST_HEADS)}}}", r"\toprule"]
        lines += [" & ".join(map(latex, row)) + r" \\" for row in (TEST_HEADS, *tests_shown(bench))]
        lines.insert(-len(bench.tests), r"\midrule")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n".join(parts) + "\n"


def _latex_table(shown: list, rows: list, places: list[int], caption: str, below: str, label: str) -> str:
    def text(cell: Cell) -> str:
        body = rf"\textbf{{{latex(cell.text)}}}" if cell.mark == "best" else latex(cell.text)
        body = f"{body} {{\\scriptsize {latex(cell.interval)}}}" if cell.interval else body
        return rf"\textcolor{{gray}}{{{body}$\,\approx$}}" if cell.mark == "near" else body

    groups, rules, column = [], [], 1
    while column <= len(places):
        group = shown[places[column - 1]].group
        last = column
        while last < len(places) and shown[places[last]].group == group:
            last += 1
        groups.append(rf"\multicolumn{{{last - column + 1}}}{{c}}{{{latex(group)}}}")
        rules += [rf"\cmidrule(lr){{{column}-{last}}}"] if group else []
        column = last + 1
    align = "".join("l" if shown[place].key in ("encoder", "method") else "r" for place in places)
    lines = [r"\begin{table}", r"\centering\small", rf"\caption{{{latex(caption)}}}", rf"\label{{tab:{label}}}"]
    lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(groups) + r" \\", "".join(rules)]
    lines += [" & ".join(latex(shown[place].head) for place in places) + r" \\", r"\midrule"]
    lines += [" & ".join(text(row[place]) for place in places) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\medskip\begin{{minipage}}{{\linewidth}}\footnotesize {below}\end{{minipage}}"] if below else []
    return "\n".join([*lines, r"\end{table}"])


STYLE = """
:root{color-scheme:light;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--band:#f6f8fa;--accent:#0072b2;--paper:#fbf7ee}
*{box-sizing:border-box}body{margin:0;font:15px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
color:var(--ink);background:#fff}
main{max-width:1500px;margin:0 auto;padding:1.5rem}h1{font-size:1.45rem;margin:0 0 .5rem}
.simulated{display:inline-block;margin:.2rem 0 1rem;padding:.35rem .7rem;
border-left:5px solid #d55e00;background:#fff3ea}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{background:var(--band);font-weight:600;vertical-align:bottom}
thead tr.groups th{text-align:center;font-size:.8rem;color:var(--soft);border-bottom:0;white-space:normal}
th.text,td.text{text-align:left}tbody tr:hover{background:#eef5fb}tbody tr:last-child>*{border-bottom:0}
th.first,td.first{border-left:1px solid var(--line)}tbody th{font-weight:600}
td.paper,thead th.paper{background:var(--paper);color:#5b5443;font-style:italic}
.interval{display:block;font-size:.78rem;color:var(--soft)}.near{color:#6a737d}.best{font-weight:700}
thead button{all:unset;cursor:pointer;display:inline-block;padding:.1rem}
thead button:focus-visible{outline:2px solid var(--accent)}
thead button::after{content:"\\2195";opacity:.35;margin-left:.3em;font-size:.8em}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
.forest{display:block;margin-left:auto}
ul.notes{color:#3c444d;max-width:75rem;padding-left:1.2rem}ul.notes li{margin:.25rem 0}
@media print{.scroll{overflow:visible;border:0}main{padding:0}th,td{padding:.2rem .3rem;font-size:9px}
thead button::after{content:""}}
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var heads = Array.from(table.querySelectorAll("thead th[data-column]"));
  heads.forEach(function (head, place) {
    head.querySelector("button").addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") === "descending" ? true :
        head.getAttribute("aria-sort") === "ascending" ? false : head.dataset.first === "ascending";
      heads.forEach(function (other) { other.setAttribute("aria-sort", "none"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var body = table.tBodies[0];
      Array.from(body.rows).sort(function (a, b) {
        var x = a.cells[place].dataset.value, y = b.cells[place].dataset.value;
        if (x === "" || y === "") return (x === "") - (y === "");
        var numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        var sign = numbers ? Number(x) - Number(y) : String(x).localeCompare(String(y));
        return up ? sign : -sign;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""


def forest(value: float, low: float, high: float, start: float = 0.0) -> str:
    """An inline SVG of a value and its interval on a line from ``start`` to 1, for a table cell."""
    if any(map(math.isnan, (value, low, high))):
        return ""

    def x(number: float) -> float:
        return round(2 + 86 * (min(max(number, start), 1) - start) / (1 - start), 1)

    return (
        '<svg class="forest" width="90" height="12" viewBox="0 0 90 12" aria-hidden="true">'
        f'<path d="M2 6H88" stroke="#d0d7de"/><path d="M{x(low)} 6H{x(high)}M{x(low)} 3V9M{x(high)} 3V9" '
        f'stroke="#0072b2" stroke-width="1.5"/><circle cx="{x(value)}" cy="6" r="3" fill="#0072b2"/></svg>'
    )


def html_table(bench: Benchmark) -> str:
    """The sortable ``<table>`` alone. Every cell carries the value that it is sorted by."""
    shown, rows = _table(bench)
    groups, place = [], 0
    while place < len(shown):
        last = place
        while last + 1 < len(shown) and shown[last + 1].group == shown[place].group:
            last += 1
        kind = "paper first" if shown[place].group == paper.HEADING else "first" if place else ""
        groups.append(
            f'<th class="{kind}" colspan="{last - place + 1}" scope="colgroup">{escape(shown[place].group)}</th>'
        )
        place = last + 1
    heads, body = [], []
    for place, column in enumerate(shown):
        heads.append(
            f'<th class="{_classes(shown, place)}" scope="col" data-column="{escape(column.key)}" aria-sort="none" '
            f'data-first="{"ascending" if column.group in ("", "Run time") else "descending"}">'
            f'<button type="button" title="Sort by this column">{escape(column.head)}</button></th>'
        )
    for cells, (_, row) in zip(rows, bench.frame.iterrows(), strict=True):
        body.append("<tr>")
        for place, (column, cell) in enumerate(zip(shown, cells, strict=True)):
            text = f'<span class="{cell.mark}">{escape(cell.text)}</span>' if cell.mark else escape(cell.text)
            if cell.mark == "near":
                text += f' <span class="near" title="{escape(_why(bench, row, column.key))}">≈</span>'
            text += f'<span class="interval">{escape(cell.interval)}</span>' if cell.interval else ""
            if column.key in ("auc_test", "froc"):
                text += forest(row[column.key], *(row[end] for end in SPREAD[column.key]))
            tag = 'th scope="row"' if column.key == "method" else "td"
            kind, value = _classes(shown, place), escape(str(cell.value))
            body.append(f'<{tag} class="{kind}" data-value="{value}">{text}</{tag.split()[0]}>')
        body.append("</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Benchmark table"><table class="sortable">\n'
        f'<thead><tr class="groups">{"".join(groups)}</tr>\n<tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}\n</tbody></table></div>"
    )


def _why(bench: Benchmark, row: pd.Series, column: str) -> str:
    """The test behind a mark."""
    test = bench.against_best(row["encoder"], row["method"], column)
    against = paper.parse(test["against"]).label
    return f"not told apart from {against}: p = {test['p_holm']:.3f} (Holm), {test['test']} test"


def html_tests(bench: Benchmark) -> str:
    """The list of tests as a table that opens with a click; empty without tests."""
    if bench.tests.empty:
        return ""
    heads = "".join(f'<th class="text" scope="col">{escape(head)}</th>' for head in TEST_HEADS)
    rows = (
        "<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in tests_shown(bench)
    )
    return (
        f"<details><summary>Paired tests ({len(bench.tests)})</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Paired tests"><table class="tests">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{''.join(rows)}\n</tbody></table></div></details>"
    )


def _classes(shown: list[Column], place: int) -> str:
    column = shown[place]
    names = ["text"] if column.key in ("encoder", "method") else []
    names += ["paper"] if column.group == paper.HEADING else []
    names += ["first"] if place and shown[place - 1].group != column.group else []
    return " ".join(names)


def page(title: str, body: str, style: str = "") -> str:
    """A whole HTML page with the style and the sorting script inside it; nothing is loaded from anywhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}{style}</style></head>\n<body><main>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def html_section(bench: Benchmark) -> str:
    """Badge of simulated data, table and notes, for a page."""
    badge = f'<p class="simulated"><strong>{SIMULATED}</strong>: not patients’ tissue.</p>' if bench.simulated else ""
    items = "".join(f"<li>{escape(line)}</li>" for line in notes(bench))
    return f'{badge}\n{html_table(bench)}\n<ul class="notes">{items}</ul>\n{html_tests(bench)}'


def to_html(bench: Benchmark) -> str:
    """benchmark.html: self-contained, sorted by a click (or key) on a column's head."""
    return page(bench.title, f"<h1>{escape(bench.title)}</h1>\n{html_section(bench)}")
