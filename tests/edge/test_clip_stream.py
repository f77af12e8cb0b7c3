"""Streams of whole pictures: what the network is shown, and its map read at the cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.bundles import FRAME, open_network
from support.clips import MemoryClip, write_pictures
from support.map_networks import difference_map, write_difference_map

from edge.bench_growth import STRIDES, growth
from edge.frames import Frame
from edge.inputs import Cells, open_input
from edge.inputs.cells import channels_of
from edge.pipeline import Pipeline, StreamPipeline
from edge.runner import MapRunner, map_on_grid, open_host_runner
from edge.scoring.heads import IdentityHead, answer_energy
from edge.vision.observe import Observer
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import (
    GateSpec,
    HeadSpec,
    InputSpec,
    MapSpec,
    NetworkSpec,
    StreamSpec,
    TrainingRecord,
)
from trainer.assemble import assemble_bundle
from trainer.preset import Preset
from trainer.stream_parts import LearnedParts, StreamParts

SIDE, BLOCK, FRAMES = 48, 4, 4
GRID = (112 // 28, 168 // 28)


def spec(**options: bool | float) -> InputSpec:
    return InputSpec(kind="clip", patch=SIDE, stride=28, options={"frames": FRAMES, **options})


def observe(
    frames: list[Frame], input_spec: InputSpec, gate: GateSpec | None = None
) -> Iterator[Cells]:
    observer = Observer(FRAME, gate or GateSpec())
    stream = open_input(input_spec, frame=FRAME, gate=gate or GateSpec())
    for frame in frames:
        yield stream.observe(observer.observe(frame))


def small(frame: Frame, *, grey: bool) -> np.ndarray:
    """One picture as the network is to see it: float32, colours x side x side."""
    picture = frame.bgr
    if grey:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    shrunk = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    planes = shrunk[None] if grey else shrunk[..., ::-1].transpose(2, 0, 1)
    return planes.astype(np.float32) / 255.0


@pytest.mark.parametrize("grey", [False, True])
def test_the_newest_pictures_are_stacked_oldest_first(grey: bool) -> None:
    frames = MemoryClip(length=7).frames
    everywhere = GateSpec(enabled=False)
    for number, cells in enumerate(observe(frames, spec(grey=grey), everywhere)):
        wanted = [small(frames[max(i, 0)], grey=grey) for i in range(number - 3, number + 1)]
        item = cells.gather()
        assert item.shape == (1, channels_of(spec(grey=grey)), SIDE, SIDE)
        np.testing.assert_allclose(item[0], np.concatenate(wanted), atol=1e-6)
        assert cells.warm_up == (number < FRAMES - 1)
        assert len(cells) == GRID[0] * GRID[1]
        assert cells.items == 1


def test_cells_are_those_that_moved_and_nothing_moving_is_no_item() -> None:
    clip = MemoryClip(length=3)
    still = Frame(3, 0.3, clip.frames[2].bgr)
    *_, moving, quiet = observe([*clip.frames, still], spec())
    changed = np.abs(
        cv2.cvtColor(clip.frames[2].bgr, cv2.COLOR_BGR2GRAY).astype(int)
        - cv2.cvtColor(clip.frames[1].bgr, cv2.COLOR_BGR2GRAY)
    )
    blocks = (changed > 15).reshape(4, 28, 6, 28).sum(axis=(1, 3))
    active = np.zeros(GRID, bool)
    active[moving.rows, moving.columns] = True
    np.testing.assert_array_equal(active, blocks >= 4)
    assert (moving.items, len(quiet), quiet.items) == (1, 0, 0)
    assert quiet.gather().shape[0] == 0
    assert quiet.fresh


def test_a_look_every_so_often_still_remembers_every_picture() -> None:
    frames = MemoryClip(length=9).frames
    found = list(observe(frames, spec(every_s=0.3)))
    assert [one.fresh for one in found] == [True, False, False] * 3
    assert not len(found[4])
    wanted = np.concatenate([small(frame, grey=False) for frame in frames[3:7]])
    np.testing.assert_allclose(found[6].gather()[0], wanted, atol=1e-6)


@pytest.mark.parametrize("options", [{"frames": 2.5}, {"frames": 0}, {"every_s": -1}, {"top": 3}])
def test_options_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(DataError, match=next(iter(options))):
        open_input(spec(**options), frame=FRAME, gate=GateSpec())


def test_a_finer_map_is_averaged_over_the_cell_and_a_coarser_one_is_read_between() -> None:
    rng = np.random.default_rng(0)
    fine = rng.random((2, 12, 18), dtype=np.float32)
    wanted = fine.reshape(2, 4, 3, 6, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(map_on_grid(fine, (4, 6)), wanted, atol=1e-6)
    slope = np.tile(np.arange(4, dtype=np.float32), (1, 4, 1))
    read = map_on_grid(slope, (8, 8))[0, 3]
    np.testing.assert_allclose(read[1:-1], np.arange(0.25, 3.0, 0.5), atol=1e-6)


def stream(network: Path, rows: int, columns: int) -> StreamSpec:
    return StreamSpec(
        name="clip",
        input=spec(),
        network=NetworkSpec(
            input="patches",
            output="latent",
            files={"fp32": network.name},
            map=MapSpec(rows=rows, columns=columns),
        ),
        head=HeadSpec(kind="identity"),
        statistics="statistics/clip.npz",
        weight=1.0,
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "difference.onnx"
    write_difference_map(path, frames=FRAMES, colours=3, side=SIDE, block=BLOCK)
    return path


def runner(network: Path, rows: int = 12, columns: int = 12) -> MapRunner:
    made = open_host_runner(stream(network, rows, columns), open_network(network), IdentityHead())
    assert isinstance(made, MapRunner)
    return made


def test_every_camera_gets_the_energies_of_its_own_picture_from_one_batch(network: Path) -> None:
    pipeline = StreamPipeline(frame=FRAME, gate=GateSpec(), runners=[runner(network)])
    clips = [MemoryClip(length=6, seed=seed) for seed in (0, 1)]
    views = [pipeline.new_view() for _ in clips]
    for number in range(6):
        work = [(v, clip.frames[number]) for v, clip in zip(views, clips, strict=True)]
        found = pipeline.energies(work)
    pipeline.close()
    for clip, maps in zip(clips, found, strict=True):
        item = np.concatenate([small(frame, grey=False) for frame in clip.frames[2:6]])[None]
        wanted = cv2.resize(
            difference_map(item, colours=3, block=BLOCK)[0, 0],
            GRID[::-1],
            interpolation=cv2.INTER_AREA,
        )
        energy = maps["clip"]
        assert energy.active.any()
        np.testing.assert_allclose(
            energy.energy[energy.active], wanted[energy.active], rtol=1e-4, atol=1e-6
        )


def test_a_network_that_answers_another_map_is_refused(network: Path) -> None:
    pipeline = StreamPipeline(frame=FRAME, gate=GateSpec(), runners=[runner(network, rows=7)])
    view = pipeline.new_view()
    first, second = MemoryClip(length=2).frames
    pipeline.energies([(view, first)])
    with pytest.raises(DataError, match="7 x 12"):
        pipeline.energies([(view, second)])
    pipeline.close()


def test_parity_compares_an_energy_for_each_place_of_each_map(network: Path) -> None:
    maps = np.random.default_rng(0).random((3, 1, 12, 12), dtype=np.float32)
    energy = answer_energy(stream(network, 12, 12), IdentityHead())
    np.testing.assert_allclose(energy(maps), maps.ravel(), atol=1e-7)


@pytest.fixture(scope="module")
def bundle(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a clip stream and the speed statistic."""
    preset = Preset.model_validate(
        {
            "name": "whole",
            "frame": FRAME.model_dump(),
            "streams": [{"name": "speed", "kind": "speed", "encoder": "none", "weight": 1.0}],
        }
    )
    items = np.random.default_rng(0).random((4, 3 * FRAMES, SIDE, SIDE), dtype=np.float32)
    parts = [
        StreamParts(
            name="clip",
            input=spec(),
            weight=0.5,
            learned=LearnedParts(
                network=network,
                parameters=3,
                arrays={},
                head="identity",
                map=MapSpec(rows=12, columns=12),
                parity_patches=items,
                parity_latents=difference_map(items, colours=3, block=BLOCK),
            ),
            pooling="picture",
        ),
        StreamParts(
            name="speed",
            input=InputSpec(kind="speed"),
            weight=0.5,
            learned=None,
            pooling="picture",
        ),
    ]
    record = TrainingRecord(
        dataset="squares",
        preset="whole",
        seed=0,
        command="tests",
        versions={},
        clips=1,
        frames=40,
        seconds=4.0,
    )
    return assemble_bundle(
        tmp_path_factory.mktemp("bundle") / "bundle",
        preset=preset,
        streams=parts,
        fit=[MemoryClip(name="fit", length=40, seed=3)],
        held_out=[MemoryClip(name="held-out", length=40, seed=1)],
        threshold=[MemoryClip(name="threshold", length=40, seed=2)],
        record=record,
        threads=1,
    )


