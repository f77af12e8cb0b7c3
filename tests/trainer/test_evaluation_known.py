"""Painted footage with known scores gives known figures: see `support.graded`."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from support.graded import RULE, PaintedPipeline, open_known_dataset, painted_bundle, write_clip

from engines.bundle import Bundle
from engines.errors import DataError, InputMissingError
from trainer.datasets.clip import Dataset
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.report_json import json_from_evaluation, values_from_evaluation
from trainer.evaluation.result import Evaluation

# 18 anomalous frames: 16 score 20, 2 score 1. 42 normal frames: 37 score 2, 5 score 20.
FRAME_AUC = 16 * (37 + 5 / 2) / (18 * 42)
FRAME_EER = 15 / 127  # on the straight line from (0, 0) to (5/42, 16/18), where x = 1 - y
# 40 % of the mask: 8 anomalous frames have 20 there, 10 have 1.
PIXEL_AUC = 8 * (37 + 5 / 2) / (18 * 42)

REQUIRED_KEYS = {
    "frame_auc": float,
    "frame_eer": float,
    "pixel_auc": float,
    "pixel_eer": float,
    "baseline_frame_auc": (float, type(None)),
    "baseline_pixel_auc": (float, type(None)),
    "false_alarms_per_hour": float,
    "events_found": int,
    "events_total": int,
    "delay_frames_median": float,
    "frames": int,
    "fps": float,
    "protocol": str,
    "seed": int,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return painted_bundle(folder / "bundle", folder)


@pytest.fixture(scope="module")
def known(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, PaintedPipeline]:
    dataset = open_known_dataset(tmp_path_factory.mktemp("known") / "yard")
    pipeline = PaintedPipeline()
    result = evaluate_bundle(bundle, dataset, baseline=False, open_pipeline=lambda _: pipeline)
    return result, pipeline


def run(bundle: Bundle, dataset: Dataset) -> Evaluation:
    return evaluate_bundle(
        bundle, dataset, baseline=False, open_pipeline=lambda _: PaintedPipeline()
    )


def test_frame_and_pixel_figures_are_those_of_the_hand(
    known: tuple[Evaluation, PaintedPipeline],
) -> None:
    detector = known[0].detector
    assert detector.frame.auc == pytest.approx(FRAME_AUC, abs=1e-12)
    assert detector.frame.eer == pytest.approx(FRAME_EER, abs=1e-12)
    assert detector.pixel.auc == pytest.approx(PIXEL_AUC, abs=1e-12)
    # Clip a separates, clip b ranks 8 of 10 above all normal frames; c has one class only.
    assert detector.macro_auc == pytest.approx((1.0 + 0.8) / 2)
    assert detector.macro_clips == 2


def test_streams_have_figures_of_their_own(known: tuple[Evaluation, PaintedPipeline]) -> None:
    streams = known[0].streams
    # Half the map ranks like the map; a stream that always says the same knows nothing.
    assert streams["appearance"].frame.auc == pytest.approx(FRAME_AUC)
    assert streams["appearance"].pixel.auc == pytest.approx(PIXEL_AUC)
    assert streams["motion"].frame.auc == pytest.approx(0.5)
    assert streams["motion"].pixel.eer == pytest.approx(0.5)


def test_events_delay_and_false_alarms(known: tuple[Evaluation, PaintedPipeline]) -> None:
    events = known[0].events
    assert (events.found, events.total, events.alarms, events.false_alarms) == (2, 2, 3, 1)
    # The third frame above the threshold opens: two frames after each event's start.
    assert events.delay_frames == (2, 2)
    assert events.delay_s == pytest.approx((0.2, 0.2))
    assert events.normal_hours == pytest.approx(4.2 / 3600)
    assert events.false_alarms_per_hour == pytest.approx(3600 / 4.2)
    low, high = events.interval
    assert low < 3600 / 4.2 < high
    rates = known[0].at_threshold
    assert (rates.false_positive, rates.true_positive) == pytest.approx((5 / 42, 16 / 18))


def test_every_clip_is_streamed_once_in_order_with_a_fresh_view(
    known: tuple[Evaluation, PaintedPipeline],
) -> None:
    assert known[1].shown == [list(range(20))] * 3
    assert known[1].closed


def test_timelines_show_truth_and_alarms_in_frames(
    known: tuple[Evaluation, PaintedPipeline],
) -> None:
    a, b, c = known[0].timelines
    assert (a.truth, b.truth, c.truth) == (((8, 16),), ((0, 10),), ())
    assert (a.alarms, b.alarms, c.alarms) == (((10, 16),), ((2, 10),), ((7, 10),))
    assert c.auc is None


def test_pictures_are_the_extremes(known: tuple[Evaluation, PaintedPipeline]) -> None:
    pictures = known[0].pictures
    # One frame of a clip in five seconds, earlier first where scores are equal.
    assert [(m.clip, m.index, m.score) for m in pictures.highest] == [
        ("a", 8, 20.0),
        ("b", 0, 20.0),
        ("c", 5, 20.0),
    ]
    worst, missed = pictures.false_alarms[0], pictures.misses[0]
    assert (worst.clip, worst.index, worst.score) == ("c", 5, 20.0)
    assert (missed.clip, missed.index, missed.score) == ("b", 4, 1.0)
    assert all(m.anomalous for m in pictures.misses)
    assert pictures.highest[0].mask.sum() == 64


def test_regions_are_reported_where_there_are_masks(
    known: tuple[Evaluation, PaintedPipeline],
) -> None:
    regions = known[0].regions
    assert (regions.regions, regions.tracks) == (18, 2)
    assert 0.0 <= regions.rbdc <= 1.0


def test_json_has_the_promised_keys_and_types(known: tuple[Evaluation, PaintedPipeline]) -> None:
    values = json.loads(json_from_evaluation(known[0]))
    for key, kind in REQUIRED_KEYS.items():
        assert isinstance(values[key], kind), key
    assert values["frame_auc"] == pytest.approx(FRAME_AUC)
    assert values["delay_frames_median"] == 2.0
    assert values["frames"] == 60
    assert values["seed"] == 0
    assert values["baseline_frame_auc"] is None
    assert set(values["streams"]) == {"appearance", "motion"}
    assert values["streams"]["motion"]["frame_auc"] == pytest.approx(0.5)
    assert values["stage_ms"] == {"score": pytest.approx(12.0 / 60)}
    assert [clip["name"] for clip in values["clips"]] == ["a", "b", "c"]
    assert values["clips"][0]["alarms"] == [[10, 16]]


def test_every_alarm_says_what_drove_it(known: tuple[Evaluation, PaintedPipeline]) -> None:
    values = json.loads(json_from_evaluation(known[0]))
    a, b, c = (clip["reasons"] for clip in values["clips"])
    assert [len(one) for one in (a, b, c)] == [1, 1, 1]
    assert (a[0]["first"], a[0]["end"], a[0]["peak_frame"]) == (10, 16, 8)
    assert [one[0]["found_event"] for one in (a, b, c)] == [True, True, False]
    # Cell (1, 2) of 4 x 6, driven by the stream that has half of it.
    assert a[0]["stream"] == "appearance"
    assert (a[0]["peak_cell"]["x"], a[0]["peak_cell"]["y"]) == pytest.approx(
        (2 / 6, 1 / 4), abs=1e-4
    )
    assert a[0]["peak_cell"] in a[0]["cells"]
    assert a[0]["where"] == "centre"
    assert b[0]["where"] == "lower right"
    assert a[0]["why"].startswith("centre: ")
    assert "looks unlike anything seen" in a[0]["why"]
    assert values["weights"] == {"appearance": 0.5, "motion": 0.5}
    assert values["trust"] is None
    assert set(values["footage"]) == {"appearance", "motion"}


def test_without_masks_pixel_figures_are_null(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    (tmp_path / "labels.csv").write_text("clip,first,last\na,8,15\nb,0,9\n")
    shutil.rmtree(tmp_path / "masks")
    dataset = open_dataset(tmp_path, fps=10.0)
    values = values_from_evaluation(run(bundle, dataset))
    assert values["frame_auc"] == pytest.approx(FRAME_AUC)
    for key in ("pixel_auc", "pixel_eer", "rbdc", "tbdc", "baseline_pixel_auc"):
        assert values[key] is None
    assert values["events_total"] == 2


def test_without_any_ground_truth_everything_judged_is_null(bundle: Bundle, tmp_path: Path) -> None:
    write_clip(tmp_path / "test" / "a", [{}] * 12)
    result = run(bundle, open_dataset(tmp_path, fps=10.0))
    values = values_from_evaluation(result)
    for key in ("frame_auc", "frame_eer", "pixel_auc", "events_found", "false_alarms_per_hour"):
        assert values[key] is None
    assert values["frames"] == 12
    assert values["threshold"] == RULE.threshold
    assert any("no ground truth" in note for note in values["notes"])


def test_without_a_threshold_event_figures_are_null(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    values = values_from_evaluation(run(dataclasses.replace(bundle, alarm=None), dataset))
    assert values["frame_auc"] == pytest.approx(FRAME_AUC)
    for key in ("threshold", "events_found", "events_total", "delay_frames_median"):
        assert values[key] is None
    assert values["clips"][0]["alarms"] == []


def test_a_data_set_without_test_clips_is_a_clear_error(bundle: Bundle, tmp_path: Path) -> None:
    write_clip(tmp_path / "normal" / "a", [{}] * 5)
    with pytest.raises(InputMissingError, match="no test clips"):
        run(bundle, open_dataset(tmp_path, fps=10.0))


def test_a_baseline_that_cannot_be_fitted_is_a_note(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    result = evaluate_bundle(bundle, dataset, open_pipeline=lambda _: PaintedPipeline())
    assert result.baseline is None
    assert any("no speed baseline" in note for note in result.provenance.notes)


def test_frames_beyond_the_labels_are_scored_and_not_judged(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    clips = tuple(
        dataclasses.replace(
            clip, labels=((8, 16),), label_count=18, mask_source=None, count_slack=2
        )
        for clip in dataset.test[:1]
    )
    result = run(bundle, dataclasses.replace(dataset, test=clips))
    assert result.speed.frames == 20
    assert result.timelines[0].index.size == 18
    assert any("2 frames beyond its labels" in note for note in result.provenance.notes)


def test_labels_of_another_length_are_an_error(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    clip = dataclasses.replace(dataset.test[0], labels=((8, 16),), label_count=14, mask_source=None)
    with pytest.raises(DataError, match="20 frames and 14"):
        run(bundle, dataclasses.replace(dataset, test=(clip,)))


def test_an_unreadable_picture_is_counted(bundle: Bundle, tmp_path: Path) -> None:
    dataset = open_known_dataset(tmp_path)
    (tmp_path / "test" / "a" / "003.png").write_bytes(b"not a picture")
    result = run(bundle, dataset)
    assert result.timelines[0].skipped == 1
    assert any("a: 1 frame could not be read" in note for note in result.provenance.notes)
    assert result.detector.frame.auc == pytest.approx(FRAME_AUC)
