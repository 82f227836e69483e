"""Tables as pages of their own: sorting, columns that can be hidden, print, and nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

GROUPS = 12  # groups of columns that the style can hide

STYLE = """
:root{color-scheme:light;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--band:#f6f8fa;--accent:#0072b2;--paper:#fbf7ee}
*{box-sizing:border-box}body{margin:0;font:15px/1.45 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
color:var(--ink);background:#fff}
main{max-width:112rem;margin:0 auto;padding:1.2rem}h1{font-size:1.45rem;margin:0 0 .5rem}a{color:var(--accent)}
.simulated{display:inline-block;margin:.2rem 0 1rem;padding:.35rem .7rem;border-left:5px solid #d55e00;
background:#fff3ea}
.tools{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;align-items:center;margin:.4rem 0 .6rem;padding:0;border:0;
font-size:.9rem}
.tools legend{float:left;padding:0;margin-right:1rem;color:var(--soft)}.tools label{cursor:pointer;white-space:nowrap}
.tools input{margin:0 .35em 0 0;vertical-align:-.1em}
.scroll{overflow:auto;max-height:88vh;border:1px solid var(--line);border-radius:6px}
.scroll:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:separate;border-spacing:0;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .5rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
tbody th,tbody td{background:#fff}
thead{position:sticky;top:0;z-index:3}thead th{background:var(--band);font-weight:600;vertical-align:bottom;
white-space:normal;line-height:1.2}
thead tr.groups th{text-align:center;font-size:.8em;color:var(--soft)}
thead tr.groups th:not(.name){border-bottom:0}
.name{position:sticky;left:0;z-index:2;border-right:1px solid var(--line)}thead tr.groups th.name{z-index:4;
font-size:1em;color:inherit}
th.text,td.text,thead tr.groups th.text{text-align:left}tbody tr:hover>*{background:#eef5fb}
tbody tr:last-child>*{border-bottom:0}
th.first,td.first{border-left:1px solid var(--line)}tbody th{font-weight:600}
tbody td.paper,thead th.paper{background:var(--paper);color:#5b5443;font-style:italic}
thead td{background:var(--band);border-bottom:0}sup{line-height:0}
.interval,.p{display:block;font-size:.8em;line-height:1.3;font-weight:400;color:var(--soft)}.near{color:#5d666f}.best{font-weight:700}
.none{color:#8b949e}sup a{text-decoration:none;padding:0 .15em}li:target{background:#fff3ea}
thead button{all:unset;cursor:pointer;display:inline-block;padding:.1rem}
thead button:focus-visible{outline:2px solid var(--accent)}
thead button::after{content:"\\2195";opacity:.35;margin-left:.25em;font-size:.8em}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
.forest{display:block;margin-left:auto}.key{margin:.5rem 0;color:#3c444d;font-size:.95em}
ul.notes{color:#3c444d;max-width:75rem;padding-left:1.2rem}ul.notes li{margin:.25rem 0}
summary{cursor:pointer;padding:.3rem 0}
@media (max-width:1500px){main{padding:.9rem}table{font-size:14px}th,td{padding:.34rem .38rem}
.forest{width:80px;height:11px}}
@media (max-width:1200px){main{padding:.7rem}table{font-size:12.5px}th,td{padding:.3rem .28rem}
.forest{width:70px;height:10px}}
@page{size:A4 landscape;margin:10mm}
@media print{body{font-size:10px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
main{padding:0;max-width:none}
.tools,.screen{display:none}.scroll{overflow:visible;max-height:none;border:0}
table{font-size:9.5px;width:auto;min-width:70%}th,td{padding:2px 4px}
thead,.name{position:static}tr,li{break-inside:avoid}
thead button::after{content:""!important;margin:0}.forest{width:56px;height:8px}h1{font-size:15px}
details::details-content{content-visibility:visible;block-size:auto}}
""" + "".join(
    f'.board:has(input[data-group="g{place}"]:not(:checked)) .g{place}{{display:none}}\n' for place in range(GROUPS)
)

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
        var numbers = !isNaN(x) && !isNaN(y);
        var sign = numbers ? Number(x) - Number(y) : String(x).localeCompare(String(y));
        return up ? sign : -sign;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
addEventListener("beforeprint", function () {
  document.querySelectorAll("details").forEach(function (part) { part.open = true; });
});
"""


@dataclass(frozen=True)
class Head:
    """A column: key, heading, the group of columns it is in, what it means, and how a click sorts it first.

    ``kind``: classes of its cells: ``paper`` for the paper's numbers, ``text`` for words.
    """

    key: str
    text: str
    group: str = ""
    title: str = ""
    first: str = "descending"
    kind: str = ""


@dataclass(frozen=True)
class Item:
    """A cell: its HTML, and the value that the column is sorted by ("" sorts last)."""

    html: str
    value: float | str = ""


def sortable(
    heads: Sequence[Head], rows: Sequence[Sequence[Item]], label: str, *, hidden: Collection[str] = (), tools: str = ""
) -> str:
    """Return a sortable table whose first column and heading stay in view.

    A column's group can be hidden by a box above the table, groups in ``hidden`` are so at first; the group ``""`` and
    the first one with a name always show. ``label`` names the table for screen readers. ``tools``: HTML beside the
    boxes, such as :func:`download`.
    """
    groups = list(dict.fromkeys(head.group for head in heads if head.group))[1:]
    class_of = {group: f"g{place}" for place, group in enumerate(groups[:GROUPS])}
    starts = [place for place, head in enumerate(heads) if place and head.group != heads[place - 1].group]

    def classes(place: int) -> str:
        head = heads[place]
        names = ["name text"] if place == 0 else [head.kind, class_of.get(head.group, "")]
        return " ".join(filter(None, [*names, "first" if place in starts else ""]))

    def column(place: int, more: str = "") -> str:
        head = heads[place]
        meaning = escape(head.title or head.text)
        return (
            f'<th class="{classes(place)}" scope="col"{more} data-column="{escape(head.key)}" aria-sort="none" '
            f'data-first="{head.first}"><button type="button" title="{meaning}. Click to sort.">'
            f"{escape(head.text)}</button></th>"
        )

    over = [column(0, ' rowspan="2"')]
    bounds = sorted({1, *starts, len(heads)} - {0})
    for start, end in pairwise(bounds):
        group = heads[start].group
        over.append(
            f'<th class="{classes(start)}" colspan="{end - start}" scope="colgroup">{escape(group)}</th>'
            if group
            else f'<td class="{classes(start)}" colspan="{end - start}"></td>'
        )
    body = []
    for row in rows:
        body.append("<tr>")
        for place, cell in enumerate(row):
            tag = 'th scope="row"' if place == 0 else "td"
            value = escape(str(cell.value))
            body.append(f'<{tag} class="{classes(place)}" data-value="{value}">{cell.html}</{tag.split()[0]}>')
        body.append("</tr>\n")
    boxes = "".join(
        f'<label><input type="checkbox" data-group="{name}"{"" if group in hidden else " checked"}>'
        f"{escape(group)}</label>"
        for group, name in class_of.items()
    )
    legend = "<legend>Columns</legend>" if boxes else ""
    above = f'<fieldset class="tools">{legend}{boxes}{tools}</fieldset>' if boxes or tools else ""
    return (
        f'<div class="board">{above}<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="sortable">\n<thead><tr class="groups">{"".join(over)}</tr>\n'
        f"<tr>{''.join(column(place) for place in range(1, len(heads)))}</tr></thead>\n"
        f"<tbody>\n{''.join(body)}</tbody></table></div></div>"
    )


def plain(heads: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """Return a table of words that does not sort."""
    top = "".join(f'<th class="text" scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>\n" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def download(name: str, text: str) -> str:
    """Return a link that saves ``text`` (CSV) under a name. The text is in the link itself."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{escape(name)}" href="data:text/csv;charset=utf-8;base64,{data}">Download {escape(name)}</a>'


def badge(words: str, simulated: bool) -> str:
    """Return the sign that says that slides are simulated, nothing where they are not."""
    return f'<p class="simulated"><strong>{escape(words)}</strong>: not patients’ tissue.</p>' if simulated else ""


def listed(notes: Sequence[str]) -> str:
    """Return sentences as a list."""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """Return a whole HTML page with style and script inside it; nothing is loaded from anywhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}{style}</style></head>\n<body><main>\n{body}\n</main><script>{SCRIPT}{script}</script>"
        "</body></html>\n"
    )
