"""Score maps in words: what, how rare, where, and whether anything was seen there before."""

import numpy as np
import pytest
from support.scores import SHAPE, explainer, frame, scored, stream

from edge.events.explain import NOTHING
from edge.events.footage import first_looks, moving_samples, samples_around
from edge.events.words import PHRASES, phrases_of, place_in_words, rarity
from edge.frames import ScoreMap
from edge.inputs import INPUT_KINDS

SPEED = PHRASES["speed"]


def score_map(fused: np.ndarray, **streams: np.ndarray) -> ScoreMap:
    return ScoreMap(
        frame_index=0,
        time_s=0.0,
        map=fused.astype(np.float32),
        score=float(fused.max()),
        raw_score=float(fused.max()),
        streams={name: stream(values) for name, values in streams.items()},
    )


def spot(row: int, column: int, value: float) -> np.ndarray:
    grid = np.zeros(SHAPE)
    grid[row, column] = value
    return grid


@pytest.mark.parametrize(
    ("surprise", "words"),
    [
        (0.2, "a little faster than usual"),
        (1.0, "faster than 90 % of what was seen here"),
        (3.6990, "faster than 99.98 % of what was seen here"),
        (3.6980, "faster than 99.95 % of what was seen here"),
        (5.999, "faster than 99.9998 % of what was seen here"),
        (6.1, "faster than anything seen here"),
        (400.0, "faster than anything seen here"),
    ],
)
def test_rarity_in_words_rounds_towards_the_commoner(surprise: float, words: str) -> None:
    assert rarity(SPEED, surprise, samples=10**8) == words


@pytest.mark.parametrize("samples", [0, 1, 9, 10, 150, 2000, 12_345])
def test_no_number_is_rarer_than_the_footage_proves(samples: int) -> None:
    for surprise in np.linspace(0.0, 8.0, 321):
        words = rarity(SPEED, float(surprise), samples=samples)
        if "%" in words:
            share = float(words.split()[2])
            assert 1 / (1 - share / 100) <= samples * (1 + 1e-9)
            assert 1 / (1 - share / 100) <= 10**surprise * (1 + 1e-6)
        else:
            assert surprise < 1.0 or 10**surprise > samples


def test_every_input_kind_has_words_and_an_unknown_one_its_name() -> None:
    assert set(INPUT_KINDS) <= set(PHRASES)
    assert rarity(PHRASES["window"], 3.0, samples=10_000) == (
        "looks unlike 99.9 % of what was seen here"
    )
    assert rarity(PHRASES["direction"], 9.0, samples=10_000) == (
        "goes a way that nothing seen here went"
    )
    odd = phrases_of("sound", "mic_{0}")
    assert rarity(odd, 2.0, samples=1000) == "mic_{0}: more unusual than 99 % of what was seen here"
    assert rarity(odd, 5.0, samples=1000) == "mic_{0}: beyond anything seen here"
    assert rarity(odd, 0.5, samples=1000) == "mic_{0}: a little unusual"


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.5, 0.5, "centre"),
        (0.2, 0.2, "upper left"),
        (0.8, 0.5, "right"),
        (0.5, 0.9, "lower centre"),
        (0.97, 0.5, "right edge"),
        (0.02, 0.8, "left edge, lower part"),
        (0.8, 0.99, "lower edge, right part"),
        (0.5, 0.0, "upper edge"),
        (0.01, 0.02, "upper left corner"),
        (1.0, 1.0, "lower right corner"),
    ],
)
def test_places_as_one_would_point_to_them(x: float, y: float, words: str) -> None:
    assert place_in_words(x, y) == words


