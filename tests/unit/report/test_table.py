"""The benchmark table: columns, marks, what is missing and why, and the four forms it is written in."""

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmark_table as benchmark
from chowder.files import UserError, read_json
from chowder.report import published
from chowder.report.table import entry, html, latex, remarks, significance
from chowder.report.table import page as pages
from chowder.report.table import rows as table
from chowder.report.table.markdown import to_markdown

PUBLISHED = Path(__file__).resolve().parents[3] / "config/published.csv"
NUMBERS = published.read(PUBLISHED)
RATES = ("0.25", "0.5", "1", "2", "4", "8")


def auc_json(auc=0.8, half=0.1, cv=0.75, sd=0.03, centres=("RUMC", "UMCU")):
    by_center = {name: {"auc": auc - 0.01, "low": 0.5, "high": 0.9, "slides": 8} for name in centres}
    test = {"auc": auc, "low": auc - half, "high": auc + half, "slides": 16, "positives": 8, "by_center": by_center}
    return {"competition": test, "cv": {"auc_mean": cv, "auc_sd": sd, "folds": [{}, {}, {}]}}


def froc_json(score=0.4, half=0.1):
    sens = {rate: score / 2 + 0.05 * place for place, rate in enumerate(RATES)}
    part = {"score": score, "low": score - half, "high": score + half, "sens_at": sens}
    other = part | {"score": score + 0.05}
    return {
        "available": True,
        "official": part,
        "corrected": other,
        "slides": 16,
        "lesions": 21,
        "itc": 3,
        "detections": 9,
    }


def row(method, auc=None, froc=None, timing=None, encoder="resnet50", mode="official"):
    auc, froc = auc_json() if auc is None else auc, froc_json() if froc is None else froc
    return entry.entry(auc, froc, timing, encoder=encoder, method=method, ensemble=10, mode=mode)


def frame_of(**values):
    blank = dict.fromkeys(entry.BEFORE + entry.AFTER, math.nan)
    names = ["chowder_r1", "chowder_r5", "chowder_r10", "meanpool"]
    count = len(next(iter(values.values())))
    return pd.DataFrame([blank | {"encoder": "e", "method": names[i], "ensemble": 1} for i in range(count)]).assign(
        **values
    )


def made_tests(*rows, encoder="resnet50"):
    """tests.csv from (column, method, against, p_holm)."""
    about = {"encoder": encoder, "difference": -0.05, "low": -0.15, "high": 0.05, "test": "paired DeLong"}
    rows = [dict(zip(("column", "method", "against", "p_holm"), row, strict=True)) for row in rows]
    return pd.DataFrame(
        [about | row | {"p": row["p_holm"] / 2} for row in rows], columns=list(significance.TEST_COLUMNS)
    )


TESTS = made_tests(
    ("auc_test", "weldon_r10", "chowder_r5", 0.21),
    ("auc_test", "meanpool", "chowder_r5", 0.0004),
    ("auc_cv", "weldon_r10", "chowder_r5", 0.05),
    ("auc_cv", "meanpool", "chowder_r5", 0.049),
    ("froc", "weldon_r10", "chowder_r5", 1.0),
    ("froc", "meanpool", "chowder_r5", 0.01),
)


def demo(tests=TESTS, numbers=NUMBERS, **settings):
    rows = [
        row("chowder_r5", auc_json(0.90), timing={"train_seconds": 12.34}),
        row("meanpool", auc_json(0.70, cv=0.5), froc_json(0.1)),
        row("weldon_r10", auc_json(0.85, cv=0.74), froc_json(0.35), {"train_seconds": 300}),
    ]
    slides = pd.DataFrame({"slide": list("abcd"), "label": [0, 1, 0, 1], "split": ["train", "train", "test", "test"]})
    summary = pd.DataFrame({"slide": list("abcd"), "tiles": [1000, 2000, 3000, 4000], "sampled": [500] * 4})
    settings = {"dataset": "demo", "simulated": True} | settings
    return table.build(rows, slides, summary, settings, tests, numbers=numbers)


def test_columns_are_the_contract():
    bench = demo()
    before = "encoder method ensemble auc_cv auc_cv_sd auc_test auc_test_low auc_test_high froc froc_low froc_high"
    after = "auc_test_RUMC auc_test_UMCU train_seconds paper_auc_cv paper_auc_test paper_froc"
    wanted = before.split() + [f"sens_at_{rate}" for rate in RATES] + after.split()
    assert list(bench.frame.columns) == wanted
    assert table.to_csv(bench).splitlines()[0] == ",".join(wanted)


