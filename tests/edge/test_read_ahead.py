"""Reading ahead changes when the work is done, and nothing else."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle
from support.clips import MemoryClip

from edge.pipeline import Pipeline
from edge.read_ahead import read_ahead
from engines.errors import DataError


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(range(50), depth=3)) == list(range(50))
    assert list(read_ahead([])) == []
    assert list(read_ahead([None, 0, None])) == [None, 0, None]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise DataError("cut short")

    taken: list[int] = []
    with pytest.raises(DataError, match="cut short"):
        taken.extend(read_ahead(items()))
    assert taken == [1, 2]


def test_the_next_item_is_made_while_the_caller_works() -> None:
    """Each item is made only after the caller has begun on the one before: else this hangs."""
    begun = [threading.Event() for _ in range(5)]
    makers: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(4):
            makers.add(threading.get_ident())
            yield number
            assert begun[number].wait(10.0)

    for number in read_ahead(items(), depth=1):
        begun[number].set()
    assert threading.get_ident() not in makers
    assert len(makers) == 1


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_it_stays_within_its_depth(depth: int) -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    for number in read_ahead(items(), depth=depth):
        assert len(made) <= number + 1 + depth


def test_a_caller_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(iter(range(1000)))
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_scores_are_those_of_frame_after_frame(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    frames = MemoryClip(length=30).frames
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        one_by_one = [pipeline.score(view, frame) for frame in frames]
        ahead = list(pipeline.score_all(pipeline.new_view(), frames))
        views = [pipeline.new_view() for _ in range(3)]
        together = [pipeline.step([(view, frame) for view in views])[2] for frame in frames]
    assert [frame.index for frame, _ in ahead] == [frame.index for frame in frames]
    for expected, (_, found), many in zip(one_by_one, ahead, together, strict=True):
        assert found.score == expected.score
        np.testing.assert_array_equal(found.map, expected.map)
        assert many.score == pytest.approx(expected.score, rel=1e-5, abs=1e-6)
