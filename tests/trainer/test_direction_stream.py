"""A stream of directions from clips to a bundle: who walks the wrong way is seen, by it alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from support.clips import MemoryClip

from edge.pipeline import Pipeline
from edge.scoring.heads import PlaceHead
from engines.bundle import Bundle, load_bundle
from engines.errors import ConfigError, DataError
from engines.model_spec import TrainingRecord
from trainer.assemble import assemble_bundle
from trainer.cli.train import train
from trainer.clip_split import ClipSplit, split_clips
from trainer.datasets.layouts import open_dataset
from trainer.direction_stream import (
    build_direction_stream,
    build_random_stream,
    collect_directions,
)
from trainer.direction_table import Directions, head_arrays
from trainer.evaluation.metrics_frame import roc
from trainer.normal_clip import NormalClip
from trainer.preset import Preset, load_preset
from trainer.preset_sections import TrustPreset
from trainer.progress import SilentTraining
from trainer.scenes import SceneSettings, render_scene
from trainer.stream_parts import HeadParts, StreamParts, open_runner, unseen_of

SCENE = SceneSettings(
    width=252,
    height=168,
    fps=8.0,
    normal_seconds=90.0,
    test_seconds=40.0,
    anomalies=("wrong_way", "wrong_way"),
    people_per_minute=8.0,  # in a crowd who walks the wrong way is mostly hidden
)


def recipe(width: int, height: int, floor: float = 5.0) -> Preset:
    streams = [
        {
            "name": "direction",
            "kind": "direction",
            "encoder": "place",
            "statistics": "picture",
            "options": {"floor": floor},
        },
        {
            "name": "speed",
            "kind": "speed",
            "encoder": "none",
            "statistics": "neighbourhood",
            "options": {"floor": floor},
        },
    ]
    return Preset.model_validate(
        {"name": "ways", "frame": {"width": width, "height": height}, "streams": streams}
    )


def make_parts(preset: Preset, split: ClipSplit) -> list[StreamParts]:
    direction, speed = preset.streams
    return [
        build_direction_stream(direction, direction.test_input(), preset=preset, split=split),
        StreamParts(
            name=speed.name,
            input=speed.test_input(),
            weight=speed.weight,
            learned=None,
            pooling=speed.statistics,
        ),
    ]


def make_bundle(
    root: Path, preset: Preset, split: ClipSplit, streams: Sequence[StreamParts] | None = None
) -> Bundle:
    record = TrainingRecord(
        dataset="ways",
        preset=preset.name,
        seed=0,
        command="tests",
        versions={},
        clips=len(split.fit),
        frames=1,
        seconds=1.0,
    )
    return assemble_bundle(
        root,
        preset=preset,
        streams=streams or make_parts(preset, split),
        fit=split.fit,
        held_out=split.held_out,
        threshold=split.threshold,
        record=record,
        threads=1,
    )


def lanes(number: int) -> list[NormalClip]:
    return [MemoryClip(name=f"n{seed}", length=40, seed=seed) for seed in range(number)]


def one_way(number: int) -> ClipSplit:
    clips = lanes(number)
    return ClipSplit(tuple(clips[2:]), tuple(clips[:1]), tuple(clips[1:2]), "clips")


def peaks(bundle: Bundle, clip: NormalClip) -> dict[str, np.ndarray]:
    """Largest surprise of each stream, frame by frame."""
    with Pipeline(bundle, threads=1) as pipeline, clip.open() as source:
        view = pipeline.new_view()
        maps = [pipeline.score(view, frame) for frame in source]
    return {
        name: np.array([one.streams[name].peak for one in maps]) for name in ("direction", "speed")
    }


def test_somebody_walking_the_wrong_way_is_seen_by_direction_and_not_by_speed(
    tmp_path: Path,
) -> None:
    render_scene(SCENE, tmp_path / "scene")
    dataset = open_dataset(tmp_path / "scene")
    split = split_clips(dataset.train, held_out=0.15, threshold=0.2, seed=0)
    preset = recipe(SCENE.width, SCENE.height, floor=5.0 * SCENE.unit)
    bundle = make_bundle(tmp_path / "bundle", preset, split)
    found: dict[str, list[np.ndarray]] = {"direction": [], "speed": []}
    labels = []
    for clip in dataset.test:
        for name, values in peaks(bundle, clip).items():
            found[name].append(values)
        labels.append(clip.frame_labels(len(values)))
    truth = np.concatenate(labels)
    auc = {name: roc(truth, np.concatenate(values)).auc for name, values in found.items()}
    assert auc["direction"] > 0.85
    assert auc["speed"] < 0.75


def test_the_bundle_holds_the_table_and_no_network(tmp_path: Path) -> None:
    preset = recipe(168, 112)
    bundle = make_bundle(tmp_path / "bundle", preset, one_way(6))
    stream = load_bundle(bundle.root).model.streams[0]
    assert (stream.input.kind, stream.head.kind, stream.network) == ("direction", "place", None)
    assert stream.head.file is not None
    assert bundle.arrays(stream.head.file)["log_density"].shape == (14, 21, 12)
    usual = peaks(bundle, MemoryClip(length=20, seed=0))
    against = peaks(bundle, MemoryClip(length=20, seed=0, speed=-3))
    assert against["direction"].max() > usual["direction"].max() + 1.0
    assert against["speed"].max() < usual["speed"].max() + 0.5


def test_vigil_train_builds_it_and_trust_knows_what_it_is_good_for(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / "street" / "normal" / f"clip{number}"
        folder.mkdir(parents=True)
        for frame in MemoryClip(length=60, seed=number).frames:
            cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)
    raw = recipe(168, 112).model_dump(mode="json", exclude_unset=True)
    raw["trust"] = {"per_kind": 4, "seconds": 2.0, "step": 0.25}
    (tmp_path / "ways.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    arguments = ["--dataset", str(tmp_path / "street"), "--preset", str(tmp_path / "ways.yaml")]
    arguments += ["--out", str(tmp_path / "out"), "--threads", "1", "--device", "cpu"]
    CliRunner().invoke(train, arguments, catch_exceptions=False, standalone_mode=False)
    trust = load_bundle(tmp_path / "out" / "bundle").model.trust
    assert trust is not None
    assert trust.streams["direction"]["reversed"] > 0.9
    assert trust.streams["speed"]["reversed"] < 0.6


def test_the_unseen_head_knows_nothing_of_its_clip() -> None:
    preset = recipe(168, 112)
    stream = preset.streams[0]
    strange = MemoryClip(name="strange", length=40, seed=0, speed=-3)
    fit = tuple(lanes(3))
    split = ClipSplit(fit, (strange,), (), "clips")
    part = build_direction_stream(stream, stream.test_input(), preset=preset, split=split)
    learned = part.learned
    assert isinstance(learned, HeadParts)
    expected = head_arrays([one.counts for one in collect(fit)])
    unseen = unseen_of(part, "strange", held_out=True)
    assert unseen is not None
    np.testing.assert_array_equal(unseen.arrays["log_density"], expected["log_density"])
    features = collect([strange])[0].features
    for given in (None, unseen):
        head = open_runner(part, threads=1, unseen=given).head
        assert isinstance(head, PlaceHead)
        assert (np.median(head.energy(features)) > 0.0) == (given is not None)
    assert learned.samples is not None
    energies, rows, columns = learned.samples
    assert len(energies) == len(rows) == len(columns) > 0
    # One clip a fold: its samples are as strange as it is to the others.
    own = energies[-len(features) :]
    np.testing.assert_allclose(own, PlaceHead(**expected).energy(features))


def collect(clips: Sequence[NormalClip], frames: int = 6000) -> list[Directions]:
    preset = recipe(168, 112)
    return collect_directions(
        clips,
        preset.streams[0].test_input(),
        frame=preset.frame,
        gate=preset.gate,
        folds=4,
        frames=frames,
        progress=SilentTraining(),
    )


def test_clips_are_dealt_to_folds() -> None:
    found = collect([MemoryClip(length=12, seed=n) for n in range(5)])
    assert [one.fold for one in found] == [0, 1, 2, 3, 0]


def test_all_frames_are_counted_and_some_give_samples() -> None:
    every, some = collect([MemoryClip(length=40)]), collect([MemoryClip(length=40)], 10)
    for one, few in zip(every, some, strict=True):
        np.testing.assert_array_equal(one.counts, few.counts)
        assert 0 < len(few.features) < len(one.features)


def test_footage_without_motion_is_refused() -> None:
    with pytest.raises(DataError, match="nothing travels"):
        collect([MemoryClip(length=10, speed=0)])


def test_a_table_of_directions_needs_directions() -> None:
    with pytest.raises(ConfigError, match="kind speed needs no place"):
        load_preset("accurate", ["streams.motion.encoder=place"])


def test_a_random_stream_knows_nothing_and_trust_gives_it_nothing(tmp_path: Path) -> None:
    preset = recipe(168, 112)
    blind = preset.streams[0].model_copy(update={"encoder": "random", "weight": 0.5})
    split = one_way(8)
    part = build_random_stream(blind, blind.test_input(), preset=preset, split=split)
    again = build_random_stream(blind, blind.test_input(), preset=preset, split=split)
    assert isinstance(part.learned, HeadParts)
    assert isinstance(again.learned, HeadParts)
    np.testing.assert_array_equal(
        part.learned.arrays["log_density"], again.learned.arrays["log_density"]
    )
    trusting = preset.model_copy(update={"trust": TrustPreset(per_kind=2, seconds=3.0, step=0.25)})
    seeing = make_parts(preset, split)[1]
    bundle = make_bundle(tmp_path / "bundle", trusting, split, [part, seeing])
    weights = {stream.name: stream.weight for stream in bundle.model.streams}
    assert weights["direction"] <= 0.25 < weights["speed"]
