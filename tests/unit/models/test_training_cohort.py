"""What the training slides were like, and which other slides are said to be outside."""

from __future__ import annotations

import pytest

from chowder.models import training_cohort

STAIN = {"haematoxylin_mean": 0.3, "haematoxylin_sd": 0.1, "eosin_mean": 0.2, "eosin_sd": 0.05}


def slide(tiles: int, mpp: float = 0.25, label: int = 0, **stain: float) -> dict:
    return {"tiles": tiles, "mpp": mpp, "mpp_read": 2 * mpp, "label": label, "class": "", "stain": STAIN | stain}


@pytest.fixture
def cohort() -> dict:
    return training_cohort.summary(
        [slide(100), slide(200, 0.2, 1, eosin_mean=0.28), slide(400, 0.22, 1), slide(300) | {"stain": {}}]
    )


def test_the_summary_counts_and_orders(cohort):
    assert (cohort["slides"], cohort["normal"], cohort["tumour"]) == (4, 2, 2)
    assert cohort["tiles"] == {
        "min": 100, "q05": 115, "q25": 175, "median": 250, "q75": 325, "q95": 385, "max": 400,
    }  # fmt: skip
    assert (cohort["mpp"]["min"], cohort["mpp"]["max"]) == (0.2, 0.25)
    assert (cohort["mpp_read"]["min"], cohort["mpp_read"]["max"]) == (0.4, 0.5)
    assert (cohort["stain"]["eosin_mean"]["min"], cohort["stain"]["eosin_mean"]["max"]) == (0.2, 0.28)
    assert set(cohort["stain"]) == set(STAIN)


@pytest.mark.parametrize(
    ("tiles", "mpp", "stain", "words"),
    [
        (250, 0.22, {}, []),
        (50, 0.2, {}, []),
        (800, 0.25, {}, []),
        (49, 0.22, {}, ["49 tiles (training slides: 100 to 400)"]),
        (801, 0.22, {}, ["801 tiles (training slides: 100 to 400)"]),
        (250, 0.2549, {}, []),
        (250, 0.2551, {}, ["0.2551 um/px (training slides: 0.2 to 0.25)"]),
        (250, 0.1959, {}, ["0.1959 um/px (training slides: 0.2 to 0.25)"]),
        # range 0.20 to 0.28: a quarter of it is 0.02, a tenth of its middle 0.024, which is more
        (250, 0.22, {"eosin_mean": 0.3039}, []),
        (250, 0.22, {"eosin_mean": 0.3041}, ["eosin mean 0.304 (training slides: 0.200 to 0.280)"]),
        (250, 0.22, {"eosin_mean": 0.1759}, ["eosin mean 0.176 (training slides: 0.200 to 0.280)"]),
        # all alike: a tenth of 0.3
        (250, 0.22, {"haematoxylin_mean": 0.3299}, []),
        (250, 0.22, {"haematoxylin_mean": 0.3301}, ["haematoxylin mean 0.330 (training slides: 0.300)"]),
        (1, 1.0, {"eosin_sd": 1.0}, ["1 tiles", "1 um/px", "eosin sd 1.000"]),
    ],
)
def test_a_slide_is_outside_beyond_the_widened_range(cohort, tiles, mpp, stain, words):
    found = training_cohort.outside(cohort, tiles, mpp, STAIN | stain)
    assert len(found) == len(words)
    for text, word in zip(found, words, strict=True):
        assert text.startswith(word)


def test_a_wide_range_is_widened_by_a_quarter():
    cohort = training_cohort.summary([slide(100, eosin_mean=0.1), slide(100, eosin_mean=0.5)])
    assert not training_cohort.outside(cohort, 100, 0.25, STAIN | {"eosin_mean": 0.599})
    assert training_cohort.outside(cohort, 100, 0.25, STAIN | {"eosin_mean": 0.601})


def test_a_slide_without_tissue_says_so(cohort):
    assert training_cohort.outside(cohort, 100, 0.25, {}) == ["no tissue found"]
