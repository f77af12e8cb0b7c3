"""From clips to patches: the scale of motion images, and an even random sample of moving cells.

Patches are cut by the functions of the runtime (`edge.vision`, `edge.inputs`) under the same gate;
only the stride differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.inputs import Cells, StreamInput, open_input
from edge.inputs.cells import channels_of
from edge.vision.observe import Observation, Observer
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.clip_split import count_frames
from trainer.normal_clip import NormalClip
from trainer.patch_store import PatchStore, PatchWriter, encode_patches
from trainer.progress import SilentTraining, TrainingProgress

SCALE_QUANTILE = 0.999
# Frames that the scale is measured on, over all clips; the pixels of so many cells of each frame.
_SCALE_FRAMES = 800
_SCALE_CELLS = 12
_SCALE_PIXEL_STEP = 3


class Reservoir:
    """A uniform sample of at most `size` items out of a stream of unknown length (algorithm R)."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._seen = 0

    def offer(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`count` more items come by.

        Returns:
            (which, slots): positions among the `count` to be kept, and the slot 0 .. size-1 that
            each of them goes into, int64; every slot at most once.
        """
        number = self._seen + np.arange(count, dtype=np.int64)
        self._seen += count
        slots = np.floor(self._rng.random(count) * (number + 1)).astype(np.int64)
        slots = np.where(number < self._size, number, slots)
        which = np.flatnonzero(slots < self._size)
        # Of several for one slot the last would have stayed.
        _, last = np.unique(slots[which][::-1], return_index=True)
        which = np.sort(which[len(which) - 1 - last])
        return which, slots[which]


def observe_clip(
    clip: NormalClip,
    inputs: Mapping[str, InputSpec],
    *,
    frame: FrameSpec,
    gate: GateSpec,
    section: tuple[int, int] | None = None,
) -> Iterator[tuple[Observation, dict[str, Cells], dict[str, StreamInput]]]:
    """Walk a clip once for all streams: each frame's observation, cells and inputs by stream name.

    `section` limits the walk to frames [first, last); windows and gates start empty there.
    """
    observer = Observer(frame, gate)
    opened = {name: open_input(spec, frame=frame, gate=gate) for name, spec in inputs.items()}
    first, last = section or (0, None)
    with clip.open() as source:
        for picture in source:
            if picture.index < first:
                continue
            if last is not None and picture.index >= last:
                return
            observation = observer.observe(picture)
            cells = {name: item.observe(observation) for name, item in opened.items()}
            yield observation, cells, opened


def at_every_frame(spec: InputSpec) -> InputSpec:
    """The input without its option `every_s`: whoever samples frames wants all of them to be looks.

    Else the frames that are sampled and those that are due would rarely be the same.
    """
    options = {key: value for key, value in spec.options.items() if key != "every_s"}
    return spec.model_copy(update={"options": options})


def measure_scale(
    clips: Sequence[NormalClip],
    spec: InputSpec,
    *,
    frame: FrameSpec,
    gate: GateSpec,
    seed: int,
    progress: TrainingProgress | None = None,
) -> float:
    """S of a motion input: the 99.9 % quantile of the magnitude over moving cells (reading A13).

    One run of frames from the middle of each clip is looked at. Frames whose window is not full
    count only if there are no others.

    Raises:
        DataError: Nothing moves.
    """
    progress = progress or SilentTraining()
    progress.begin("scale of the motion image", total=len(clips))
    rng = np.random.default_rng([seed, 0x5CA1E])
    full: list[NDArray[np.float32]] = []
    short: list[NDArray[np.float32]] = []
    window = int(spec.options.get("window", 20))
    wanted = max(10, _SCALE_FRAMES // len(clips))
    for clip in clips:
        begin = max(0, (count_frames(clip) - window - wanted) // 2)
        section = (begin, begin + window + wanted)
        walk = observe_clip(clip, {"motion": spec}, frame=frame, gate=gate, section=section)
        for _, cells, inputs in walk:
            values = _magnitudes(inputs["motion"], cells["motion"], spec, rng)
            (short if cells["motion"].warm_up else full).append(values)
        progress.advance()
    progress.end()
    pixels = np.concatenate([*full, np.empty(0, np.float32)])
    if not pixels.size:
        pixels = np.concatenate([*short, np.empty(0, np.float32)])
    scale = float(np.quantile(pixels, SCALE_QUANTILE)) if pixels.size else 0.0
    if not scale > 0.0:
        raise _nothing_moves(clips, gate)
    return scale


def collect_patches(
    clips: Sequence[NormalClip],
    inputs: Mapping[str, InputSpec],
    *,
    frame: FrameSpec,
    gate: GateSpec,
    budget: int,
    folder: Path,
    seed: int,
    title: str = "patches",
    progress: TrainingProgress | None = None,
) -> dict[str, PatchStore]:
    """A uniform sample of the active cells of each clip, for all streams in one walk.

    Every clip gets an equal share of the budget; what a still clip leaves over goes to those after
    it. Stores that were made from the same clips by the same settings are taken as they are.

    Args:
        clips: Normal clips.
        inputs: Input of each stream with the training stride.
        frame: Working size.
        gate: Which cells move.
        budget: Patches of each stream at most.
        folder: The stores become `folder/<stream>`.
        seed: Decides the sample.
        title: For the progress.
        progress: Told about each clip.

    Raises:
        DataError: Nothing moves in any clip.
        CannotCreateError: The disk is full or cannot be written.
    """
    progress = progress or SilentTraining()
    recipe = {
        name: {
            "input": spec.model_dump(mode="json"),
            "frame": frame.model_dump(mode="json"),
            "gate": gate.model_dump(mode="json"),
            "clips": [clip.name for clip in clips],
            "budget": budget,
            "seed": seed,
        }
        for name, spec in inputs.items()
    }
    if all(_made_by(folder / name, recipe[name]) for name in inputs):
        return {name: PatchStore(folder / name) for name in inputs}
    progress.begin(title, total=len(clips))
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                PatchWriter(folder / name, patch=spec.patch, channels=channels_of(spec))
            )
            for name, spec in inputs.items()
        }
        kept: dict[str, list[int]] = {name: [] for name in inputs}
        frames = 0
        for number, clip in enumerate(clips):
            remaining = len(clips) - number
            samplers = {
                name: Reservoir(
                    -(-(budget - writer.count) // remaining),
                    np.random.default_rng([seed, number, len(name), *name.encode()]),
                )
                for name, writer in writers.items()
            }
            for _, cells, _ in observe_clip(clip, inputs, frame=frame, gate=gate):
                frames += 1
                for name, sampler in samplers.items():
                    _take(cells[name], sampler, writers[name])
            for name, writer in writers.items():
                kept[name].append(writer.end_clip())
            progress.advance(note=", ".join(f"{n} {w.count}" for n, w in writers.items()))
        progress.end()
        for name, writer in writers.items():
            if not writer.count:
                raise _nothing_moves(clips, gate, stream=name, frames=frames)
            writer.finish({"recipe": recipe[name], "per_clip": kept[name], "frames": frames})
    return {name: PatchStore(folder / name) for name in inputs}


def _take(cells: Cells, sampler: Reservoir, writer: PatchWriter) -> None:
    if not cells.items:
        return
    which, slots = sampler.offer(cells.items)
    if len(which):
        writer.write(slots, encode_patches(cells.gather(which)))


def _made_by(folder: Path, recipe: Mapping[str, Any]) -> bool:
    if not PatchStore.exists(folder):
        return False
    with PatchStore(folder) as store:
        return bool(store.notes.get("recipe") == recipe)


def _magnitudes(
    source: StreamInput, cells: Cells, spec: InputSpec, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Magnitudes of some pixels of some active cells, float32 (n,)."""
    field: NDArray[np.float32] | None = getattr(source, "field", None)
    if field is None or not len(cells):
        return np.empty(0, np.float32)
    some = rng.permutation(len(cells))[:_SCALE_CELLS]
    pieces = []
    for row, column in zip(cells.rows[some].tolist(), cells.columns[some].tolist(), strict=True):
        top, left = row * spec.stride, column * spec.stride
        cell = field[top : top + spec.patch, left : left + spec.patch, 2]
        pieces.append(cell[::_SCALE_PIXEL_STEP, ::_SCALE_PIXEL_STEP].ravel())
    return np.concatenate(pieces).astype(np.float32, copy=False)


def _nothing_moves(
    clips: Sequence[NormalClip],
    gate: GateSpec,
    *,
    stream: str = "motion",
    frames: int | None = None,
) -> DataError:
    looked = f"{frames} frames of " if frames is not None else ""
    return DataError(
        f"nothing moves: no active cell for stream {stream!r} in {looked}{len(clips)} clip(s) "
        f"({gate.min_pixels} pixels of a cell must change by more than {gate.threshold} of 255)",
        where=", ".join(clip.name for clip in clips[:5]) + (", ..." if len(clips) > 5 else ""),
        mend="give footage with movement, lower gate.threshold, or set gate.enabled=false",
    )
