"""The official lesion evaluation written a second time, plainly: Python loops and lists, nothing shared with chowder.

Slow on purpose. ``mask`` is a list of rows of 0/1; detections are (score, x, y) tuples. Lesion scores are kept in
single precision, false positives in double, as in the challenge's script of 2016.
"""

from __future__ import annotations

import math
import struct


def single(value):
    """``value`` rounded to single precision."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def expand(mask, radius):
    """Pixels whose distance to the nearest tumour pixel is below ``radius``."""
    height, width = len(mask), len(mask[0])
    reach = int(radius) + 1
    region = [[0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            for other_row in range(max(0, row - reach), min(height, row + reach + 1)):
                for other_column in range(max(0, column - reach), min(width, column + reach + 1)):
                    if mask[other_row][other_column]:
                        distance = math.sqrt((row - other_row) ** 2 + (column - other_column) ** 2)
                        if distance < radius:
                            region[row][column] = 1
    return region


def flood(image, row, column, value, neighbours):
    """Pixels connected to (row, column) through pixels equal to ``value``."""
    height, width = len(image), len(image[0])
    seen = {(row, column)}
    stack = [(row, column)]
    while stack:
        r, c = stack.pop()
        for dr, dc in neighbours:
            place = (r + dr, c + dc)
            inside = 0 <= place[0] < height and 0 <= place[1] < width
            if inside and place not in seen and image[place[0]][place[1]] == value:
                seen.add(place)
                stack.append(place)
    return seen


FOUR = [(0, 1), (1, 0), (0, -1), (-1, 0)]
EIGHT = [*FOUR, (1, 1), (1, -1), (-1, 1), (-1, -1)]


def fill(region):
    """Background that a 4-connected walk from the border does not reach becomes foreground."""
    height, width = len(region), len(region[0])
    filled = [row[:] for row in region]
    done = set()
    for row in range(height):
        for column in range(width):
            if region[row][column] == 0 and (row, column) not in done:
                lake = flood(region, row, column, 0, FOUR)
                done |= lake
                if not any(r in (0, height - 1) or c in (0, width - 1) for r, c in lake):
                    for r, c in lake:
                        filled[r][c] = 1
    return filled


def label(image):
    """8-connected components, numbered in the order in which a raster scan meets them."""
    labels = [[0] * len(image[0]) for _ in image]
    number = 0
    for row in range(len(image)):
        for column in range(len(image[0])):
            if image[row][column] and not labels[row][column]:
                number += 1
                for r, c in flood(image, row, column, 1, EIGHT):
                    labels[r][c] = number
    return labels, number


def major_axis(pixels):
    """Major axis of the ellipse with the same second moments: 4 sqrt(largest eigenvalue of the covariance)."""
    n = len(pixels)
    mean_r = sum(r for r, _ in pixels) / n
    mean_c = sum(c for _, c in pixels) / n
    rr = sum((r - mean_r) ** 2 for r, _ in pixels) / n
    cc = sum((c - mean_c) ** 2 for _, c in pixels) / n
    rc = sum((r - mean_r) * (c - mean_c) for r, c in pixels) / n
    return 4 * math.sqrt(max(0.0, (rr + cc) / 2 + math.sqrt(((rr - cc) / 2) ** 2 + rc**2)))


def lesions(mask, mpp, downsample):
    """Label image, number of labels, set of labels that are isolated tumour cells."""
    labels, number = label(fill(expand(mask, 75 / (mpp * downsample * 2))))
    itc = set()
    for one in range(1, number + 1):
        pixels = [(r, c) for r, row in enumerate(labels) for c, value in enumerate(row) if value == one]
        if major_axis(pixels) < 275 / (mpp * downsample):
            itc.add(one)
    return labels, number, itc


def slide_scores(labels, number, itc, detections, downsample):
    """False-positive scores, one score per label (0 for a miss and for ITC), number of lesions."""
    false_positives, best = [], [0.0] * number
    for score, x, y in detections:
        hit = labels[int(y / downsample)][int(x / downsample)] if labels is not None else 0
        if hit == 0:
            false_positives.append(score)
        elif hit not in itc:
            best[hit - 1] = max(best[hit - 1], single(score))
    return false_positives, best, number - len(itc)


def interpolate(x, xs, ys):
    """Linear interpolation in ascending ``xs``, clamped; at equal xs the last counts."""
    place = -1
    for index, value in enumerate(xs):
        if value <= x:
            place = index
    if place == len(xs) - 1:
        return ys[-1]
    if xs[place] == x:
        return ys[place]
    slope = (ys[place + 1] - ys[place]) / (xs[place + 1] - xs[place])
    return slope * (x - xs[place]) + ys[place]


def froc(slides):
    """``slides``: (false positives, lesion scores, number of lesions) each. Curve, sensitivities, score."""
    false_positives = [score for slide in slides for score in slide[0]]
    best = [score for slide in slides for score in slide[1]]
    total = sum(slide[2] for slide in slides)
    fps, sensitivity = [], []
    for threshold in sorted(set(false_positives + best))[1:]:
        fps.append(sum(score >= threshold for score in false_positives) / float(len(slides)))
        sensitivity.append(sum(score >= single(threshold) for score in best) / float(total))
    fps.append(0.0)
    sensitivity.append(0.0)
    at = [interpolate(rate, fps[::-1], sensitivity[::-1]) for rate in (0.25, 0.5, 1, 2, 4, 8)]
    return fps, sensitivity, at, sum(at) / 6
