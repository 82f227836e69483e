"""The benchmark table as LaTeX."""

from __future__ import annotations

from chowder.report.table import rows as table

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≈": r"$\approx$", "–": "--"}
_LATEX |= {"¼": "1/4", "½": "1/2", "µ": r"$\mu$"}


def latex(text: str) -> str:
    """Text made safe for LaTeX, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def to_latex(bench: table.Benchmark) -> str:
    r"""Return a ``\input``-able fragment of two tables (metrics; sensitivities and centres).

    It needs the packages booktabs and xcolor.
    """
    shown, rows = table.shown_table(bench)
    detail = ("Sensitivity at false positives per slide", "Test AUC by centre")
    main = [place for place, column in enumerate(shown) if column.group not in detail]
    rest = [
        place for place, column in enumerate(shown) if column.key in ("encoder", "method") or column.group in detail
    ]
    parts = ["% Needs \\usepackage{booktabs} and \\usepackage{xcolor}; UTF-8."]
    parts.append(
        _latex_table(shown, rows, main, bench.title, "\n".join(latex(line) for line in table.notes(bench)), "benchmark")
    )
    if len(rest) > 2:
        caption = f"{bench.title}: sensitivity at false positives per slide, and test AUC by centre"
        parts.append(_latex_table(shown, rows, rest, caption, "", "benchmark-detail"))
    if not bench.tests.empty:
        lines = [r"\begin{table}", r"\centering\small", rf"\caption{{{latex(bench.title)}: paired tests}}"]
        lines += [r"\label{tab:benchmark-tests}", rf"\begin{{tabular}}{{{'l' * len(table.TEST_HEADS)}}}", r"\toprule"]
        lines += [" & ".join(map(latex, row)) + r" \\" for row in (table.TEST_HEADS, *table.tests_shown(bench))]
        lines.insert(-len(bench.tests), r"\midrule")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n".join(parts) + "\n"


def _latex_table(shown: list, rows: list, places: list[int], caption: str, below: str, label: str) -> str:
    def text(cell: table.Cell) -> str:
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