def test_the_largest_share_is_named_first_and_weightless_streams_never() -> None:
    fused = spot(1, 1, 5.0)
    maps = {"look": spot(1, 1, 4.0), "pace": spot(1, 1, 3.0), "way": spot(1, 1, 9.0)}
    streams = ("look", "window", 0.2), ("pace", "speed", 0.8), ("way", "direction", 0.0)
    found = explainer(*streams, count=5000).explain(score_map(fused, **maps))
    assert found.stream == "pace"
    assert found.where == "left"
    assert found.why == (
        "left: faster than 99.9 % of what was seen here; looks unlike 99.99 % of what was seen here"
    )
    assert list(found.streams) == ["pace", "look", "way"]
    # A second stream that is commoner than one in a hundred is not worth a word.
    quiet = explainer(*streams, count=5000).explain(
        score_map(fused, **maps | {"look": maps["pace"] / 2})
    )
    assert "looks" not in quiet.why


def test_two_streams_of_a_kind_are_told_apart_by_name() -> None:
    both = explainer(("near", "window", 0.6), ("far", "appearance", 0.4), count=5000)
    found = both.explain(score_map(spot(1, 1, 3.0), near=spot(1, 1, 3.0), far=spot(1, 1, 3.0)))
    assert "here (near); looks" in found.why
    assert found.why.endswith("here (far)")


def test_the_cell_that_caused_a_plateau_is_found() -> None:
    one = scored(frame(0), 6.0, cell=(1, 1))
    one.map[0:3, 0:3] = 6.0
    found = explainer(("appearance", "appearance", 0.5), ("motion", "motion", 0.5)).explain(one)
    assert (found.peak.x, found.peak.y) == pytest.approx((1 / 6, 1 / 4))
    assert found.streams["motion"] == pytest.approx(8.0)


def test_a_stream_that_saw_something_beside_the_cell_is_named_after_those_in_it() -> None:
    plateau = np.zeros(SHAPE)
    plateau[0:3, 0:3] = 4.0
    maps = {"pace": spot(1, 1, 4.0), "look": spot(0, 2, 6.0) / 2, "way": spot(3, 5, 9.0)}
    streams = ("look", "window", 0.4), ("pace", "speed", 0.4), ("way", "direction", 0.2)
    found = explainer(*streams, count=5000).explain(score_map(plateau, **maps))
    assert list(found.streams.items()) == [("pace", 4.0), ("look", 3.0), ("way", 0.0)]
    assert found.why.startswith("left: faster than 99.99 %")
    assert found.why.endswith("looks unlike 99.9 % of what was seen here")


def test_a_map_of_nothing_says_so() -> None:
    words = explainer(("pace", "speed", 1.0))
    found = words.explain(score_map(np.zeros(SHAPE), pace=np.zeros(SHAPE)))
    assert (found.stream, found.why) == (None, NOTHING)
    assert len(found.cells) == 1


def test_where_nothing_was_ever_seen_moving_that_is_the_first_word() -> None:
    count = np.zeros(SHAPE, np.int64)
    count[:, :3] = 40
    words = explainer(("pace", "speed", 1.0), count=count)
    far = words.explain(score_map(spot(1, 5, 2.5), pace=spot(1, 5, 2.5)))
    assert far.why == (
        "right: nothing was seen moving here before; faster than 99.5 % of what was seen elsewhere"
    )
    known = words.explain(score_map(spot(1, 1, 2.5), pace=spot(1, 1, 2.5)))
    assert known.why == "left: faster than 99.5 % of what was seen here"
    count[:, :3], count[0, 0] = 2, 300
    seldom = explainer(("pace", "speed", 1.0), count=count)
    words_there = seldom.explain(score_map(spot(2, 2, 2.0), pace=spot(2, 2, 2.0))).why
    assert "little was seen moving here before; faster than 99 %" in words_there


def test_first_frames_that_were_looked_at_whole_are_no_movement() -> None:
    count = np.full((3, 4), 13, np.int64)
    count[1] = 900
    assert first_looks(count) == 13
    assert moving_samples(count)[0].tolist() == [0, 0, 0, 0]
    # Without a gate all cells have the same: nothing can be said, so nothing is.
    assert first_looks(np.full((3, 4), 500, np.int64)) == 0
    assert samples_around([moving_samples(count)], 0.5, 0.1) == 3 * 887
    assert samples_around([np.zeros((4, 4), np.int64), np.full((1, 1), 7)], 1.0, 1.0) == 7
    assert samples_around([], 0.5, 0.5) is None