def test_rows_are_sorted_and_hold_what_the_files_say():
    frame = demo().frame
    assert list(frame["method"]) == ["meanpool", "weldon_r10", "chowder_r5"]
    last = frame.iloc[2]
    assert last["auc_test"] == 0.90 and last["auc_test_low"] == pytest.approx(0.80) and last["auc_cv_sd"] == 0.03
    assert last["froc"] == 0.4 and last["sens_at_0.25"] == 0.2 and last["sens_at_8"] == pytest.approx(0.45)
    assert last["auc_test_RUMC"] == pytest.approx(0.89) and last["train_seconds"] == 12.34
    assert (last["paper_auc_cv"], last["paper_auc_test"], last["paper_froc"]) == (0.903, 0.858, 0.3103)
    assert math.isnan(frame.iloc[0]["train_seconds"]) and frame.iloc[0]["paper_auc_test"] == 0.530


def test_corrected_mode_takes_the_other_score():
    assert row("meanpool", mode="corrected")[0]["froc"] == pytest.approx(0.45)


def test_csv_is_read_back_with_empty_cells_where_nothing_is_known(tmp_path):
    missing = {"available": False, "reason": "no annotation"}
    bench = table.build([row("meanpool", froc=missing)], settings={"dataset": "d"})
    path = tmp_path / "b.csv"
    path.write_text(table.to_csv(bench))
    read = pd.read_csv(path, keep_default_na=False)
    assert read.loc[0, "froc"] == "" and read.loc[0, "sens_at_2"] == "" and read.loc[0, "train_seconds"] == ""
    assert read.loc[0, "auc_test"] == 0.8


def test_empty_froc_and_missing_test_split_say_why_in_every_form():
    auc = {"competition": None, "competition_reason": "the slides table has no test split", "cv": auc_json()["cv"]}
    bench = table.build([row("meanpool", auc, {"available": False, "reason": "no lesions are drawn"})])
    for text in (to_markdown(bench), latex.to_latex(bench), html.to_html(bench)):
        assert (
            "FROC is empty: no lesions are drawn" in text and "Test AUC is empty: the slides table has no test" in text
        )
    assert "sens. at" not in to_markdown(bench)


def test_a_reason_of_some_methods_names_them():
    bench = table.build([row("meanpool"), row("chowder_r5", froc={"available": False, "reason": "no detections"})])
    assert "FROC is empty for CHOWDER R=5: no detections." in bench.missing


def test_the_tests_are_the_only_source_of_the_mark_near():
    marks = table.marks(demo())
    assert list(marks["auc_test"]) == ["", "near", "best"]  # meanpool, weldon_r10, chowder_r5
    assert list(marks["auc_cv"]) == ["", "near", "best"]  # 0.049 and 0.05
    assert list(marks["froc"]) == ["", "near", "best"]
    assert set(table.marks(demo(None)).to_numpy().ravel()) == {"", "best"}
    # a test against another method is no test against the best
    others = made_tests(("auc_test", "weldon_r10", "meanpool", 0.9), ("auc_test", "meanpool", "weldon_r10", 0.9))
    assert list(table.marks(demo(others))["auc_test"]) == ["", "", "best"]


def test_marks_follow_the_confidence_and_stay_inside_an_encoder():
    assert list(table.marks(demo(confidence=0.99))["auc_cv"]) == ["near", "near", "best"]
    rows = [row("meanpool", auc_json(0.7)), row("maxpool", auc_json(0.8)), row("meanpool", auc_json(0.9), encoder="e")]
    bench = table.build(rows, tests=made_tests(("auc_test", "meanpool", "maxpool", 0.5)))
    marked = {
        (r.encoder, r.method): m for r, m in zip(bench.frame.itertuples(), table.marks(bench)["auc_test"], strict=True)
    }
    assert marked == {("e", "meanpool"): "", ("resnet50", "meanpool"): "near", ("resnet50", "maxpool"): "best"}
    assert "highest value of its encoder" in to_markdown(bench)


def test_equal_values_are_both_best():
    bench = table.build([row("meanpool"), row("maxpool")], tests=made_tests(("froc", "maxpool", "meanpool", 1.0)))
    assert list(table.marks(bench)["froc"]) == ["best", "best"]


