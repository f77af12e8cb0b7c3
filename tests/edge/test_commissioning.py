"""Learning on site: what is kept of the footage, and that the result is what the parts say."""

import datetime
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.clock import ManualClock
from support.feeds import SaidFeed
from support.scores import frame

from calibration.stream_statistics import StreamStatistics
from calibration.threshold import fit_threshold
from edge.clock import SystemClock
from edge.commissioning.footage import Footage
from edge.commissioning.learn import (
    LESS_SENSITIVE,
    LITTLE_FOOTAGE,
    STATISTICS_SHARE,
    Learned,
    Order,
    Standard,
    hours_to_prove,
    learn,
)
from edge.commissioning.samples import MOMENT_APART_S, MOMENTS, EnergySamples, Moments
from edge.feeds import RecordingFeed
from edge.frames import EnergyMap, Frame
from edge.pipeline import Pipeline
from edge.scoring.cell_rules import CellRules
from edge.ticks import Ticker
from engines.errors import DataError, TemporaryError

LEFT = CellRules(masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))


class PlayedFeed(SaidFeed):
    """A live camera: at each look the next of `frames` (None: nothing new), then silence."""

    def __init__(
        self,
        frames: Sequence[tuple[int, Frame] | None],
        clock: ManualClock,
        *,
        turn_s: float = 1.0,
    ) -> None:
        super().__init__(epoch=0, fps=None)
        self.frames = frames
        self.clock = clock
        self.turn_s = turn_s
        self.at = 0

    def take(self) -> Frame | None:
        self.clock.turn(self.turn_s)
        now = self.frames[self.at] if self.at < len(self.frames) else None
        self.at += 1
        if now is None:
            return None
        self.epoch = now[0]
        return now[1]

    def due_s(self) -> float | None:
        return 0.0


def footage(feed: PlayedFeed | RecordingFeed, clock: ManualClock | SystemClock) -> Footage:
    ticker = Ticker(None, clock=clock)
    return Footage(feed, announce=threading.Event(), ticker=ticker, clock=clock)


def at(time_s: float, *, size: tuple[int, int] = (40, 60), epoch: int = 0) -> tuple[int, Frame]:
    return epoch, Frame(index=0, time_s=time_s, bgr=np.zeros((*size, 3), np.uint8))


def test_only_what_was_seen_counts_as_footage() -> None:
    clock = ManualClock()
    frames = [at(0), at(1), None, at(2), at(30), at(31), at(32, epoch=1), at(33, epoch=1), at(34)]
    one = footage(PlayedFeed(frames, clock), clock)
    looks = list(one.take(4.0))
    assert [look.cut for look in looks] == [True, False, False, True, False, True, False]
    assert one.seconds == 4.0  # 0-1-2, 30-31, 32-33
    assert one.shape == (40, 60)


def test_a_camera_that_is_away_for_long_ends_it_without_a_result() -> None:
    clock = ManualClock()
    one = footage(PlayedFeed([at(0), at(1)], clock, turn_s=60.0), clock)
    with pytest.raises(TemporaryError, match="has given nothing for 600 s"):
        list(one.take(10.0))


def test_another_part_of_the_scene_ends_it_and_another_resolution_does_not() -> None:
    clock = ManualClock()
    same = footage(PlayedFeed([at(0), at(1, size=(80, 120)), at(2, size=(80, 120))], clock), clock)
    assert [look.cut for look in same.take(1.0)] == [True, True, False]
    other = footage(PlayedFeed([at(0), at(1, size=(60, 60))], clock), clock)
    with pytest.raises(DataError, match="60x40 to 60x60"):
        list(other.take(1.0))


def test_a_recording_that_is_too_short_is_told() -> None:
    with MemoryClip(length=30).open() as source:
        clock = SystemClock()
        one = footage(RecordingFeed(source, clock=clock, realtime=False), clock)
        with pytest.raises(DataError, match="over after 3 s, 5 s were asked for"):
            list(one.take(5.0))


