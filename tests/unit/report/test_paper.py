"""Methods are printed and ordered by their names."""

import pytest

from chowder.report import paper


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