def test_every_mark_is_explained_by_its_p_value():
    page = html.to_html(demo())
    reasons = re.findall(r'title="((?:not )?told apart[^"]*)"', page)
    assert len(reasons) == page.count('<span class="p"') == len(TESTS)  # on hover and in the cell
    assert page.count(">≈ p = ") == sum(reason.startswith("not ") for reason in reasons) == 3
    assert reasons[4].startswith("not told apart from CHOWDER R=5: p = 0.210 (Holm), paired DeLong test, difference")
    assert ">≈ p = 0.210</span>" in page and ">p &lt; 0.001</span>" in page and ">p = 0.049</span>" in page
    for text in (page, to_markdown(demo()), latex.to_latex(demo())):
        assert "< 0.001" in text or "&lt; 0.001" in text
        assert "-0.050 [-0.150, 0.050]" in text and "0.105" in text
    assert "corrected by Holm" in html.key(demo()) and "Holm" not in html.key(demo(None))
    assert "No paired tests were made" in to_markdown(demo(None)) and "≈" not in to_markdown(demo(None))


def test_rankings_are_compared_by_kendalls_tau():
    # AUC: 0.70, 0.85, 0.90, 0.95; FROC: 0.1, 0.4, 0.35, 0.6: one pair of six is the other way round
    frame = frame_of(auc_test=[0.70, 0.85, 0.90, 0.95], froc=[0.1, 0.4, 0.35, 0.6])
    assert "Kendall's tau 0.67 over 4 methods" in table.rankings(frame)[0]
    assert table.rankings(frame_of(auc_test=[0.7, 0.8], froc=[0.1, 0.4])) == []
    assert table.rankings(frame_of(auc_test=[0.7, 0.8, 0.9], froc=[math.nan, 0.4, 0.5])) == []
    assert "Kendall's tau 1.00 over 3 methods" in to_markdown(demo())


def test_notes_of_a_method_and_of_the_table_are_shown():
    values, info = row("chowder_r5")
    bench = table.build([(values, info | {"notes": ["3 of 10 members learnt nothing."]})], notes=["FROC uses x."])
    text = to_markdown(bench)
    assert "- CHOWDER R=5: 3 of 10 members learnt nothing." in text and "- FROC uses x." in text


def test_a_broken_list_of_tests_is_one_line(tmp_path):
    path = tmp_path / "tests.csv"
    path.write_text("encoder,column\n")
    with pytest.raises(UserError, match=r"tests\.csv: no column method, against"):
        significance.read_tests(path)
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        significance.read_tests(tmp_path / "none.csv")
    path.write_text(",".join(significance.TEST_COLUMNS) + "\n")  # one method: no test
    assert to_markdown(demo(significance.read_tests(path))).count("≈") == 0


def test_a_lone_value_is_not_called_best():
    bench = table.build([row("meanpool")])
    assert set(table.marks(bench)["auc_test"]) == {""}


def test_marks_show_in_every_form():
    bench = demo()
    markdown = to_markdown(bench)
    assert "**0.900** [0.800, 1.000]" in markdown and "0.850 [0.750, 0.950] ≈" in markdown
    assert r"\textbf{0.900}" in latex.to_latex(bench) and r"\textcolor{gray}{0.850" in latex.to_latex(bench)
    page = html.to_html(bench)
    assert '<span class="best">0.900</span>' in page and '<span class="near">0.850</span>' in page


def test_simulated_data_is_called_simulated_and_real_data_is_not():
    for render in (to_markdown, latex.to_latex, html.to_html):
        assert table.SIMULATED in render(demo())
        assert "SIMULATED" not in render(demo(simulated=False))


def test_paper_columns_carry_their_status():
    for render in (to_markdown, latex.to_latex, html.to_html):
        text = render(demo())
        assert "as remembered from the paper (Camelyon-16, ResNet-50)" in text and "not comparable" in text
        assert "0.858" in text and "0.858?" not in text


def test_a_value_that_is_remembered_among_confirmed_ones_has_a_question_mark():
    mixed = [replace(n, status="confirmed") if n.method == "meanpool" else n for n in NUMBERS]
    bench = demo(numbers=mixed)
    for render in (to_markdown, latex.to_latex, html.to_html):
        text = render(bench)
        assert "from the paper; ? as remembered (Camelyon-16, ResNet-50)" in text
        assert "0.858?" in text and "0.3103?" in text and "0.530" in text and "0.530?" not in text
    assert table.to_csv(bench) == table.to_csv(demo()), "the CSV holds numbers alone"


