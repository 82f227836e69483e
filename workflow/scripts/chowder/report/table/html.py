"""The benchmark table as a page of its own: intervals drawn, columns that sort."""

from __future__ import annotations

import math
from html import escape

import pandas as pd

from chowder.report import paper
from chowder.report.table import rows as table

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
    """Return an inline SVG of a value and its interval on a line from ``start`` to 1, for a table cell."""
    if any(map(math.isnan, (value, low, high))):
        return ""

    def x(number: float) -> float:
        return round(2 + 86 * (min(max(number, start), 1) - start) / (1 - start), 1)

    return (
        '<svg class="forest" width="90" height="12" viewBox="0 0 90 12" aria-hidden="true">'
        f'<path d="M2 6H88" stroke="#d0d7de"/><path d="M{x(low)} 6H{x(high)}M{x(low)} 3V9M{x(high)} 3V9" '
        f'stroke="#0072b2" stroke-width="1.5"/><circle cx="{x(value)}" cy="6" r="3" fill="#0072b2"/></svg>'
    )


def html_table(bench: table.Benchmark) -> str:
    """Return the sortable ``<table>`` alone. Every cell carries the value that it is sorted by."""
    shown, rows = table.shown_table(bench)
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
                text += forest(row[column.key], *(row[end] for end in table.SPREAD[column.key]))
            tag = 'th scope="row"' if column.key == "method" else "td"
            kind, value = _classes(shown, place), escape(str(cell.value))
            body.append(f'<{tag} class="{kind}" data-value="{value}">{text}</{tag.split()[0]}>')
        body.append("</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Benchmark table"><table class="sortable">\n'
        f'<thead><tr class="groups">{"".join(groups)}</tr>\n<tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}\n</tbody></table></div>"
    )


def _why(bench: table.Benchmark, row: pd.Series, column: str) -> str:
    """Return the test behind a mark."""
    test = bench.against_best(row["encoder"], row["method"], column)
    against = paper.parse(test["against"]).label
    return f"not told apart from {against}: p = {test['p_holm']:.3f} (Holm), {test['test']} test"


def html_tests(bench: table.Benchmark) -> str:
    """Return the list of tests as a table that opens with a click; empty without tests."""
    if bench.tests.empty:
        return ""
    heads = "".join(f'<th class="text" scope="col">{escape(head)}</th>' for head in table.TEST_HEADS)
    rows = (
        "<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in table.tests_shown(bench)
    )
    return (
        f"<details><summary>Paired tests ({len(bench.tests)})</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Paired tests"><table class="tests">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{''.join(rows)}\n</tbody></table></div></details>"
    )


def _classes(shown: list[table.Column], place: int) -> str:
    column = shown[place]
    names = ["text"] if column.key in ("encoder", "method") else []
    names += ["paper"] if column.group == paper.HEADING else []
    names += ["first"] if place and shown[place - 1].group != column.group else []
    return " ".join(names)


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole HTML page with the style and the sorting script inside it; nothing is loaded from anywhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}{style}</style></head>\n<body><main>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def html_section(bench: table.Benchmark) -> str:
    """Badge of simulated data, table and notes, for a page."""
    badge = (
        f'<p class="simulated"><strong>{table.SIMULATED}</strong>: not patients’ tissue.</p>' if bench.simulated else ""
    )
    items = "".join(f"<li>{escape(line)}</li>" for line in table.notes(bench))
    return f'{badge}\n{html_table(bench)}\n<ul class="notes">{items}</ul>\n{html_tests(bench)}'


def to_html(bench: table.Benchmark) -> str:
    """benchmark.html: self-contained, sorted by a click (or key) on a column's head."""
    return page(bench.title, f"<h1>{escape(bench.title)}</h1>\n{html_section(bench)}")
