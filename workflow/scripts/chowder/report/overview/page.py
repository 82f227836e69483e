"""The page to open first: the answer, then what it rests on, then how it was made. One file, nothing loaded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from chowder.report import paper
from chowder.report.overview import record
from chowder.report.overview.cards import STYLE as CARD_STYLE
from chowder.report.table import html, rows
from chowder.report.table.page import badge, listed, page, plain

SOURCES = {
    "simulated": "SIMULATED slides, made by this workflow",
    "table": "slides of one's own",
    "camelyon16": "Camelyon-16, downloaded",
    "features": "features made by another tool",
}
#: groups of columns that show after a click
HIDDEN = ("Sensitivity at false positives per slide", "Test AUC by centre", "Run time")
COLUMNS = {"auc_test": "test AUC", "froc": "FROC", "auc_cv": "cross-validated AUC"}
STYLE = (
    CARD_STYLE
    + """
nav{position:sticky;top:0;z-index:6;background:#fffffff2;border-bottom:1px solid var(--line);padding:.45rem 0;
display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.92rem}nav .tag{margin-left:auto}
h2{margin:2.2rem 0 .6rem;font-size:1.25rem;border-bottom:1px solid var(--line);scroll-margin-top:3.2rem}
h3{margin:1.4rem 0 .4rem;font-size:1.05rem}h2,h3{break-after:avoid}
.tag{font-size:.75rem;font-weight:700;color:#8a3300;background:#fff3ea;border:1px solid #d55e00;border-radius:4px;
padding:.05rem .4rem;vertical-align:middle;white-space:nowrap}
.answer{font-size:1.12rem;max-width:80rem}.answer li{margin:.3rem 0}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.8rem 0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:1.2rem;align-items:start}
figure{margin:0;scroll-margin-top:3.2rem;break-inside:avoid;min-width:0}
figure img{display:block;max-width:min(100%,62rem);height:auto;border:1px solid var(--line)}
figcaption{max-width:62rem;color:#3c444d;font-size:.92rem}figcaption p{margin:.3rem 0}.files{font-size:.85rem}
pre{background:var(--band);padding:.8rem;overflow:auto;max-height:30rem;font-size:.82rem}
@media print{nav,.files{display:none}figure img{max-height:125mm}
.figures{grid-template-columns:1fr 1fr;gap:8px}pre{max-height:none;font-size:7px;columns:2}
.answer{font-size:12px}.tag{font-size:8px}figcaption{font-size:8.5px}h2{font-size:13px;margin:12px 0 4px}
h3{font-size:11px;margin:8px 0 3px}}
"""
)


def tag(simulated: bool) -> str:
    """Return the word that says that numbers are of simulated slides, for headings."""
    return f' <span class="tag">{rows.SIMULATED}</span>' if simulated else ""


def answer(bench: rows.Benchmark) -> list[str]:
    """Return, as HTML, which method is highest by test AUC and by FROC, with interval, and what tests make of it.

    The cross-validated AUC where there is no test split.
    """
    frame, marks, lines = bench.frame, rows.marks(bench), []
    several = frame["encoder"].nunique() > 1
    wanted = ["auc_test", "froc"] if frame["auc_test"].notna().any() else ["auc_cv", "froc"]
    for encoder, part in frame.groupby("encoder", sort=True):
        for column in wanted:
            known = part.dropna(subset=column)
            if known.empty:
                continue
            row = known.loc[known[column].idxmax()]
            ends = [row[name] for name in rows.SPREAD[column]]
            interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if len(ends) == 2 else f" ± {ends[0]:.3f}"
            interval = "" if any(end != end for end in ends) else interval
            others = [index for index in known.index if known.loc[index, column] < row[column]]
            near = sum(marks.loc[index, column] == "near" for index in others)
            told = ""
            if others and bench.tests.empty:
                told = "; no paired test was made"
            elif others:
                count = len(others) - near
                told = f"; paired tests tell {count or 'none'} of the {len(others)} others apart from it"
            name = escape(paper.parse(row["method"]).label)
            which = f" ({escape(encoder)})" if several else ""
            lines.append(
                f"<strong>{name}</strong>{which} has the highest {COLUMNS[column]}: "
                f"<strong>{row[column]:.3f}</strong>{interval}{told}.{tag(bench.simulated)}"
            )
    return lines


def facts(bench: rows.Benchmark, config: dict, settings: dict) -> str:
    """Return data set, label set, encoders, methods and seed as a list of terms."""
    counts, slides, tiles = bench.counts, config.get("slides") or {}, config.get("tiles") or {}
    source = SOURCES.get(slides.get("source", ""), str(slides.get("source", "")))
    number = f"{counts['slides']:,} slides, {counts['tumour slides']:,} with tumour" if "slides" in counts else ""
    if counts.get("test slides"):
        number += f"; test: {counts['test slides']:,}, {counts['test tumour slides']:,} with tumour"
    relabelled = settings.get("relabelled") or []
    labels = f"{settings['labels']} ({len(relabelled)} slides changed)" if settings.get("labels") else "slides table"
    members = (config.get("training") or {}).get("members")
    rows_ = [
        ("Data set", f"{bench.dataset}: {source}"),
        ("Slides", number),
        ("Label set", labels),
        ("Encoder", ", ".join(dict.fromkeys(bench.frame["encoder"]))),
        ("Tiles", f"{tiles['size']} px at {tiles['mpp']} µm/px" if {"size", "mpp"} <= set(tiles) else ""),
        ("Members", f"{members} networks per ensemble of CHOWDER and WELDON" if members else ""),
        ("Seed", str(config.get("seed", ""))),
    ]
    items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in rows_ if text)
    return f'<dl class="facts">{items}</dl>'


def warning_list(bench: rows.Benchmark, slides: Sequence[str]) -> str:
    """Return everything that a reader must be warned of: undertrained members, what is missing, slides' warnings."""
    parts = []
    if bench.simulated:
        parts.append(listed([f"{rows.SIMULATED}: the numbers of this page say nothing about real pathology."]))
    parts.append(
        "<h3>Undertrained members</h3>" + (listed(bench.undertrained) if bench.undertrained else "<p>None.</p>")
    )
    if bench.missing:
        parts.append("<h3>Missing or unusual</h3>" + listed(bench.missing))
    if slides:
        opened = " open" if len(slides) <= 12 else ""
        parts.append(
            f"<h3>Slides</h3><details{opened}><summary>{len(slides)} warnings</summary>{listed(slides)}</details>"
        )
    else:
        parts.append("<h3>Slides</h3><p>No warnings.</p>")
    return "\n".join(parts)


def time_section(found: Sequence[record.Job]) -> str:
    """Return wall time, processor time and memory of the measured jobs, by rule."""
    if not found:
        return "<p>No job was measured.</p>"
    by_rule = record.by_rule(found)
    wall, processor = sum(row[2] for row in by_rule), sum(row[3] for row in by_rule)
    lines = [
        (name, str(number), rows.seconds(seconds), rows.seconds(own), f"{memory:,.0f} MB")
        for name, number, seconds, own, memory in by_rule
    ]
    return (
        f"<p>Wall time with at least one measured job running: <strong>{rows.seconds(record.busy(found))}</strong>. "
        f"Cost: <strong>{processor / 3600:.2f} processor hours</strong>; the jobs' own wall times add up to "
        f"{rows.seconds(wall)}. From benchmarks/*.tsv: rules without such a file and Snakemake itself are not in it; "
        "a job whose result was kept counts as it was measured when it ran.</p>"
        + plain(("Rule", "Jobs", "Wall time", "Processor time", "Highest memory"), lines, "Time by rule")
    )


def version_section(commit: str) -> str:
    """Return the versions of code and packages, and the machine that made this page."""
    code = [("workflow", commit or "not a git checkout")]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in code + record.versions())
    return f'<dl class="facts">{items}<dt>machine</dt><dd>{escape(record.machine())}</dd></dl>'