def test_numbers_of_others_stand_under_the_table_and_in_no_column():
    rows = [row("abmil", encoder="uni"), row("chowder_r5", encoder="uni")]
    bench = table.build(rows, numbers=NUMBERS)
    assert bench.frame.set_index("method").loc["abmil", list(published.COLUMNS)].isna().all()
    text = to_markdown(bench)
    assert "- Published by others, not in any column: ABMIL, encoder uni, camelyon16: AUC, test: 0.968 (conf" in text
    assert "0.968" not in "".join(line for line in text.splitlines() if line.startswith("|"))
    name = re.search(r"<t[hd][^>]*>ABMIL.*?</t[hd]>", html.to_html(bench))[0]
    assert re.findall(r'title="([^"]{40})', name) == ["Published by others, not in any column: "[:40]] * 2
    without = table.build(rows)
    assert without.frame[list(published.COLUMNS)].isna().all(axis=None) and "Paper columns" not in to_markdown(without)


def test_counts_are_said():
    text = to_markdown(demo())
    assert "4 slides (2 with tumour): 2 for training (1 with tumour), 2 for testing (1 with tumour)" in text
    assert "10,000 tissue tiles, 1,000 of them sampled for training" in text
    unsplit = pd.DataFrame({"slide": ["a", "b"], "label": [0, 1], "split": [None, None]})
    summary = pd.DataFrame({"slide": ["a", "b"], "tiles": [1000, 2000], "sampled": [500, 500]})
    assert "1,000 of them sampled." in to_markdown(table.build([row("meanpool")], unsplit, summary))
    assert "21 lesions (3 regions of isolated tumour cells are not counted) on 16 slides" in text


def test_a_row_with_notes_is_marked_and_its_note_is_below():
    values, info = row("chowder_r5")
    bench = table.build([(values, info | {"notes": ["3 of 10 <members> learnt nothing."]}), row("meanpool")])
    page = html.to_html(bench)
    assert bench.undertrained == ["CHOWDER R=5: 3 of 10 <members> learnt nothing."]
    marks = re.findall(r'CHOWDER R=5<sup><a href="#(note-\d+)" title="([^"]*)">1</a></sup>', page)
    assert marks == [(marks[0][0], "CHOWDER R=5: 3 of 10 &lt;members&gt; learnt nothing.")]
    below = re.findall(rf'<li id="{marks[0][0]}"><sup>1</sup> (.*?)</li>', page)
    assert below == [marks[0][1]]
    assert page.count("<sup>") == 2


def test_every_group_but_the_first_has_a_box_that_hides_exactly_its_columns():
    page = html.to_html(demo())
    boxes = dict(re.findall(r'data-group="(g\d+)" checked>([^<]+)</label>', page))
    assert list(boxes.values()) == [
        published.heading(demo().shown), "Sensitivity at false positives per slide", "Test AUC by centre", "Run time"
    ]  # fmt: skip
    sizes = {"g0": 3, "g1": 6, "g2": 2, "g3": 1}
    table_of = re.search(r"<table.*?</table>", page, re.S)[0]
    for group, number in sizes.items():
        assert len(re.findall(rf'<t[hd] class="[^"]*\b{group}\b', table_of)) == 1 + number * (1 + 3)
        assert f'.board:has(input[data-group="{group}"]:not(:checked)) .{group}{{display:none}}' in page
    hidden = html.html_table(demo(), hidden=["Run time"])
    assert 'data-group="g3">Run time' in hidden and hidden.count(" checked>") == 3


def test_the_csv_is_in_the_page():
    page = html.to_html(demo())
    data = re.findall(r'download="benchmark.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    assert base64.b64decode(data[0]).decode() == table.to_csv(demo())


def test_several_encoders_are_in_the_first_cell_of_their_rows():
    page = html.to_html(table.build([row("meanpool"), row("meanpool", encoder="a<b")]))
    assert 'MeanPool<span class="interval">a&lt;b</span>' in page and "a<b" not in page
    assert 'data-column="encoder"' not in page
    assert "Encoder: resnet50." in html.to_html(demo())


class Reader(HTMLParser):
    """Heads and rows of the sortable table, attributes of all tags."""

    def __init__(self):
        super().__init__()
        self.heads, self.rows, self.links, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        links = [found[key] for key in ("src", "href") if key in found]
        self.links += [link for link in links if not link.startswith(("#", "data:"))]
        if "data-column" in found:
            self.heads.append(found["data-column"])
        if tag == "tr":
            self.rows.append([])
        if "data-value" in found:
            self.rows[-1].append(found["data-value"])
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_whole_sortable_and_needs_no_network():
    page = html.to_html(demo())
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.links == []
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]+", "", page))
    rows = [cells for cells in reader.rows if cells]
    assert len(rows) == 3 and all(len(cells) == len(reader.heads) for cells in rows)
    place = reader.heads.index("auc_test")
    assert [float(cells[place]) for cells in rows] == [0.70, 0.85, 0.90]
    assert reader.heads[:3] == ["method", "ensemble", "auc_cv"] and 'aria-sort="none"' in page