def energies(values: Sequence[float]) -> EnergyMap:
    grid = np.zeros((1, len(values)))
    grid[0] = values
    return EnergyMap(energy=grid, active=grid > 0)


def test_too_many_energies_are_thinned_evenly_and_stay_in_order() -> None:
    few, all_of_them = EnergySamples(most=100), EnergySamples(most=10**6)
    for number in range(1000):
        busy = [number + 1.0, 1.0 if number % 4 == 0 else 0.0]
        few.add(energies(busy))
        all_of_them.add(energies(busy))
    kept, _, columns = few.arrays()
    assert 25 <= len(kept) <= 100
    assert len(all_of_them.arrays()[0]) == 1250
    series = kept[columns == 0]
    steps = np.diff(series)
    assert (steps > 0).all()
    assert steps.min() == steps.max()  # evenly over the whole time
    assert series[-1] > 900


def test_frames_that_were_not_looked_at_do_not_count_as_left_out() -> None:
    """A stream that looks at every other frame: thinning by two must not take the others."""
    few = EnergySamples(most=100)
    for number in range(1000):
        looked = number % 2 == 1
        few.add(replace(energies([number + 1.0 if looked else 0.0]), fresh=looked))
    kept, _, _ = few.arrays()
    assert 50 <= len(kept) <= 100
    assert kept[-1] > 900
    assert set(np.diff(kept)) == {np.diff(kept)[0]}


def test_no_energies_are_empty_arrays() -> None:
    assert [len(part) for part in EnergySamples().arrays()] == [0, 0, 0]


def test_the_highest_moments_are_apart_and_highest_first() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=4000)
    moments = Moments()
    for index, score in enumerate(scores):
        moments.offer(frame(index), float(score))
    found = moments.highest_first()
    assert len(found) == MOMENTS
    assert found[0].score == scores.max()
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    times = sorted(m.time_s for m in found)
    assert min(np.diff(times)) >= MOMENT_APART_S
    big = Frame(
        0, 0.0, np.zeros((720, 1280, 3), np.uint8), datetime.datetime.now(datetime.timezone.utc)
    )
    one = Moments()
    one.offer(big, 1.0)
    assert one.highest_first()[0].picture.shape == (360, 640, 3)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("bundle")
    return Pipeline(tiny_bundle(folder / "bundle", workspace=folder), threads=1)


def learned(
    pipeline: Pipeline,
    clip: MemoryClip,
    *,
    seconds: float,
    rules: CellRules = LEFT,
    per_hour: float = 3600.0,
) -> Learned:
    alarm = pipeline.bundle.alarm
    assert alarm is not None
    clock = SystemClock()
    with clip.open() as source:
        return learn(
            Order("yard", rules, seconds, per_hour, 0.9),
            footage=footage(RecordingFeed(source, clock=clock, realtime=False), clock),
            pipeline=pipeline,
            now=Standard(pipeline.statistics, alarm),
            clock=clock,
        )


def test_the_result_is_what_a_plain_loop_over_the_same_frames_gives(pipeline: Pipeline) -> None:
    """Second implementation: collect, fit, score, fit, with nothing of the room used."""
    clip = MemoryClip(length=160, seed=5)
    result = learned(pipeline, clip, seconds=15.0).calibration
    first = [one for one in clip.frames if one.time_s <= 15.0 * STATISTICS_SHARE]
    rest = clip.frames[len(first) : 151]
    view = pipeline.new_view(LEFT)
    samples: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in pipeline.streams}
    for one in first:
        for name, energy in pipeline.energies([(view, one)])[0].items():
            masked = LEFT.on_energy(energy)
            rows, columns = np.nonzero(masked.active)
            samples[name].append((masked.energy[rows, columns], rows, columns))
    fitted = {}
    for name, parts in samples.items():
        shape = pipeline.statistics[name].cells.shape
        fitted[name] = StreamStatistics.fit(*map(np.concatenate, zip(*parts, strict=True)), shape)
        for key, array in fitted[name].to_arrays().items():
            np.testing.assert_allclose(result.statistics[name].to_arrays()[key], array)
        masked_cells = LEFT.ignored(shape)
        assert masked_cells.any()
        assert fitted[name].cells.count[masked_cells].sum() == 0
    view = pipeline.new_view(LEFT, fitted)
    scores = np.array([pipeline.score(view, one).score for one in rest])
    expected = fit_threshold(
        [(np.array([one.time_s for one in rest]), scores)], budget_per_hour=3600.0, confidence=0.9
    )
    assert result.record.alarm.threshold == pytest.approx(expected.threshold)
    assert result.record.alarm.events_seen == expected.events_seen
    assert result.record.alarm.hours == pytest.approx(expected.hours)
    assert result.record.statistics_hours == pytest.approx(5.0 / 3600.0)
    assert (result.record.width, result.record.height) == (168, 112)
    assert result.record.bundle == pipeline.bundle.digest