def overview(
    bench: rows.Benchmark, sections: Sequence[tuple[str, str, str]], links: Sequence[tuple[str, str]], top: str
) -> str:
    """Return the page. ``sections``: (id, heading, HTML); ``links``: (path beside the page, words); ``top``: facts."""
    menu = "".join(f'<a href="#{escape(name)}">{escape(heading)}</a>' for name, heading, _ in sections)
    beside = " · ".join(f'<a href="{escape(path)}">{escape(words)}</a>' for path, words in links)
    answers, mark = "".join(f"<li>{line}</li>" for line in answer(bench)), tag(bench.simulated)
    parts = "\n".join(
        f'<section aria-labelledby="{escape(name)}"><h2 id="{escape(name)}">{escape(heading)}{mark}</h2>\n'
        f"{body}</section>"
        for name, heading, body in sections
    )
    return (
        f"<h1>{escape(bench.title)}</h1>\n{badge(rows.SIMULATED, bench.simulated)}\n"
        f'<nav aria-label="Sections">{menu}{mark}</nav>\n'
        f'<ul class="answer">{answers}</ul>\n{top}\n<p class="files">Beside this page: {beside}</p>\n{parts}'
    )


def whole(bench: rows.Benchmark, body: str, script: str) -> str:
    """Return the finished HTML."""
    return page(bench.title, body, STYLE, script)


def table_section(bench: rows.Benchmark) -> str:
    """Return the benchmark table with its key columns; the others show after a click."""
    return (
        f'<p class="key">{escape(html.key(bench))}</p>\n{html.html_table(bench, HIDDEN)}\n'
        f"<details><summary>Notes and tests</summary>{html.html_notes(bench)}{html.html_tests(bench)}</details>"
    )