def test_html_escapes_names():
    bench = table.build([row("<b>&x")], settings={"dataset": "<script>"})
    page = html.to_html(bench)
    assert "<script>" not in page.replace(f"<script>{pages.SCRIPT}", "") and "&lt;b&gt;&amp;x" in page


def test_latex_is_balanced_and_escaped():
    encoder = "timm:vit_b&50%"
    rows = [row("my_method", encoder=encoder), row("maxpool", encoder=encoder), row("meanpool")]
    tests = made_tests(("froc", "my_method", "maxpool", 0.5), ("froc", "chowder_r1", "my_method", 0.1), encoder=encoder)
    bench = table.build(rows, settings={"dataset": "a_b#{$}"}, tests=tests)
    text = latex.to_latex(bench)
    stripped = re.sub(r"\\[\\{}%&$#_]", "", text.replace(r"\\", ""))
    depth = 0
    for letter in stripped:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0 and stripped.count("$") % 2 == 0
    begins, ends = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert sorted(begins) == sorted(ends) and begins.count("tabular") == 3
    assert not re.search(r"(?<!\\)[_#]", stripped) and r"my\_method" in text
    for part in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for line in part[1].splitlines():
            cells = re.sub(r"\\multicolumn\{(\d+)\}", lambda m: "&" * (int(m[1]) - 1), line).replace(r"\&", "")
            assert not line.endswith(r"\\") or cells.count("&") == len(part[0]) - 1


def test_markdown_rows_have_as_many_cells_as_the_head():
    lines = [line for line in to_markdown(demo()).splitlines() if line.startswith("|")]
    assert len(lines) == 5 + 2 + len(TESTS)
    assert len({line.count("|") for line in lines[:5]}) == len({line.count("|") for line in lines[5:]}) == 1


@pytest.mark.parametrize(("value", "text"), [(12.34, "12.3 s"), (300, "5.0 min"), (9000, "2.5 h"), (math.nan, "")])
def test_run_times_are_for_people(value, text):
    assert table.seconds(value) == text


def test_forest_shows_value_and_interval_in_place():
    marks = html.forest(0.5, 0.25, 1.0)
    assert 'cx="45.0"' in marks and "M23.5 6H88.0" in marks
    assert html.forest(math.nan, 0, 1) == ""


def test_a_method_listed_twice_or_none_is_refused():
    with pytest.raises(UserError, match="resnet50/meanpool is listed twice"):
        table.build([row("meanpool"), row("meanpool")])
    with pytest.raises(UserError, match="no method"):
        table.build([])


def test_broken_json_is_one_line(tmp_path):
    path = tmp_path / "auc.json"
    for text in ("{", "[1]"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"auc\.json") as caught:
            read_json(path)
        assert "\n" not in str(caught.value)


def test_script_writes_the_same_bytes_twice_and_keeps_an_encoder_with_a_colon(tmp_path):
    args, entries = [], []
    for method in ("meanpool", "chowder_r5"):
        members = {"meanpool": 1, "chowder_r5": 7}[method]
        for name, content in (
            ("auc", auc_json() | {"ensemble": members}),
            ("froc", froc_json()),
            ("timing", {"train_seconds": np.pi}),
        ):
            (tmp_path / method).mkdir(exist_ok=True)
            (tmp_path / method / f"{name}.json").write_text(json.dumps(content))
        entries.append(f"timm:vit:{method}")
    for name in ("auc", "froc", "timing"):
        args += [f"--{name}", *(str(tmp_path / m / f"{name}.json") for m in ("meanpool", "chowder_r5"))]
    settings = json.dumps({"dataset": "demo", "simulated": True})
    results = []
    for run in ("one", "two"):
        outputs = {name: tmp_path / run / f"b.{name}" for name in ("csv", "markdown", "latex", "html")}
        pairs = [text for name, path in outputs.items() for text in (f"--{name}", str(path))]
        TESTS.assign(encoder="timm:vit").to_csv(tmp_path / "tests.csv", index=False)
        tests = ["--tests", str(tmp_path / "tests.csv"), "--published", str(PUBLISHED)]
        benchmark.main(["--entries", *entries, *args, *tests, "--settings", settings, *pairs])
        results.append({name: path.read_bytes() for name, path in outputs.items()})
    assert results[0] == results[1]
    frame = pd.read_csv(tmp_path / "one" / "b.csv")
    assert list(frame["paper_auc_test"]) == [0.530, 0.858]
    assert list(frame["encoder"]) == ["timm:vit"] * 2 and list(frame["ensemble"]) == [1, 7]


