"""The shelves of the gallery: best kept, neighbours not shown twice, pictures made only if kept."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.gallery import Gallery, Moment, Shelf


def moment(clip: str, time_s: float, score: float) -> Moment:
    return Moment(
        clip=clip,
        index=round(10 * time_s),
        time_s=time_s,
        score=score,
        anomalous=None,
        picture=np.zeros((2, 2, 3), np.uint8),
        map=np.zeros((1, 1), np.float32),
        mask=None,
    )


def fill(shelf: Shelf, series: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    for clip, time_s, score in series:
        shelf.offer(clip, time_s, score, lambda c=clip, t=time_s, s=score: moment(c, t, s))
    return [(m.clip, m.time_s, m.score) for m in shelf.moments]


def test_the_highest_are_kept_best_first() -> None:
    series = [("a", float(i), float(i % 7)) for i in range(20)]
    kept = fill(Shelf(3, highest=True, gap_s=0.5), series)
    assert kept == [("a", 6.0, 6.0), ("a", 13.0, 6.0), ("a", 5.0, 5.0)]


def test_the_lowest_are_kept_best_first() -> None:
    kept = fill(Shelf(2, highest=False, gap_s=0.5), [("a", 0, 3.0), ("a", 1, 1.0), ("a", 2, 2.0)])
    assert [score for _, _, score in kept] == [1.0, 2.0]


def test_of_close_neighbours_the_better_stays_and_other_clips_do_not_count() -> None:
    shelf = Shelf(3, highest=True, gap_s=1.0)
    kept = fill(shelf, [("a", 0.0, 1.0), ("a", 0.5, 2.0), ("a", 0.9, 1.5), ("b", 0.5, 1.0)])
    assert kept == [("a", 0.5, 2.0), ("b", 0.5, 1.0)]


def test_a_better_frame_between_two_replaces_both() -> None:
    kept = fill(
        Shelf(3, highest=True, gap_s=1.0), [("a", 0, 1.0), ("a", 1.5, 1.0), ("a", 0.8, 2.0)]
    )
    assert kept == [("a", 0.8, 2.0)]


def test_pictures_are_made_only_for_what_is_kept() -> None:
    shelf = Shelf(1, highest=True)
    shelf.offer("a", 0.0, 2.0, lambda: moment("a", 0.0, 2.0))
    shelf.offer("b", 0.0, 1.0, lambda: pytest.fail("made a picture that is not kept"))
    Shelf(0, highest=True).offer("a", 0.0, 1.0, lambda: pytest.fail("a shelf of size 0"))


def test_ground_truth_sorts_frames_onto_their_shelves() -> None:
    gallery = Gallery(2)
    for time_s, score, anomalous in ((0.0, 9.0, False), (10.0, 1.0, True), (20.0, 5.0, None)):
        gallery.offer(
            "a",
            time_s,
            score,
            lambda t=time_s, s=score: moment("a", t, s),
            anomalous=anomalous,
            warm_up=False,
        )
    assert [m.score for m in gallery.highest.moments] == [9.0, 5.0]
    assert [m.score for m in gallery.lowest.moments] == [1.0, 5.0]
    assert [m.score for m in gallery.false_alarms.moments] == [9.0]
    assert [m.score for m in gallery.misses.moments] == [1.0]


def test_the_warm_up_is_no_low_score() -> None:
    gallery = Gallery(2)
    gallery.offer("a", 0.0, 0.0, lambda: moment("a", 0.0, 0.0), anomalous=True, warm_up=True)
    assert not gallery.lowest.moments
    assert not gallery.misses.moments
    assert len(gallery.highest.moments) == 1
