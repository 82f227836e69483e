"""The paper's numbers are those of specification, section 4, and stay apart from ours."""

import pytest

from chowder.files import UserError
from chowder.report import paper

# Written out a second time from specification, section 4: R = 1 / 10 / 100 / 300 and R = 1 / 5 / 10 / 100 / 300.
WELDON = {1: (0.782, 0.765), 10: (0.832, 0.670), 100: (0.809, 0.600), 300: (0.761, 0.573)}
CHOWDER = {1: (0.809, 0.821), 5: (0.903, 0.858), 10: (0.900, 0.843), 100: (0.870, 0.775), 300: (0.837, 0.652)}


def test_table_1_is_the_specs():
    assert paper.TABLE1["maxpool"] == (0.749, 0.655) and paper.TABLE1["meanpool"] == (0.802, 0.530)
    for family, numbers in (("weldon", WELDON), ("chowder", CHOWDER)):
        for r, pair in numbers.items():
            found = paper.lookup(f"{family}_r{r}", 10)
            assert (found.auc_cv, found.auc_test) == pair
    assert len(paper.TABLE1) == 2 + len(WELDON) + len(CHOWDER)


def test_leaderboard_row_is_used_for_fifty_members_only():
    assert paper.lookup("chowder_r5", 50) == paper.Numbers(0.903, 0.8706, 0.3103)
    assert paper.lookup("chowder_r5", 10) == paper.Numbers(0.903, 0.858, 0.3103)
    assert paper.lookup("chowder_r1", 50).froc is None


@pytest.mark.parametrize("name", ["chowder_r5_j4", "chowder_r5_nms", "weldon_r5", "mymethod", ""])
def test_methods_the_paper_does_not_have_get_no_numbers(name):
    assert paper.lookup(name) == paper.Numbers()


def test_a_repeat_is_the_same_method():
    assert paper.lookup("chowder_r10_s3") == paper.lookup("chowder_r10")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("meanpool", "MeanPool"),
        ("maxpool", "MaxPool"),
        ("weldon_r10", "WELDON R=10"),
        ("chowder_r5", "CHOWDER R=5"),
        ("chowder_r5_j4", "CHOWDER R=5 J=4"),
        ("chowder_r5_s2", "CHOWDER R=5 (repeat 2)"),
        ("chowder_r5_nms", "CHOWDER R=5 NMS"),
        ("team_x", "team_x"),
    ],
)
def test_labels(name, label):
    assert paper.parse(name).label == label


def test_methods_sort_by_family_then_r():
    names = ["chowder_r10", "zzz", "weldon_r100", "chowder_r5_j4", "maxpool", "chowder_r5", "weldon_r10", "meanpool"]
    ordered = sorted(names, key=lambda name: paper.parse(name).order)
    assert ordered == [
        "meanpool",
        "maxpool",
        "weldon_r10",
        "weldon_r100",
        "chowder_r5",
        "chowder_r5_j4",
        "chowder_r10",
        "zzz",
    ]


def test_remarks_say_where_the_numbers_come_from_and_when_they_do_not_compare():
    demo = " ".join(paper.remarks("demo", True, ["efficientnet_lite0"]))
    assert paper.STATUS in demo and "not comparable" in demo and "efficientnet_lite0" in demo and "simulated" in demo
    real = " ".join(paper.remarks("camelyon16", False, ["resnet50"]))
    assert paper.STATUS in real and "not comparable" not in real
    assert "dataset camelyon16-mini" in " ".join(paper.remarks("camelyon16-mini", False, ["resnet50"]))


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(UserError, match="at least one member"):
        paper.lookup("chowder_r5", 0)