def test_too_little_footage_is_a_concern_that_says_how_much_is_needed(pipeline: Pipeline) -> None:
    record = learned(
        pipeline, MemoryClip(length=130), seconds=12.0, per_hour=1 / 24
    ).calibration.record
    assert LITTLE_FOOTAGE in record.concerns
    assert "71.9 h" not in record.concerns[LITTLE_FOOTAGE]
    assert (
        f"{hours_to_prove(1 / 24, 0.9):.3g} h without one could" in record.concerns[LITTLE_FOOTAGE]
    )
    assert record.alarm.extrapolated
    assert hours_to_prove(1 / 24, 0.95) == pytest.approx(71.9, abs=0.05)


def test_unrest_in_the_footage_is_a_concern_because_it_makes_blind(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(0)
    clip = MemoryClip(length=260)
    for index in range(60, 260):  # every frame noise: learned as normal it would hide everything
        noise = rng.integers(0, 256, clip.frames[index].bgr.shape, dtype=np.uint8)
        clip.frames[index] = Frame(index, index / 10.0, noise)
    result = learned(pipeline, clip, seconds=24.0, rules=CellRules())
    assert LESS_SENSITIVE in result.calibration.record.concerns
    assert any(change.less_sensitive for change in result.changes.values())


def test_footage_in_which_nothing_moves_is_told(pipeline: Pipeline) -> None:
    still = MemoryClip(length=130, speed=0)
    everywhere = CellRules(masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),))
    with pytest.raises(DataError, match="nothing moved"):
        learned(pipeline, still, seconds=12.0, rules=everywhere)


def test_statistics_of_another_bundle_are_refused_by_the_pipeline(pipeline: Pipeline) -> None:
    one = pipeline.statistics["motion"]
    with pytest.raises(DataError, match="streams"):
        pipeline.new_view(CellRules(), {"motion": one})
    small = StreamStatistics.fit(np.arange(9.0), np.zeros(9, int), np.zeros(9, int), (2, 2))
    with pytest.raises(DataError, match="2, 2"):
        pipeline.new_view(CellRules(), {"motion": one, "appearance": small})


def test_site_statistics_are_the_camera_s_own(pipeline: Pipeline, tmp_path: Path) -> None:
    """Two cameras in one step: one with other statistics, and the other is not touched by it."""
    del tmp_path
    clip = MemoryClip(length=20, seed=9)
    alone = pipeline.new_view()
    plain = [pipeline.score(alone, one).score for one in clip.frames]
    other = {
        name: StreamStatistics(
            type(s.cells)(
                s.cells.median + 50.0,
                s.cells.scale * 3.0,
                s.cells.count,
                s.cells.global_median,
                s.cells.global_scale,
            ),
            s.tail,
            s.smallest_energy,
        )
        for name, s in pipeline.statistics.items()
    }
    mine, theirs = pipeline.new_view(), pipeline.new_view(CellRules(), other)
    both = [pipeline.step([(mine, one), (theirs, one)]) for one in clip.frames]
    np.testing.assert_allclose([one.score for one, _ in both], plain)
    assert max(two.score for _, two in both) < max(plain)
