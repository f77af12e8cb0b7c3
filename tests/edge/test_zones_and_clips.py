"""Masks and zones on the grid, and the clip of an event, against counts made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.clock import ManualClock
from support.scores import detector, frame, scored

from edge.events.clips import ClipKeeper
from edge.events.event import Event, load_schema
from edge.events.film import FilmBuffer, FilmSpec, write_film
from edge.events.recorder import Recorder
from edge.events.tracker import EventTracker, Report
from edge.frames import EnergyMap, Frame
from edge.pipeline import Pipeline
from edge.scoring.cell_rules import CellRules, Zone, area, covered
from engines.bundle import load_bundle

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
UPPER = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))


class TestCoverage:
    def test_half_the_picture_is_half_the_cells(self) -> None:
        cells = covered(LEFT, (4, 6))
        assert cells[:, :3].all()
        assert not cells[:, 3:].any()

    @pytest.mark.parametrize(("right", "expected"), [(0.55, False), (0.70, True)])
    def test_a_cell_counts_when_half_of_it_is_covered(self, right: float, expected: bool) -> None:
        # Columns are 1/4 wide: 0.5..0.75 is covered by a fifth, or by four fifths.
        cells = covered(((0, 0), (right, 0), (right, 1), (0, 1)), (2, 4))
        assert cells[0].tolist() == [True, True, expected, False]

    def test_a_triangle_agrees_with_sampled_points(self) -> None:
        shape, triangle = (9, 16), ((0.1, 0.1), (0.9, 0.2), (0.3, 0.95))
        rng = np.random.default_rng(0)
        points = rng.random((200_000, 2))
        inside = np.ones(len(points), bool)
        for (x0, y0), (x1, y1) in zip(triangle, [*triangle[1:], triangle[0]], strict=True):
            inside &= (x1 - x0) * (points[:, 1] - y0) - (y1 - y0) * (points[:, 0] - x0) >= 0
        rows, columns = (points[:, 1] * 9).astype(int), (points[:, 0] * 16).astype(int)
        share = np.zeros(shape)
        count = np.zeros(shape)
        np.add.at(share, (rows, columns), inside)
        np.add.at(count, (rows, columns), 1)
        share /= count
        clear = abs(share - 0.5) > 0.06
        assert (covered(triangle, shape) == (share >= 0.5))[clear].all()

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
    def test_any_polygon_is_taken(self, corners: list[tuple[float, float]]) -> None:
        assert covered(tuple(corners), (5, 7)).shape == (5, 7)
        assert 0.0 <= area(corners) <= 4.0

    def test_area(self) -> None:
        assert area(LEFT) == 0.5
        assert area(((0, 0), (1, 0), (0, 1))) == 0.5
        assert area(((0, 0), (0.5, 0.5), (1, 1))) == 0.0


class TestRules:
    def test_masked_cells_are_low_and_zones_are_moved(self) -> None:
        rules = CellRules(masks=(LEFT,), zones=(Zone("gate", UPPER, 1.5), Zone("all", LEFT, -1.0)))
        fused = np.full((4, 6), 5.0)
        result = rules.on_fused(fused)
        assert (result[:, :3] == 0.0).all()
        assert (result[:2, 3:] == 3.5).all()
        assert (result[2:, 3:] == 5.0).all()
        assert (fused == 5.0).all()

    def test_where_zones_overlap_the_most_sensitive_counts(self) -> None:
        rules = CellRules(zones=(Zone("a", LEFT, 2.0), Zone("b", UPPER, -1.0)))
        offset = rules.offset((4, 6))
        assert (offset[:2].min(), offset[2, 0], offset[3, 5]) == (-1.0, 2.0, 0.0)

    def test_masked_energies_count_as_never_seen(self) -> None:
        energy = EnergyMap(energy=np.ones((4, 6)), active=np.ones((4, 6), bool))
        masked = CellRules(masks=(LEFT,)).on_energy(energy)
        assert masked.active.sum() == 12
        assert not masked.active[:, :3].any()

    def test_negative_maps_stay_below_nothing(self) -> None:
        fused = np.full((2, 2), -3.0)
        assert CellRules(masks=(LEFT,)).on_fused(fused).min() == -3.0


def test_a_mask_hides_an_anomaly_from_the_whole_pipeline(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    frames = MemoryClip(length=20, seed=7).frames
    rng = np.random.default_rng(3)
    strange = []
    for one in frames:
        picture = one.bgr.copy()
        if one.index >= 10:  # something jumps about in the left third
            top = int(rng.integers(0, 50))
            picture[top : top + 56, 0:50] = rng.integers(0, 255, (56, 50, 3), dtype=np.uint8)
        strange.append(replace(one, bgr=picture))
    with Pipeline(load_bundle(tmp_path / "bundle"), threads=1) as pipeline:

        def highest(clip: list[Frame], rules: CellRules) -> float:
            view = pipeline.new_view(rules)
            return max(pipeline.score(view, one).raw_score for one in clip)

        plain = highest(frames, CellRules())
        seen = highest(strange, CellRules())
        masked = highest(strange, CellRules(masks=(LEFT,)))
        moved = highest(strange, CellRules(zones=(Zone("left", LEFT, 1.0),)))
    assert seen > plain + 1.0
    assert masked < seen - 1.0
    assert moved == pytest.approx(seen - 1.0, abs=1e-6) or moved < seen


def tracker(rules: CellRules) -> EventTracker:
    return EventTracker(
        device="gate-01", camera="yard", detector=detector(), clock=ManualClock(), rules=rules
    )


def test_events_name_their_zones_and_a_new_zone_is_an_update() -> None:
    rules = CellRules(zones=(Zone("left", LEFT), Zone("upper", UPPER)))
    one, reports = tracker(rules), []
    for index in range(80):
        # From the right lower part to the left after 3 s; the score stays the same.
        cell = (3, 5) if index < 30 else (3, 0)
        current = frame(index)
        score = 5.0 if index < 70 else 0.0
        reports += one.update(current, scored(current, score, cell=cell))
    reports += one.finish("stopped")
    assert [(r.event.phase, r.event.zones) for r in reports] == [
        ("start", ()),
        ("update", ("left",)),
        ("end", ("left",)),
    ]
    assert reports[1].event.position_s == pytest.approx(5.2)


class TestFilm:
    def test_what_is_kept_while_nothing_happens(self) -> None:
        buffer = FilmBuffer(FilmSpec(pre_s=2.0, fps=5.0))
        for index in range(100):
            buffer.add(frame(index, fps=10.0), keep_all=False)
        times = [one.time_s for one in buffer.cut(0.0, 99.0)]
        assert times == pytest.approx([6.0 + 0.2 * i for i in range(20)], abs=0.11)

    def test_memory_is_bounded_and_the_beginning_of_an_event_is_kept(self) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
        spec = FilmSpec(pre_s=1.0, fps=10.0, max_bytes=600_000)
        buffer = FilmBuffer(spec)
        for index in range(200):
            one = replace(frame(index, fps=10.0), bgr=noise)
            buffer.add(one, keep_all=index > 20)
        kept = buffer.cut(0.0, 99.0)
        assert sum(len(one.jpeg) for one in kept) <= spec.max_bytes
        assert kept[0].time_s <= 1.0
        assert kept[-1].time_s < 10.0
        assert buffer.full

    def test_large_pictures_are_made_small(self) -> None:
        buffer = FilmBuffer(FilmSpec(width=64))
        buffer.add(replace(frame(0), bgr=np.zeros((480, 640, 3), np.uint8)), keep_all=False)
        (one,) = buffer.cut(0, 1)
        assert cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), 1).shape == (48, 64, 3)

    def test_a_clip_plays_and_shows_its_time(self, tmp_path: Path) -> None:
        buffer = FilmBuffer(FilmSpec(fps=5.0))
        for index in range(30):
            buffer.add(frame(index, fps=10.0, value=index * 8), keep_all=True)
        stored = write_film(tmp_path, "x", buffer.cut(0.0, 99.0))
        assert stored is not None
        assert stored.details == {"from_position_s": 0.0, "to_position_s": 2.8}
        with av.open(str(tmp_path / "x.webm")) as film:
            pictures = list(film.decode(video=0))
        levels = [float(one.to_ndarray(format="bgr24").mean()) for one in pictures]
        times = [one.time for one in pictures]
        assert times == pytest.approx([0.2 * index for index in range(15)], abs=0.002)
        assert levels == pytest.approx([index * 16 for index in range(15)], abs=6)
        assert [path.name for path in tmp_path.iterdir()] == ["x.webm"]

    def test_one_picture_is_no_clip(self, tmp_path: Path) -> None:
        buffer = FilmBuffer(FilmSpec())
        buffer.add(frame(0), keep_all=True)
        assert write_film(tmp_path, "x", buffer.cut(0, 1)) is None


def play(keeper: ClipKeeper, scores: list[float]) -> list[tuple[float, Report]]:
    """What leaves the keeper, and the source time at which it leaves."""
    one, left = tracker(CellRules()), []
    for index, score in enumerate(scores):
        current = frame(index)
        reports = one.update(current, scored(current, score))
        left += [(current.time_s, report) for report in keeper.take(current, reports)]
    return left + [(-1.0, report) for report in keeper.finish(one.finish("camera_lost"))]


class TestClipKeeper:
    SPEC = FilmSpec(pre_s=2.0, post_s=3.0, fps=10.0)

    def test_an_end_waits_for_its_post_roll(self) -> None:
        # Above from 5.0 to 5.9 s, quiet at 6.9 s, closed for good at 7.9 s.
        left = play(ClipKeeper(self.SPEC), [1.0] * 50 + [5.0] * 10 + [1.0] * 80)
        assert [report.event.phase for _, report in left] == ["start", "end"]
        at_s, end = left[1]
        assert at_s == pytest.approx(6.9 + 3.0, abs=0.11)
        assert end.film[0].time_s == pytest.approx(3.0, abs=0.11)
        assert end.film[-1].time_s == pytest.approx(9.9, abs=0.11)
        assert len(end.film) == pytest.approx(70, abs=3)

    def test_without_clips_nothing_waits(self) -> None:
        left = play(ClipKeeper(None), [1.0] * 50 + [5.0] * 10 + [1.0] * 80)
        assert left[1][0] == pytest.approx(7.9, abs=0.11)
        assert left[1][1].film == ()

    def test_another_event_lets_the_end_go_before_its_start(self) -> None:
        scores = [1.0] * 20 + [5.0] * 10 + [1.0] * 25 + [5.0] * 10 + [1.0] * 10
        phases = [(r.event.phase, r.event.id) for _, r in play(ClipKeeper(self.SPEC), scores)]
        assert [phase for phase, _ in phases] == ["start", "end", "start", "end"]
        assert phases[0][1] == phases[1][1] != phases[2][1]

    def test_a_lost_camera_lets_everything_go(self) -> None:
        left = play(ClipKeeper(self.SPEC), [1.0] * 20 + [5.0] * 10)
        assert [report.event.phase for _, report in left] == ["start", "end"]
        assert left[1][0] == -1.0
        assert len(left[1][1].film) > 20


def test_the_end_of_an_event_names_its_clip_and_fits_the_schema(tmp_path: Path) -> None:
    sent: list[Event] = []
    recorder = Recorder(folder=tmp_path, sink=sent.append)
    recorder.start()
    for _, report in play(ClipKeeper(TestClipKeeper.SPEC), [1.0] * 50 + [5.0] * 10 + [1.0] * 80):
        recorder.submit(report)
    recorder.close()
    start, end = (event.payload() for event in sent)
    number = {"stream_id": "01890a5d-ac96-774b-bcce-b302099a8057", "seq": 1}
    for payload in (start, end):
        jsonschema.validate({**payload, **number}, load_schema())
    assert start["clip"] is None
    clip = end["clip"]
    assert (tmp_path / Path(clip["path"]).name).stat().st_size == clip["bytes"]
    assert clip["to_position_s"] - clip["from_position_s"] == pytest.approx(6.9, abs=0.3)
    assert end["model"]["bundle"] == "0" * 64
