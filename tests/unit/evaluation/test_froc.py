"""FROC: equal to a plain implementation of specification, section 6; every quirk in both modes; intervals."""

from __future__ import annotations

import math
import time

import froc_reference as plain
import numpy as np
import pytest
from scipy import ndimage, stats

from chowder.data.annotations import read_asap, tumor_mask
from chowder.evaluation import froc, resampling
from chowder.evaluation.lesions import DOWNSAMPLE, MPP, label_lesions
from chowder.evaluation.lesions import MODES as LESIONS_MODES
from chowder.evaluation.lesions import load as load_lesions
from chowder.evaluation.lesions import save as save_lesions
from chowder.files import UserError
from shared_data import REASON, SHARED

PIXEL = MPP * DOWNSAMPLE  # um per pixel of the evaluation grid
MODES = pytest.mark.parametrize("mode", LESIONS_MODES)


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random tumour mask: discs, some with a hole, specks, sometimes nothing, often touching the border."""
    mask = np.zeros((height, width), dtype=bool)
    y, x = np.mgrid[:height, :width]
    for _ in range(rng.integers(0, 4)):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 8)
        distance = np.hypot(y - cy, x - cx)
        mask |= distance < radius
        if radius > 4 and rng.random() < 0.6:
            mask &= ~(distance < radius - rng.uniform(1, 2))
    for _ in range(rng.integers(0, 3)):
        mask[rng.integers(height), rng.integers(width)] = True
    return mask


def detections_on(rng: np.random.Generator, shape: tuple[int, int], n: int) -> np.ndarray:
    """Random detections, half of the cases with many equal scores."""
    score = rng.random(n) if rng.random() < 0.5 else rng.choice([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0], n)
    x = rng.integers(0, shape[1] * DOWNSAMPLE, n)
    y = rng.integers(0, shape[0] * DOWNSAMPLE, n)
    return np.column_stack([score, x, y]).astype(float)


def square(top: int, left: int, size: int, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + size, left : left + size] = True
    return mask


def at(row: int, column: int, score: float) -> list[float]:
    """A detection in the middle of a pixel of the evaluation grid."""
    return [score, (column + 0.5) * DOWNSAMPLE, (row + 0.5) * DOWNSAMPLE]


def table(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 3)


def slide(name: str, best, false_positives, itc: int = 0, submitted: bool = True) -> froc.SlideHits:
    """Hits made by hand."""
    best = np.array(best, dtype=float)
    scores = np.array(false_positives, dtype=float)
    return froc.SlideHits(name, scores, np.arange(1, len(best) + 1), best, itc, submitted, len(scores))


def random_hits(rng: np.random.Generator, slides: int, detections: int = 12) -> list[froc.SlideHits]:
    """Slides with lesions, misses, ITCs, ties, and slides without anything."""
    found = []
    for index in range(slides):
        lesions = int(rng.integers(0, 4)) if rng.random() < 0.5 else 0
        decimals = int(rng.choice([1, 16]))
        best = np.round(rng.random(lesions), decimals)
        best[rng.random(lesions) < 0.3] = -np.inf
        fp = np.round(rng.random(int(rng.integers(0, detections))) ** 2, decimals)
        found.append(slide(f"s{index}", best, fp, itc=int(rng.integers(0, 2))))
    return found


# ------------------------------------------------------------------------------------- equal to the plain version


@pytest.mark.parametrize("seed", range(220))
def test_official_mode_equals_the_plain_implementation_to_the_last_digit(seed):
    rng = np.random.default_rng(seed)
    ours, theirs, statistics = [], [], []
    for index in range(int(rng.integers(1, 5))):
        shape = (int(rng.integers(6, 24)), int(rng.integers(6, 24)))
        detections = detections_on(rng, shape, int(rng.choice([0, 1, 5, 40])))
        if rng.random() < 0.3:
            ours.append(froc.hits(None, detections, f"s{index}"))
            theirs.append(plain.slide_scores(None, 0, set(), detections.tolist(), DOWNSAMPLE))
            continue
        mask, mpp = blobs(rng, *shape), float(rng.uniform(0.6, 1.6))
        lesions = label_lesions(mask, mpp)
        labels, number, itc = plain.lesions(mask.astype(int).tolist(), mpp, DOWNSAMPLE)
        assert lesions.labels.tolist() == labels
        assert set(lesions.itc) == itc
        statistics.append(number)
        ours.append(froc.hits(lesions, detections, f"s{index}"))
        theirs.append(plain.slide_scores(labels, number, itc, detections.tolist(), DOWNSAMPLE))
    curve = froc.froc(ours)
    if curve.lesions == 0:
        assert math.isnan(curve.score)
        return
    fps, sensitivity, sens_at, score = plain.froc(theirs)
    assert curve.fps.tolist() == fps
    assert curve.sensitivity.tolist() == sensitivity
    assert list(curve.sens_at.values()) == sens_at
    assert curve.score == score


def test_regions_equal_the_distance_transform_and_hole_filling_of_scipy():
    rng = np.random.default_rng(5)
    for _ in range(40):
        shape = tuple(rng.integers(5, 90, 2))
        mask = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0.5, 4)) > rng.uniform(0.5, 0.56)
        if not mask.any():
            continue
        region = ndimage.distance_transform_edt(~mask) < 75 / (PIXEL * 2)
        filled = ndimage.binary_fill_holes(region)
        lesions = label_lesions(mask)
        assert np.array_equal(lesions.labels > 0, filled)
        assert np.array_equal(label_lesions(mask, mode="corrected").labels > 0, region)
        assert lesions.crop.size <= mask.size


def test_expansion_is_strictly_below_the_distance():
    mpp = 75 / (DOWNSAMPLE * 2 * 5.0)  # the limit is 5 pixels exactly
    labels = label_lesions(square(60, 80, 1), mpp).labels
    assert labels[60, 84] == 1
    assert labels[60, 85] == 0
    assert labels[63, 84] == 0  # 3, 4, 5


def test_mask_values_1_and_255_mean_the_same():
    """The published script takes 255 - mask and is silently wrong on masks of 0 and 1."""
    mask = square(20, 20, 30)
    expected = label_lesions(mask).labels
    for value in (1, 255):
        assert np.array_equal(label_lesions((mask * value).astype(np.uint8)).labels, expected)


def test_major_axis_decides_about_isolated_tumour_cells():
    # a bar of n pixels and one wide, expanded by a disc of radius 4.8 px: 23 and 24 px lie on both sides of 275 um
    rows = [label_lesions(np.pad(np.ones((1, n), bool), 10)).table[0] for n in (23, 24)]
    assert [row["itc"] for row in rows] == [1, 0]
    assert rows[0]["major_axis_um"] < 275 < rows[1]["major_axis_um"]


def test_own_spacing_changes_the_distances():
    mask = square(20, 20, 30)
    fine, coarse = label_lesions(mask, 0.226), label_lesions(mask, 0.5)
    assert (fine.labels > 0).sum() > (coarse.labels > 0).sum()
    assert coarse.table[0]["area_mm2"] == pytest.approx((coarse.labels > 0).sum() * (0.5 * 32 / 1000) ** 2)


# ------------------------------------------------------------------------------------------------ quirks, both modes


def test_quirk_smallest_score_dropped_one_perfect_detection_scores_zero():
    hits = [slide("a", [0.9], []), slide("b", [], [])]
    assert froc.froc(hits, "official").score == 0.0
    assert froc.froc(hits, "corrected").score == 1.0


def test_quirk_smallest_score_is_harmless_when_a_lesion_was_missed():
    hits = [slide("a", [0.9, -np.inf], []), slide("b", [], [])]
    assert froc.froc(hits, "official").score == 0.5
    assert froc.froc(hits, "corrected").score == 0.5


def test_quirk_an_itc_label_contributes_a_score_of_zero():
    """With an ITC label the dropped smallest score is its 0, so that nothing real is lost."""
    hits = [slide("a", [0.9], [], itc=1), slide("b", [], [])]
    assert froc.froc(hits, "official").score == 1.0
    assert froc.froc(hits, "corrected").score == 1.0


def test_quirk_misses_rank_above_negative_scores():
    """Scores are meant to be probabilities: below 0, official mode takes missed lesions (0) for found ones."""
    hits = [slide("a", [-np.inf], [-1.0, -2.0])]
    assert froc.froc(hits, "official").score > 0
    assert froc.froc(hits, "corrected").score == 0


def test_quirk_slides_without_result_file_shrink_both_denominators():
    hits = [slide("a", [0.9, -np.inf], [0.5]), slide("b", [-np.inf], [], submitted=False)]
    official, corrected = froc.froc(hits, "official"), froc.froc(hits, "corrected")
    assert (official.slides, official.lesions) == (1, 2)
    assert (corrected.slides, corrected.lesions) == (2, 3)
    assert official.fps.max() == 1.0
    assert corrected.fps.max() == 0.5
    assert official.sensitivity.max() == 1 / 2
    assert corrected.sensitivity.max() == 1 / 3


def test_quirk_filled_holes_swallow_exclusions():
    mask = square(20, 20, 60) & ~square(35, 35, 30)
    lesions = label_lesions(mask)
    middle, ring = at(50, 50, 0.9), at(22, 22, 0.4)
    official = froc.hits(lesions, table(middle, ring), mode="official")
    corrected = froc.hits(lesions, table(middle, ring), mode="corrected")
    assert official.best.tolist() == [0.9]
    assert official.false_positives.tolist() == []
    assert corrected.best.tolist() == [0.4]
    assert corrected.false_positives.tolist() == [0.9]
    # near the edge of the exclusion a hit is still a hit
    assert froc.hits(lesions, table(at(37, 37, 0.7)), mode="corrected").best.tolist() == [0.7]


def test_quirk_ties_in_single_precision_as_in_the_published_script():
    """The script keeps lesion scores as float32: 0.3 becomes 0.30000001, just above a false positive of 0.3."""
    hits = [slide("a", [0.3, -np.inf], [0.3]), slide("b", [], [])]
    assert froc.froc(hits).sens_at[0.25] == 0.5
    assert froc.froc(hits, "corrected").sens_at[0.25] == 0.25  # on the line from (0, 0) to (1/2, 1/2)
    # 0.7 becomes 0.69999999: a threshold of 0.7 is rounded likewise and finds the lesion, at the false positive's rate
    hits = [slide("a", [0.7, -np.inf], [0.7]), slide("b", [], [])]
    assert froc.froc(hits).sens_at[0.25] == 0.25


def tied_cohort(rng: np.random.Generator) -> list[froc.SlideHits]:
    """A few slides with scores of two decimals (in some cohorts negative, huge or all in a narrow range), misses, ITC
    labels, slides with nothing and slides without result file."""
    low, high = [(0, 1), (-0.3, 0.3), (0.6, 0.72), (-2, -1), (0, 0.05)][int(rng.integers(5))]
    factor = float(rng.choice([1, 1, 1, 1e-45, 1e38, 1e60]))
    found = []
    for index in range(int(rng.integers(1, 6))):

        def draw(size: int) -> np.ndarray:
            scores = np.round(rng.uniform(low, high, size), 2) * factor
            scores[rng.random(size) < 0.15] = 0.0
            # some scores that only single precision takes for equal
            return np.where(rng.random(size) < 0.15, np.nextafter(scores, rng.choice([-np.inf, np.inf])), scores)

        best = draw(int(rng.integers(0, 5)) if rng.random() < 0.7 else 0)
        best[rng.random(len(best)) < 0.25] = -np.inf
        false = draw(int(rng.integers(0, 9)))
        submitted = bool(rng.random() < 0.95) or index == 0
        if not submitted:
            best, false = np.full(len(best), -np.inf), false[:0]
        found.append(slide(f"s{index}", best, false, int(rng.integers(0, 2)), submitted))
    return found


def plain_slides(hits: list[froc.SlideHits]) -> list[tuple]:
    """The same slides as the plain implementation takes them: (false positives, scores of all labels, lesions)."""
    return [
        (
            one.false_positives.tolist(),
            [plain.single(max(score, 0.0)) for score in one.best.tolist()] + [0.0] * one.itc,
            len(one.best),
        )
        for one in hits
        if one.submitted
    ]


@pytest.mark.parametrize("seed", range(500))
def test_official_equals_the_plain_statement_on_cohorts_with_ties_resampling_included(seed):
    rng = np.random.default_rng(seed)
    hits = tied_cohort(rng)
    taking = [one for one in hits if one.submitted]
    curve = froc.froc(hits)
    if curve.lesions:
        fps, sensitivity, sens_at, score = plain.froc(plain_slides(hits))
        assert curve.fps.tolist() == fps
        assert curve.sensitivity.tolist() == sensitivity
        assert list(curve.sens_at.values()) == sens_at
        assert curve.score == score
    drawn_slides = resampling.multiplicities(len(taking), 6, seed)
    rates = np.array([*froc.RATES, 0.1, 3.3])
    curves = resampling.Resampler(taking, "official").curves(drawn_slides, rates)
    for drawn, values in zip(drawn_slides, curves, strict=True):
        sens, grid = values[:6], values[6:]
        chosen = [one for one, times in zip(taking, drawn, strict=True) for _ in range(times)]
        if not any(len(one.best) for one in chosen):
            assert np.isnan(sens).all()
            continue
        fps, sensitivity, sens_at, _ = plain.froc(plain_slides(chosen))
        assert sens.tolist() == sens_at
        assert grid.tolist() == [plain.interpolate(rate, fps[::-1], sensitivity[::-1]) for rate in (0.1, 3.3)]


@pytest.mark.parametrize("seed", range(60))
def test_a_lesion_is_found_where_the_plain_statement_finds_it(seed):
    hits = tied_cohort(np.random.default_rng(seed))
    curve = froc.froc(hits)
    slides = plain_slides(hits)
    scores = sorted({score for one in slides for score in one[0] + one[1]})[1:]
    for score in (value for one in hits for value in one.best.tolist()):
        found = [t for t in scores if math.isfinite(score) and plain.single(max(score, 0.0)) >= plain.single(t)]
        got = froc.found_at(curve, score)
        if found:
            assert got == sum(value >= found[-1] for one in slides for value in one[0]) / len(slides)
        else:
            assert math.isnan(got)


@MODES
def test_hits_in_isolated_tumour_cells_are_ignored(mode):
    lesions = label_lesions(square(20, 20, 2) | square(60, 60, 40))
    assert lesions.itc == [1]
    result = froc.hits(lesions, table(at(20, 20, 0.99), at(70, 70, 0.5), at(5, 100, 0.1)), mode=mode)
    assert (result.itc, result.best.tolist(), result.false_positives.tolist()) == (1, [0.5], [0.1])
    assert result.labels.tolist() == [2]


@MODES
def test_every_detection_on_a_normal_slide_is_a_false_positive(mode):
    assert froc.hits(None, table(at(1, 1, 0.5), at(2, 2, 0.5)), mode=mode).false_positives.tolist() == [0.5, 0.5]


@MODES
def test_a_lesion_scores_the_maximum_of_its_detections(mode):
    lesions = label_lesions(square(60, 60, 40))
    result = froc.hits(lesions, table(at(70, 70, 0.2), at(71, 71, 0.8), at(72, 72, 0.5)), mode=mode)
    assert result.best.tolist() == [0.8]


@MODES
def test_score_by_hand(mode):
    """Two slides, three lesions (one missed), scores 0.9 > FP 0.8 > 0.7 > FP 0.6 ... 0.1."""
    hits = [slide("a", [0.9, 0.7, -np.inf], [0.8]), slide("b", [], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1])]
    curve = froc.froc(hits, mode)
    # points: (0, 1/3), (1/2, 1/3), (1/2, 2/3), ... (7/2, 2/3), then clamped
    expected = [1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    assert list(curve.sens_at.values()) == pytest.approx(expected, abs=1e-15)
    assert curve.score == pytest.approx(np.mean(expected), abs=1e-15)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("detections", "word"),
    [
        ([[0.5, 160 * 32, 10]], "outside the slide"),
        ([[0.5, 10, 120 * 32]], "outside the slide"),
        ([[np.nan, 1, 1]], "NaN"),
        ([[0.5, -1, 1]], "negative"),
        ([[0.5, 1]], "not \\(n, 3\\)"),
    ],
)
def test_bad_detections_are_refused_in_one_line(detections, word):
    with pytest.raises(UserError, match=word) as error:
        froc.hits(label_lesions(square(60, 60, 40)), np.array(detections), "test_001")
    assert "test_001" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_pixel_of_the_slide_is_inside():
    lesions = label_lesions(square(60, 60, 40))
    assert froc.hits(lesions, table([0.5, 160 * 32 - 1, 120 * 32 - 1])).false_positives.tolist() == [0.5]


def test_unknown_mode_and_no_slides_are_refused():
    with pytest.raises(UserError, match="mode 'offical'"):
        froc.froc([slide("a", [1.0], [])], "offical")
    with pytest.raises(UserError, match="no slide"):
        froc.froc([slide("a", [1.0], [], submitted=False)], "official")
    with pytest.raises(UserError, match="above 0"):
        label_lesions(square(1, 1, 1), mpp=0.0)


# ------------------------------------------------------------------------------------------------------------ cache


def test_saved_lesions_come_back_whole(tmp_path):
    lesions = label_lesions(square(20, 20, 60) & ~square(35, 35, 30) | square(100, 150, 1), 0.25)
    lesions.warnings = ["a.xml: polygon 'ü' has fewer than 3 points: ignored"]
    save_lesions(tmp_path / "a.npz", lesions)
    back = load_lesions(tmp_path / "a.npz")
    assert np.array_equal(back.labels, lesions.labels)
    assert np.array_equal(back.holes, lesions.holes)
    for name in ("shape", "offset", "itc", "table", "mpp", "downsample", "warnings"):
        assert getattr(back, name) == getattr(lesions, name)


def test_a_slide_without_tumour_is_saved_too(tmp_path):
    save_lesions(tmp_path / "n.npz", label_lesions(np.zeros((7, 9), bool)))
    back = load_lesions(tmp_path / "n.npz")
    assert (back.shape, back.itc, back.table) == ((7, 9), [], [])
    assert froc.hits(back, table(at(3, 3, 0.5))).false_positives.tolist() == [0.5]


@pytest.mark.parametrize("content", [b"", b"no npz at all", b"PK\x03\x04 broken"])
def test_a_broken_lesion_file_is_named(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz"):
        load_lesions(tmp_path / "x.npz")
    with pytest.raises(UserError, match=r"missing\.npz"):
        load_lesions(tmp_path / "missing.npz")


# -------------------------------------------------------------------------------------------------------- intervals


@MODES
@pytest.mark.parametrize("seed", range(12))
def test_every_resample_equals_the_score_of_the_slides_drawn(mode, seed):
    hits = random_hits(np.random.default_rng(seed), 7)
    if sum(len(one.best) for one in hits) == 0:
        pytest.skip("no lesion drawn")
    drawn = resampling.multiplicities(7, 40, seed)
    rates = np.array([*froc.RATES, 0.1, 3.3])
    for times, values in zip(drawn, resampling.Resampler(hits, mode).curves(drawn, rates), strict=True):
        curve = froc.froc([one for one, count in zip(hits, times, strict=True) for _ in range(count)], mode)
        if curve.lesions == 0:
            assert np.isnan(values).all()
            continue
        assert values[:6].tolist() == list(curve.sens_at.values())
        assert values[6:].tolist() == np.interp([0.1, 3.3], curve.fps[::-1], curve.sensitivity[::-1]).tolist()


@pytest.mark.parametrize("found", [0, 1, 3, 11, 12])
def test_limits_of_equal_slides_are_jeffreys(found):
    """One lesion per slide, all false positives below: a share, for which Rubin's draws are those of Jeffreys."""
    hits = [slide(f"s{i}", [0.9 if i < found else -np.inf], [0.1]) for i in range(12)]
    sample = resampling.bootstrap_froc(hits, 40_000, 0, mode="corrected")
    posterior = stats.beta(found + 0.5, 12 - found + 0.5)
    low, high = sample.interval
    assert low == (pytest.approx(posterior.ppf(0.025), abs=0.006) if found else 0)
    assert high == (pytest.approx(posterior.ppf(0.975), abs=0.006) if found < 12 else 1)
    assert stats.kstest(sample.scores, posterior.cdf).pvalue > 1e-4