@pytest.mark.parametrize(("method", "members"), [("meanpool", 3), ("someone_elses", 4), ("chowder_r5", 1)])
def test_the_size_of_the_ensemble_is_what_the_metrics_say_whatever_the_method_is_called(tmp_path, method, members):
    (tmp_path / "auc.json").write_text(json.dumps(auc_json() | {"ensemble": members}))
    found, _ = entry.method_entry(tmp_path / "auc.json", None, None, encoder="e", method=method, settings={})
    assert found["ensemble"] == members


def test_the_config_decides_the_mode_of_the_froc_before_the_file(tmp_path):
    auc, froc = tmp_path / "auc.json", tmp_path / "froc.json"
    froc.write_text(json.dumps(froc_json()))
    for settings, written, score in (
        ({}, {}, 0.4),
        ({}, {"froc_mode": "corrected"}, 0.45),
        ({"froc_mode": "corrected"}, {"froc_mode": "official"}, 0.45),
        ({"froc_mode": "official"}, {"froc_mode": "corrected"}, 0.4),
    ):
        auc.write_text(json.dumps(auc_json() | {"settings": written}))
        found, info = entry.method_entry(auc, froc, None, encoder="e", method="meanpool", settings=settings)
        assert found["froc"] == pytest.approx(score)
        assert info["mode"] == ("official" if score == 0.4 else "corrected")


def test_script_refuses_lists_of_unequal_length(tmp_path):
    (tmp_path / "auc.json").write_text(json.dumps(auc_json()))
    auc = str(tmp_path / "auc.json")
    with pytest.raises(UserError, match=r"--froc: 2 given for 1 methods"):
        benchmark.main(["--entries", "e:meanpool", "--auc", auc, "--froc", auc, auc])


# Members that learnt nothing, and what the FROC rests on


def test_undertrained_members_are_counted_by_split_and_explained_once():
    assert remarks.undertrained({"competition": [2, 9], "cv1": []}, 10) == [
        "members that stayed on the plateau of the training loss: 2 of 10 (competition)."
    ]
    assert remarks.undertrained({"competition": []}, 10) == [] == remarks.undertrained({}, 1)


def test_the_table_says_that_it_shows_the_first_of_several_repeats():
    entries = [row("chowder_r5"), row("meanpool")]
    assert any("trained 3 times" in line for line in table.notes(table.build(entries, settings={"repeats": 3})))
    assert not any("times" in line for line in table.notes(table.build(entries, settings={"repeats": 1})))


def test_the_lesion_score_behind_the_froc_is_named():
    note = remarks.score_note("auto", ["meanpool", "weldon_r1", "chowder_r5"])
    assert "CHOWDER: the evidence" in note and "WELDON: the mean embedding" in note and "pooled" in note
    raw = remarks.score_note("embedding", ["chowder_r5"])
    assert "CHOWDER: the mean embedding value" in raw and "WELDON" not in raw and "pooled" not in raw
    assert remarks.score_note("auto", ["someone_elses"]) == ""
    others = remarks.score_note("auto", ["abmil_gated", "transmil_s2", "chowder_r5"])
    assert "ABMIL gated: n x attention" in others and "TransMIL: n x attention of the class token" in others
    assert remarks.not_the_papers(["chowder_r5", "abmil_gated", "dsmil_s1"]) == (
        "Not in the paper: ABMIL gated (Ilse et al. 2018), DSMIL (Li et al. 2021)."
    )
    assert remarks.not_the_papers(["chowder_r5", "meanpool"]) == ""
    given = {"labels": "plus.csv", "relabelled": ["a", "b"]}
    assert remarks.label_set(given) == ["Label set: plus.csv, which changes 2 slides of the slides table (a, b)."]
    assert remarks.label_set({}) == []
