"""Published numbers: read with every mistake named, chosen by method and ensemble, said with their status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chowder.features.encoders.networks import NETWORKS
from chowder.files import UserError
from chowder.models import names
from chowder.report import published

FILE = Path(__file__).resolve().parents[3] / "config/published.csv"
NUMBERS = published.read(FILE)

# Written out a second time from the specification: R = 1 / 10 / 100 / 300 and R = 1 / 5 / 10 / 100 / 300, (CV, test).
WELDON = {1: (0.782, 0.765), 10: (0.832, 0.670), 100: (0.809, 0.600), 300: (0.761, 0.573)}
CHOWDER = {1: (0.809, 0.821), 5: (0.903, 0.858), 10: (0.900, 0.843), 100: (0.870, 0.775), 300: (0.837, 0.652)}
POOLED = {"maxpool": (0.749, 0.655), "meanpool": (0.802, 0.530)}
TABLE1 = POOLED | {f"weldon_r{r}": pair for r, pair in WELDON.items()} | {
    f"chowder_r{r}": pair for r, pair in CHOWDER.items()
}  # fmt: skip


def values(method, ensemble=None, numbers=NUMBERS):
    return {column: number.value for column, number in published.lookup(numbers, method, ensemble).items()}


def test_table_1_is_the_specifications():
    for method, (cv, test) in TABLE1.items():
        found = values(method, 10)
        assert (found["paper_auc_cv"], found["paper_auc_test"]) == (cv, test)
        assert ("paper_froc" in found) == (method == "chowder_r5")
    assert {n.method for n in published.of_paper(NUMBERS)} == set(TABLE1)
    bias = {number.split: number.value for number in published.of_paper(NUMBERS, "split_bias")}
    assert bias == {"test": 0.75, "random": 0.55}
    assert {n.status for n in published.of_paper(NUMBERS)} == {"remembered"}, "until somebody checks them"


def test_leaderboard_row_is_used_for_fifty_members_only():
    for members, auc in ((50, 0.8706), (10, 0.858), (7, 0.858), (None, 0.858)):
        assert values("chowder_r5", members) == {"paper_auc_cv": 0.903, "paper_auc_test": auc, "paper_froc": 0.3103}


@pytest.mark.parametrize("name", ["chowder_r5_j4", "chowder_r5_b20", "weldon_r5", "abmil", "mymethod", ""])
def test_methods_the_paper_does_not_have_get_no_numbers(name):
    assert published.lookup(NUMBERS, name) == {}


def test_a_repeat_is_the_same_method():
    assert published.lookup(NUMBERS, "chowder_r10_s3") == published.lookup(NUMBERS, "chowder_r10") != {}


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(UserError, match="at least one member"):
        published.lookup(NUMBERS, "chowder_r5", 0)


def test_the_figure_against_r_gets_table_1_without_pooled_methods_and_leaderboard():
    found = published.with_r(NUMBERS)
    expected = {(m, s): pair[i] for m, pair in TABLE1.items() if "_r" in m for i, s in enumerate(("cv", "test"))}
    assert {(n.method, n.split): n.value for n in found} == expected and len(found) == len(expected)


def test_every_number_of_the_file_has_a_source_and_names_that_are_used_here():
    for number in NUMBERS:
        known = number.method in TABLE1 or number.method in names.KINDS
        others = {"dsmil_lc", "max_pooling", "fully_supervised", "challenge_winner", "pathologist"}
        assert known or number.method in others, number
        assert number.encoder in {"", "resnet50", "kaiko_l14", *NETWORKS}, number
        assert number.dataset == "camelyon16" and number.source


def test_others_are_said_where_method_and_encoder_fit_a_row():
    rows = [("uni", "abmil"), ("uni", "chowder_r5"), ("resnet18", "dsmil_s1"), ("uni", "transmil"), ("x", "dsmil")]
    found = published.by_others(NUMBERS, rows)
    lines = list(found)
    assert list(found.values()) == [[rows[0]], [rows[0]], [rows[2], rows[4]]]
    assert [line.partition(": ")[2].split(", camelyon16")[0] for line in lines] == [
        "ABMIL, encoder uni", "ABMIL, encoder not recorded here", "DSMIL, encoder not recorded here",
    ]  # fmt: skip
    assert lines[0].startswith(
        "Published by others, not in any column: ABMIL, encoder uni, camelyon16: AUC, test: 0.968 "
    )
    assert "(confirmed; bioptimus/releases, models/h-optimus/v0/README.md; mean of 50 trainings, sd 0.008;" in lines[0]
    assert "balanced accuracy, test: 0.833 (confirmed; kaiko-ai/eva" in lines[0] and "0.989" not in "".join(lines)
    assert "FROC, test: 0.406 (remembered; DSMIL (Li et al. 2021), Table 1). AUC, test: 0.865 (remembered" in lines[1]
    assert published.by_others(NUMBERS, [("uni", "meanpool"), ("uni", "maxpool")]) == {}


def test_remarks_say_where_the_numbers_come_from_and_when_they_do_not_compare():
    shown = [n for method in TABLE1 for n in published.lookup(NUMBERS, method, 10).values()]
    demo = " ".join(published.remarks(NUMBERS, shown, "demo", True, ["efficientnet_lite0"]))
    assert demo.startswith(
        "Paper columns: as remembered from the paper (Camelyon-16, ResNet-50), not yet checked against the PDF; Table "
        "1 has E = 10. The paper's FROC 0.3103 is its leaderboard row (CHOWDER R=5, E = 50, AUC 0.8706). They are"
    )
    assert "dataset demo; simulated slides; encoder efficientnet_lite0: shown for orientation, not comparable" in demo
    real = " ".join(published.remarks(NUMBERS, shown, "camelyon16", False, ["resnet50"]))
    assert "as remembered from the paper" in real and "not comparable" not in real
    mini = " ".join(published.remarks(NUMBERS, shown, "camelyon16-mini", False, ["resnet50"]))
    assert "dataset camelyon16-mini" in mini
    assert "Paper columns" not in " ".join(published.remarks(NUMBERS, [], "demo", True, ["uni"]))


def test_headings_follow_the_status_of_what_is_shown():
    remembered = published.of_paper(NUMBERS)[:2]
    confirmed = [replace(number, status="confirmed") for number in remembered]
    mixed = [remembered[0], confirmed[1]]
    for numbers, heading, label, state in (
        (remembered, "as remembered from the paper", ", as remembered", "not yet checked against the PDF"),
        (confirmed, "as printed in the paper", "", "checked against it"),
        (mixed, "from the paper; ? as remembered", ", partly as remembered", "those with ? not yet checked"),
    ):
        assert published.heading(numbers) == f"{heading} (Camelyon-16, ResNet-50)"
        assert published.label(numbers) == f"paper, Camelyon-16{label}"
        assert state in published.remarks(numbers, numbers, "camelyon16", False, ["resnet50"])[0]
    assert [published.is_mixed(numbers) for numbers in (remembered, confirmed, mixed, [])] == [
        False,
        False,
        True,
        False,
    ]


def test_the_fingerprint_follows_the_numbers_and_not_the_layout(tmp_path):
    text = FILE.read_text()
    other = tmp_path / "p.csv"
    other.write_text("\ufeff" + text.replace("\n", "\r\n").replace(",resnet50,", ", resnet50 ,"))
    assert published.fingerprint(published.read(other)) == published.fingerprint(NUMBERS)
    other.write_text(text.replace("0.417", "0.418").replace("abmil,uni,,", "abmil,uni,3,", 1))
    changed = published.read(other)
    assert published.fingerprint(changed) != published.fingerprint(NUMBERS)
    for part in (published.with_r, lambda numbers: published.of_paper(numbers, "split_bias")):
        assert published.fingerprint(part(changed)) == published.fingerprint(part(NUMBERS))


ROW = "abmil,uni,,camelyon16,test,auc,0.9,confirmed,somewhere,"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (",uni,,camelyon16,test,auc,0.9,confirmed,somewhere,", "line 2: method is empty: fill it in"),
        ("abmil,uni,,camelyon16,test,auc,0.9,confirmed,,", "line 2: source is empty: fill it in"),
        ("abmil,uni,,camelyon16,test,auc,90 %,confirmed,x,", "line 2: value is '90 %': give a number from 0 to 1"),
        ("abmil,uni,,camelyon16,test,auc,1.2,confirmed,x,", "line 2: value is '1.2'"),
        ("abmil,uni,,camelyon16,test,auc,nan,confirmed,x,", "line 2: value is 'nan'"),
        ("abmil,uni,0,camelyon16,test,auc,0.9,confirmed,x,", "line 2: ensemble is '0': give a whole number"),
        ("abmil,uni,,camelyon16,dev,auc,0.9,confirmed,x,", "line 2: split is 'dev': use cv, test, random"),
        ("abmil,uni,,camelyon16,test,f1,0.9,confirmed,x,", "line 2: metric is 'f1': use auc, froc, balanced_accuracy"),
        ("abmil,uni,,camelyon16,test,auc,0.9,sure,x,", "line 2: status is 'sure': use confirmed, remembered"),
        (
            "abmil,uni,,camelyon16,test,auc,0.9,confirmed,a, b,",
            "line 2: does not have 10 cells: quote text with commas",
        ),
        ("abmil,uni", "line 2: does not have 10 cells"),
        (f"{ROW}\n{ROW}another note", "line 3: the number of line 2 again: keep one"),
        ('abmil,"uni', "cannot be read as CSV"),
    ],
)
def test_a_broken_row_is_one_line_that_says_where(tmp_path, row, words):
    path = tmp_path / "published.csv"
    path.write_text(",".join(published.HEADER) + f"\n{row}\n")
    with pytest.raises(UserError) as error:
        published.read(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value) and "\n" not in str(error.value)


def test_a_broken_head_or_no_file_is_one_line(tmp_path):
    path = tmp_path / "published.csv"
    for head, words in (
        (",".join(published.HEADER[1:]), "column 'method' is missing: add it"),
        (",".join((*published.HEADER, "year")), "column 'year' is not known: use method, encoder"),
        (",".join((*published.HEADER, "note")), "column 'note' is there twice: keep one"),
        ("", "column 'method' is missing"),
    ):
        path.write_text(f"{head}\n")
        with pytest.raises(UserError, match=words):
            published.read(path)
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        published.read(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as CSV in UTF-8"):
        published.read(path)