@MODES
@pytest.mark.parametrize("score", [0.9, -np.inf])
def test_no_interval_has_width_0_where_all_lesions_are_found_or_none(mode, score):
    hits = [slide(f"s{i}", [score] * (1 + i % 2), [0.3], itc=1) for i in range(9)]
    result = resampling.bootstrap_froc(hits, 500, 0, mode=mode, at=[0.0, 0.5, 7.0])
    ends = [result.interval, *result.sens_interval.values(), *zip(*result.band, strict=True)]
    for low, high in ends:
        assert (low, high) == ((pytest.approx(low), 1.0) if score > 0 else (0.0, pytest.approx(high)))
        assert 0.05 < high - low < 0.4


def test_an_interval_holds_its_estimate_even_with_one_draw():
    hits = random_hits(np.random.default_rng(5), 12)
    curve, result = froc.froc(hits), resampling.bootstrap_froc(hits, 1, 0)
    assert result.interval[0] <= curve.score <= result.interval[1]
    assert all(low <= curve.sens_at[rate] <= high for rate, (low, high) in result.sens_interval.items())


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_paired_interval_excludes_zero_exactly_when_p_is_below_its_level(confidence):
    inside = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        slides = int(rng.choice([2, 5, 12, 30]))
        gain = rng.uniform(0, 0.6)
        first = [slide(f"s{i}", np.round(rng.random(2) + gain, 1), np.round(rng.random(3), 1)) for i in range(slides)]
        second = [slide(f"s{i}", np.round(rng.random(2), 1), np.round(rng.random(3), 1)) for i in range(slides)]
        result = resampling.paired_bootstrap(first, second, 300, seed, confidence)
        assert (result.low > 0 or result.high < 0) == (result.p < 1 - confidence)
        assert result.low < result.high
        inside += result.p < 1 - confidence
    assert 15 < inside < 135, "both cases happen"


