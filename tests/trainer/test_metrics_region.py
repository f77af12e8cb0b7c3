"""Region and track criteria against a brute-force sweep and hand-made scenes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from engines.errors import DataError
from trainer.evaluation.metrics_region import (
    RegionMetrics,
    area_to_one,
    box_overlap,
    pixel_boxes,
)
from trainer.evaluation.region_tracks import TrackLinker, connected_boxes

Mask = NDArray[np.bool_] | None
Frame = tuple[NDArray[np.float64], Mask]


def box_mask(
    *boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)
) -> NDArray[np.bool_]:
    """Boxes are top, bottom, left, right."""
    mask = np.zeros(size, dtype=bool)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def measure(clips: list[list[Frame]], levels: int = 512) -> RegionMetrics:
    metrics = RegionMetrics(levels)
    for clip in clips:
        metrics.begin_clip()
        for scores, mask in clip:
            metrics.add(scores, mask)
    return metrics


def brute_force(clips: list[list[Frame]], tau: float) -> tuple[float, float, float]:
    """False positives per frame, share of regions and of tracks found, by plain loops."""
    false = frames = 0
    hits: dict[int, list[bool]] = {}
    linker = TrackLinker()
    for clip in clips:
        linker.cut()
        for scores, mask in clip:
            frames += 1
            truth = linker.link(mask)
            height, width = (1, 1) if mask is None else mask.shape
            rows, columns = scores.shape
            labels, count = ndimage.label(scores >= tau, structure=np.ones((3, 3)))
            predictions = []
            for k in range(1, count + 1):
                pixels = [
                    (r, c)
                    for r in range(height)
                    for c in range(width)
                    if labels[rows * r // height, columns * c // width] == k
                ]
                predictions.append(_box(pixels))
            boxes = [tuple(map(int, box)) for box in truth.boxes]
            for prediction in predictions:
                false += not any(_iou(prediction, box) >= 0.1 for box in boxes)
            for box, track in zip(boxes, truth.tracks.tolist(), strict=True):
                found = any(_iou(prediction, box) >= 0.1 for prediction in predictions)
                hits.setdefault(track, []).append(found)
    flat = [hit for track in hits.values() for hit in track]
    tracks = [sum(track) / len(track) >= 0.1 for track in hits.values()]
    return false / frames, float(np.mean(flat)), float(np.mean(tracks))


def _box(pixels: list[tuple[int, int]]) -> tuple[int, ...]:
    if not pixels:
        return (0, 0, 0, 0)
    rows, columns = zip(*pixels, strict=True)
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def _iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    cells = [
        {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (a, b)
    ]
    union = len(cells[0] | cells[1])
    return len(cells[0] & cells[1]) / union if union else 0.0


def random_clips(seed: int) -> list[list[Frame]]:
    random = np.random.default_rng(seed)
    clips: list[list[Frame]] = []
    for _ in range(2):
        clip: list[Frame] = []
        left = int(random.integers(0, 8))
        for i in range(6):
            scores = random.integers(0, 6, (4, 5)).astype(np.float64)
            mask = box_mask((3, 8, left + i, left + i + 5), size=(13, 17)) if i > 1 else None
            clip.append((scores, mask))
        clips.append(clip)
    return clips


@pytest.mark.parametrize("seed", range(6))
def test_every_threshold_counts_what_brute_force_counts(seed: int) -> None:
    clips = random_clips(seed)
    found = measure(clips).result()
    assert found.regions_found is not None
    assert found.tracks_found is not None
    assert found.thresholds.tolist() == sorted(
        {value for clip in clips for scores, _ in clip for value in scores.ravel()}, reverse=True
    )
    for i, tau in enumerate(found.thresholds):
        counted = (found.false_positives[i], found.regions_found[i], found.tracks_found[i])
        assert counted == pytest.approx(brute_force(clips, tau))


def test_a_perfect_map_has_both_areas_at_one() -> None:
    scores = np.zeros((4, 6))
    scores[1, 2] = 1.0
    clip: list[Frame] = [(scores, box_mask((10, 20, 20, 30))), (np.zeros((4, 6)), None)]
    found = measure([clip]).result()
    assert (found.rbdc, found.tbdc) == (1.0, 1.0)
    assert (found.regions, found.tracks, found.frames) == (1, 1, 2)


def test_a_false_region_first_costs_its_rate() -> None:
    """Two frames; the false region is stronger, so the true one is found at 0.5 per frame."""
    scores = np.zeros((4, 6))
    scores[1, 2] = 1.0
    false = np.zeros((4, 6))
    false[3, 5] = 2.0
    found = measure([[(scores, box_mask((10, 20, 20, 30))), (false, None)]]).result()
    assert found.rbdc == pytest.approx(0.5)


def test_a_track_is_found_by_a_tenth_of_its_regions() -> None:
    empty, hit = np.zeros((4, 6)), np.zeros((4, 6))
    hit[1, 2] = 1.0
    mask = box_mask((10, 20, 20, 30))
    for length, expected in ((10, 1.0), (11, 0.0)):
        clip: list[Frame] = [(hit, mask)] + [(empty, mask)] * (length - 1)
        found = measure([clip]).result()
        assert found.tracks_found is not None
        assert found.regions_found is not None
        assert found.tracks_found[0] == expected
        assert found.regions_found[0] == pytest.approx(1 / length)


def test_a_box_far_too_large_does_not_find_a_small_object() -> None:
    scores = np.ones((4, 6))
    found = measure([[(scores, box_mask((10, 14, 20, 24)))]]).result()
    assert found.rbdc == 0.0
    assert found.false_positives.tolist() == [1.0]


def test_without_masks_there_is_no_figure() -> None:
    found = measure([[(np.zeros((2, 2)), None)]]).result()
    assert (found.rbdc, found.tbdc) == (None, None)
    assert found.regions == 0


def test_a_constant_map_is_defined() -> None:
    mask = box_mask((0, 40, 0, 60))
    found = measure([[(np.full((4, 6), 3.0), mask)] * 3]).result()
    assert (found.rbdc, found.tbdc) == (1.0, 1.0)


def test_with_many_values_few_thresholds_come_close_to_all() -> None:
    random = np.random.default_rng(0)
    clip: list[Frame] = []
    for i in range(40):
        scores = random.exponential(1.0, (10, 15))
        mask = box_mask((8, 16, i, i + 12)) if i % 3 else None
        if mask is not None:
            scores[2:4, 4 * i // 15 : 4 * i // 15 + 2] += random.exponential(3.0)
        clip.append((scores, mask))
    exact, coarse = (measure([clip], levels).result() for levels in (10_000, 200))
    assert exact.rbdc is not None
    assert coarse.rbdc is not None
    assert coarse.thresholds.size <= 200
    assert coarse.rbdc == pytest.approx(exact.rbdc, abs=0.03)
    assert coarse.rbdc <= exact.rbdc + 1e-12  # fewer thresholds never flatter


def test_the_order_of_clips_does_not_matter() -> None:
    clips = random_clips(9)
    one, other = measure(clips).result(), measure(clips[::-1]).result()
    assert one.rbdc == pytest.approx(other.rbdc)
    assert one.tbdc == pytest.approx(other.tbdc)


@pytest.mark.parametrize(
    ("rates", "found", "area"),
    [
        ([0.0], [1.0], 1.0),
        ([0.25], [0.8], 0.6),  # nothing before 0.25, extended to 1
        ([0.0, 0.5, 2.0], [0.2, 0.6, 1.0], 0.4),
        ([0.5, 0.25], [0.1, 0.6], 0.45),  # a worse value at a higher rate changes nothing
        ([1.5], [1.0], 0.0),
        ([1.0], [1.0], 0.0),
    ],
)
def test_area_to_one_by_hand(rates: list[float], found: list[float], area: float) -> None:
    assert area_to_one(np.array(rates), np.array(found)) == pytest.approx(area)


def test_overlap_of_boxes_by_hand() -> None:
    a = np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    b = np.array([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0], [0.0, 0.0, 2.0, 2.0]])
    assert box_overlap(a, b).tolist() == [[1 / 7, 0.0, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("size", [(240, 360), (238, 158), (13, 17), (10, 15)])
def test_pixel_boxes_hold_exactly_the_pixels_of_their_cells(size: tuple[int, int]) -> None:
    height, width = size
    for cell in range(10):
        cells = np.array([[cell, cell, cell + 1, cell + 1]], dtype=np.int32)
        left, top, right, bottom = pixel_boxes(cells, (10, 15), size)[0]
        assert [c for c in range(width) if 15 * c // width == cell] == list(
            range(int(left), int(right))
        )
        assert [r for r in range(height) if 10 * r // height == cell] == list(
            range(int(top), int(bottom))
        )


def test_diagonal_neighbours_are_one_region() -> None:
    labels, boxes = connected_boxes(np.eye(3, dtype=bool))
    assert boxes.tolist() == [[0, 0, 3, 3]]
    assert labels.max() == 1


def test_tracks_follow_overlap_and_end_where_there_is_none() -> None:
    linker = TrackLinker()
    first = linker.link(box_mask((0, 10, 0, 10), (20, 30, 0, 10)))
    second = linker.link(box_mask((0, 10, 5, 15), (20, 30, 30, 40)))
    assert first.tracks.tolist() == [0, 1]
    assert second.tracks.tolist() == [0, 2]
    linker.link(None)
    assert linker.link(box_mask((0, 10, 5, 15))).tracks.tolist() == [3]
    assert linker.sizes == [2, 1, 1, 1]


def test_where_regions_merge_or_split_the_larger_part_keeps_the_track() -> None:
    linker = TrackLinker()
    assert linker.link(box_mask((0, 10, 0, 10), (0, 10, 20, 24))).tracks.tolist() == [0, 1]
    assert linker.link(box_mask((0, 10, 0, 24))).tracks.tolist() == [0]
    assert linker.link(box_mask((0, 10, 0, 4), (0, 10, 8, 24))).tracks.tolist() == [2, 0]


def test_a_track_does_not_go_across_clips() -> None:
    linker = TrackLinker()
    linker.link(box_mask((0, 10, 0, 10)))
    linker.cut()
    assert linker.link(box_mask((0, 10, 0, 10))).tracks.tolist() == [1]


def test_broken_input_is_refused() -> None:
    with pytest.raises(DataError, match="at least one frame"):
        RegionMetrics().result()
    with pytest.raises(DataError, match="R x C"):
        RegionMetrics().add(np.array([[np.nan]]), None)
    with pytest.raises(DataError, match="R x C"):
        RegionMetrics().add(np.zeros(3), None)
