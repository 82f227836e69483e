"""Names of centres, encoders, data sets and files are text in every table and figure, whatever is in them."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from chowder.evaluation import curve_figure
from chowder.report.table import entry, html, latex, measures, repeats
from chowder.report.table import rows as table
from chowder.report.table.markdown import to_markdown
from chowder.report.table.text import literal

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a|b",
    "a\\|b",
    "a\\",
    "`code`",
    "[x](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "**bold** _it_ ~~gone~~",
    "$x^2$",
    "\\input{/etc/passwd}",
    "{}%&#^~",
    "&lt;b&gt;",
    "two\nlines\n\n# head",
    "'; DROP TABLE",
)


def bench(name: str) -> table.Benchmark:
    test = {"auc": 0.8, "low": 0.7, "high": 0.9, "slides": 8, "positives": 4, "by_center": {name: {"auc": 0.75}}}
    froc = {"available": False, "reason": f"a file called {name} is damaged"}
    content = {"competition": test, "cv": {"auc_mean": 0.7, "auc_sd": 0.1, "folds": [{}, {}]}}
    rows = [
        entry.entry(content, froc, None, encoder=name, method=method, ensemble=1, mode="official")
        for method in ("meanpool", "maxpool")
    ]
    return table.build(rows, settings={"dataset": name, "simulated": True, "labels": name, "relabelled": [name]})


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {key for key, _ in attrs}

    def handle_data(self, data):
        self.text += data


def parsed(page: str) -> Tags:
    reader = Tags()
    reader.feed(page)
    return reader


def pages(name: str) -> list[str]:
    found = [html.to_html(bench(name))]
    found.append(repeats.to_html(name, [(name, "meanpool", 2, {}), ("b", "meanpool", 2, {})], 0.95, True))
    frame = pd.DataFrame({"encoder": [name, "b"], "method": "meanpool"})
    for key, _, _ in measures.ESTIMATES:
        frame[key] = frame[f"{key}_low"] = frame[f"{key}_high"] = 0.5
    for key in [f"{key}_cv" for key, _ in measures.FOLDS] + [column for column, _ in measures._bins()]:
        for end in ("", "_sd", "_low", "_high", "_lesions"):
            frame[f"{key}{end}"] = 0.5
    made = measures.Measures(frame, name, False, [name])
    return [*found, measures.to_html(made)]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_tags_of_a_harmless_name_and_shows_the_name(name):
    for page, harmless in zip(pages(name), pages("harmless"), strict=True):
        found, wanted = parsed(page), parsed(harmless)
        assert found.tags == wanted.tags
        assert found.attributes == wanted.attributes
        assert name in found.text


def cells(line: str) -> list[str]:
    """Cells of a table row in GitHub Markdown: split at bars before which no backslash is (GFM 4.10)."""
    return re.split(r"(?<!\\)(?:\\\\)*\|", line.strip().removeprefix("|").removesuffix("|"))


@pytest.mark.parametrize("name", NAMES)
def test_markdown_holds_no_markup_of_a_name(name):
    made = measures.Measures(pd.DataFrame({"encoder": [name, "b"], "method": "meanpool"}), name, False, [name])
    for key in [key for key, _, _ in measures.ESTIMATES] + [f"{key}_cv" for key, _ in measures.FOLDS]:
        made.frame[key] = None
    for key, _ in measures._bins():
        made.frame[key] = None
    rows = [(name, "meanpool", 2, {}), ("b", "meanpool", 2, {})]
    for text in (to_markdown(bench(name)), measures.to_markdown(made), repeats.to_markdown(name, rows, 0.95, False)):
        assert not re.search(r"<[A-Za-z/!?]", text)
        assert not re.search(r"(?<!\\)\]\(|(?<!\\)`|(?<!\\)\$|&lt;b", text)
        assert len([line for line in text.splitlines() if line.startswith("# ")]) == 1
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(cells(line)) for line in lines}) == 1, lines


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("AUC 0.850 [0.750, 0.950], p < 0.001 & more", None),
        ("efficientnet_lite0, timm:a/b.c-d", None),
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("<b>", "&lt;b>"),
        ("x_", r"x\_"),
        ("[a](b)", r"[a\](b)"),
        ("a\n\nb", "a b"),
        ("&amp;", "&amp;amp;"),
        ("C:\\data", None),
    ],
)
def test_plain_text_stays_and_markup_becomes_text(text, wanted):
    assert literal(text) == (text if wanted is None else wanted)


def unescaped(text: str) -> str:
    """What is left of a name in LaTeX when the escapes of latex() are taken away."""
    text = re.sub(r"\\text(backslash|asciitilde|asciicircum)\{\}", "", text)
    return re.sub(r"\\[&%$#_{}]", "", text)


@pytest.mark.parametrize("name", NAMES)
def test_latex_holds_no_command_of_a_name(name):
    assert not re.search(r"[\\&%$#_{}~^]|\n", unescaped(latex.latex(name)))
    text, harmless = latex.to_latex(bench(name)), latex.to_latex(bench("harmless"))
    assert latex.latex(name) in text

    def commands(some: str) -> list[str]:
        return re.findall(r"\\[a-z]+", re.sub(r"\\text(backslash|asciitilde|asciicircum)\{\}", "", some))

    assert commands(text) == commands(harmless)
    for sign in "{}":
        assert unescaped(text).count(sign) == unescaped(harmless).count(sign)


@pytest.mark.parametrize("name", NAMES)
def test_a_csv_gives_the_name_back_and_its_head_is_no_formula(name):
    made = bench(name)
    rows = list(csv.DictReader(io.StringIO(table.to_csv(made), newline="")))
    assert {row["encoder"] for row in rows} == {name}
    assert f"auc_test_{name}" in rows[0]


@pytest.mark.parametrize("name", [*NAMES, "_hidden", "$\\frac{", "\u202e"])
def test_a_figure_shows_any_folder_name(tmp_path, name):
    part = {"score": 0.5, "low": 0.4, "high": 0.6, "sens_at": {f"{rate:g}": 0.5 for rate in curve_figure.RATES}}
    rows = [{"fps": 1.0, "sensitivity": 0.5, "low": 0.4, "high": 0.6}]
    curve_figure.draw(tmp_path / "a.svg", [(name, part, rows)])
    assert (tmp_path / "a.svg").stat().st_size > 1000