def test_bootstrap_depends_on_its_seed_only():
    hits = random_hits(np.random.default_rng(3), 20)
    one, two, three = (resampling.bootstrap_froc(hits, 50, seed).scores for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_interval_holds_the_score_and_narrows_with_more_slides():
    widths = []
    for slides in (30, 300):
        hits = random_hits(np.random.default_rng(8), slides)
        curve, result = froc.froc(hits, "corrected"), resampling.bootstrap_froc(hits, 400, 0, mode="corrected")
        low, high = result.interval
        assert low < curve.score < high
        assert all(low <= curve.sens_at[rate] <= high for rate, (low, high) in result.sens_interval.items())
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_no_lesion_gives_nan_limits_without_a_warning():
    result = resampling.bootstrap_froc([slide("a", [], [0.5])], 10, 0)
    assert all(math.isnan(limit) for limit in result.interval)


def test_interval_covers_the_true_score():
    """Short version of bench/bench_intervals.py: lesions found with 0.6 above all false positives."""
    covered = 0
    for draw in range(120):
        rng = np.random.default_rng(1000 + draw)
        hits = []
        for index in range(60):
            found = rng.random(int(rng.integers(1, 4))) < 0.6
            best = np.where(found, rng.uniform(0.5, 1, len(found)), -np.inf)
            hits.append(slide(f"s{index}", best, rng.uniform(0, 0.5, 3)))
        low, high = resampling.bootstrap_froc(hits, 400, draw, mode="corrected").interval
        covered += low <= 0.6 <= high
    assert 0.89 <= covered / 120 <= 0.99


def test_paired_bootstrap_sees_a_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(4)
    worse = [slide(f"s{i}", rng.random(3), rng.random(4)) for i in range(60)]
    better = [froc.SlideHits(w.slide, w.false_positives, w.labels, np.minimum(w.best + 0.1, 1), 0) for w in worse]
    first, second = (resampling.bootstrap_froc(side, 500, 0).interval for side in (better, worse))
    assert first[0] < second[1]  # the intervals overlap
    result = resampling.paired_bootstrap(better, worse, 500, 0)
    assert 0 < result.low < result.difference < result.high
    assert result.p < 0.01
    same = resampling.paired_bootstrap(worse, worse, 500, 0)
    assert (same.difference, same.p) == (0, 1)
    assert -0.1 < same.low < 0 < same.high < 0.1
    with pytest.raises(UserError, match="same slides"):
        resampling.paired_bootstrap(worse, worse[1:], 10, 0)


def test_two_thousand_resamples_of_129_slides_with_5000_detections_take_seconds():
    rng = np.random.default_rng(0)
    hits = [slide(f"s{i}", rng.random(5) if i < 49 else [], rng.random(5000)) for i in range(129)]
    started = time.process_time()
    resampling.bootstrap_froc(hits, 2000, 0)
    assert time.process_time() - started < 8


# ---------------------------------------------------------------------------------------------------- curve, lesions


def test_corners_draw_the_same_curve_with_fewer_points():
    curve = froc.froc(random_hits(np.random.default_rng(2), 40, 200), "corrected")
    few = froc.corners(curve)
    assert len(few) < len(curve.fps) / 4
    x = np.linspace(0, curve.fps.max(), 333)
    thin = np.interp(x, curve.fps[few][::-1], curve.sensitivity[few][::-1])
    assert thin == pytest.approx(np.interp(x, curve.fps[::-1], curve.sensitivity[::-1]), abs=1e-12)


def test_a_lesion_is_found_at_the_false_positive_rate_of_its_score():
    curve = froc.froc([slide("a", [0.9, 0.4, -np.inf], [0.8, 0.5, 0.3]), slide("b", [], [])], "corrected")
    assert froc.found_at(curve, 0.9) == 0.0
    assert froc.found_at(curve, 0.4) == 1.0
    assert math.isnan(froc.found_at(curve, -np.inf))


# --------------------------------------------------------------------------------------------------- real outlines


@pytest.mark.skipif(SHARED is None, reason=REASON)
@pytest.mark.parametrize(
    ("name", "lesions", "itc"),
    [("tumor_073", 1, 0), ("tumor_001", 2, 0), ("tumor_091", None, None), ("tumor_096", None, None)],
)
def test_real_outlines_give_lesions_equal_to_scipy(name, lesions, itc):
    annotation = read_asap(SHARED / "camelyon16" / "annotations" / f"{name}.xml")
    _, _, right, bottom = annotation.tumor.bounds
    mask = tumor_mask(annotation, right + 4000, bottom + 4000)
    result = label_lesions(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = slice(rows[0] - 20, rows[-1] + 20), slice(columns[0] - 20, columns[-1] + 20)
    region = ndimage.distance_transform_edt(~mask[part]) < 75 / (PIXEL * 2)
    expected, number = ndimage.label(ndimage.binary_fill_holes(region), np.ones((3, 3)))
    assert np.array_equal(result.labels[part] > 0, expected > 0)
    assert len(result.table) == number
    if lesions is not None:
        assert (len(result.counted), len(result.itc)) == (lesions, itc)