def test_a_bundle_with_a_clip_stream_runs_beside_another_kind(bundle: Bundle) -> None:
    whole = bundle.model.streams[0]
    assert whole.network is not None
    assert whole.network.map == MapSpec(rows=12, columns=12)
    assert whole.head == HeadSpec(kind="identity")
    usual, flicker = MemoryClip(length=20, seed=5), MemoryClip(length=20, seed=5)
    for frame in flicker.frames:
        frame.bgr[28:84, 56:112] = 255 * (frame.index % 2)
    peaks = []
    with Pipeline(bundle, threads=1) as pipeline:
        for clip in (usual, flicker):
            view = pipeline.new_view()
            scores = [pipeline.score(view, frame) for frame in clip.frames]
            peaks.append(max(score.streams["clip"].peak for score in scores[FRAMES:]))
            assert scores[2].warm_up
            assert not scores[-1].warm_up
    assert peaks[1] > peaks[0] + 1.0


def test_half_precision_passes_the_gate_and_gives_the_same_scores(bundle: Bundle) -> None:
    whole = bundle.model.streams[0]
    assert whole.network is not None
    halved = bundle.path(whole.network.files["fp16"])
    items = np.random.default_rng(1).random((2, 3 * FRAMES, SIDE, SIDE), dtype=np.float32)
    found = open_network(halved).infer(items)
    np.testing.assert_allclose(found, difference_map(items, colours=3, block=BLOCK), atol=2e-3)


def test_the_growth_of_a_clip_stream_is_measured_too(bundle: Bundle, tmp_path: Path) -> None:
    """With another stride its answers are maps still."""
    write_pictures(tmp_path / "clip", MemoryClip(length=6))
    rows = growth(bundle, str(tmp_path / "clip"), frames=6)
    assert [row.value for row in rows if row.changed == "stride"] == [f"{n} px" for n in STRIDES]
