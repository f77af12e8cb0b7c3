"""What a student learns from: normal windows and strange variations of them, with answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inputs import open_input
from edge.vision.observe import Observer
from engines.atomic import write_bytes
from engines.bundle import encode_arrays
from engines.errors import DataError
from engines.model_spec import InputSpec
from trainer.clip_split import count_frames
from trainer.collect import at_every_frame
from trainer.normal_clip import NormalClip
from trainer.open_encoder import FrozenEncoder
from trainer.preset import Preset
from trainer.progress import TrainingProgress
from trainer.variations import Variations

_BATCH = 64
_CHUNK = 6400  # variations a file
# Originals of the variations, over all clips: so many windows, and so many whole frames.
_ORIGINALS = 5000
_FRAMES = 200


@dataclass(frozen=True)
class Lessons:
    """Windows and the teacher's answers.

    Attributes:
        windows: uint8, N x channels x side x side.
        answers: float16, N x J, length one.
    """

    windows: NDArray[np.uint8]
    answers: NDArray[np.float16]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.windows)


def ask(teacher: FrozenEncoder, windows: NDArray[np.uint8]) -> NDArray[np.float16]:
    """The teacher's answers: uint8 BGR, N x side x side x 3 -> float16, N x J."""
    pieces = []
    for start in range(0, len(windows), _BATCH):
        some = np.moveaxis(windows[start : start + _BATCH, ..., ::-1], -1, 1)
        unit = some.astype(np.float32) * np.float32(1.0 / 255.0)
        pieces.append(teacher.infer(unit).astype(np.float16))
    return np.concatenate(pieces)


def collect_lessons(
    clips: Sequence[NormalClip],
    spec: InputSpec,
    teacher: FrozenEncoder,
    *,
    preset: Preset,
    folder: Path,
    progress: TrainingProgress,
) -> Lessons:
    """Show the teacher normal windows and variations; what is on disk is taken from there.

    Args:
        clips: Normal footage that the student may learn from.
        spec: The student's input.
        teacher: Looks at large windows.
        preset: The recipe.
        folder: Kept per clip and per chunk of variations while the run lasts.
        progress: Told about each.

    Raises:
        DataError: A clip cannot be read, or nothing moves in them.
        CannotCreateError: The folder cannot be written.
    """
    settings = preset.student
    every = max(1, -(-sum(count_frames(clip) for clip in clips) // settings.frames))
    chunks = -(-settings.variations // _CHUNK)
    progress.begin("lessons", total=len(clips) + chunks)
    lessons: list[Lessons] = []
    originals: list[NDArray[np.uint8]] = []
    frames: list[NDArray[np.uint8]] = []
    for number, clip in enumerate(clips):
        path = folder / f"clip{number:04d}.npz"
        if not path.is_file():
            rng = np.random.default_rng([preset.seed, number])
            arrays = _look(clip, spec, teacher, preset, every, -(-_ORIGINALS // len(clips)), rng)
            if arrays is None:
                progress.advance()
                continue
            write_bytes(path, encode_arrays(arrays))
        with np.load(path, allow_pickle=False) as stored:
            lessons.append(Lessons(stored["windows"], stored["answers"]))
            originals.append(stored["originals"])
            frames.extend(stored["frames"][: max(1, _FRAMES // len(clips))])
        progress.advance(note=f"{sum(map(len, lessons))} windows")
    if not lessons:
        raise DataError(
            f"nothing moves: no window was active in {len(clips)} clip(s)",
            mend="give footage with movement, or lower the window's option floor",
        )
    for chunk in range(chunks):
        path = folder / f"variations{chunk:04d}.npz"
        if not path.is_file():
            seed = preset.seed * 1000 + chunk
            strange = Variations(np.concatenate(originals), frames, seed=seed)
            large = strange.draw(min(_CHUNK, settings.variations - chunk * _CHUNK))
            made: dict[str, NDArray[np.generic]] = {
                "windows": _as_student(large, spec),
                "answers": ask(teacher, large),
            }
            write_bytes(path, encode_arrays(made))
        with np.load(path, allow_pickle=False) as stored:
            lessons.append(Lessons(stored["windows"], stored["answers"]))
        progress.advance(note=f"{sum(map(len, lessons))} windows")
    progress.end()
    return Lessons(
        np.concatenate([lesson.windows for lesson in lessons]),
        np.concatenate([lesson.answers for lesson in lessons]),
    )


def _look(
    clip: NormalClip,
    spec: InputSpec,
    teacher: FrozenEncoder,
    preset: Preset,
    every: int,
    keep: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.generic]] | None:
    """Lessons of every `every`-th frame, with originals for the variations; None: nothing moves."""
    windows: list[NDArray[np.uint8]] = []
    answers: list[NDArray[np.float16]] = []
    originals: list[NDArray[np.uint8]] = []
    frames: list[NDArray[np.uint8]] = []
    for small, large, picture in _windows(clip, spec, preset, every):
        windows.append(small)
        answers.append(ask(teacher, large))
        originals.append(large[rng.permutation(len(large))[:24]])
        if len(frames) < _FRAMES:
            frames.append(picture)
    if not windows:
        return None
    pool = np.concatenate(originals)
    return {
        "windows": np.concatenate(windows),
        "answers": np.concatenate(answers),
        "originals": pool[rng.permutation(len(pool))[:keep]],
        "frames": np.stack(frames)[rng.permutation(len(frames))],
    }


def _windows(
    clip: NormalClip, spec: InputSpec, preset: Preset, every: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]]:
    """Windows as the student sees them, as the teacher does (BGR, last axis), and the frame."""
    student = at_every_frame(spec)
    colour = {**student.options, "grey": False}
    large = spec.model_copy(update={"options": colour, "patch": preset.student.side})
    eyes = [open_input(one, frame=preset.frame, gate=preset.gate) for one in (student, large)]
    observer = Observer(preset.frame, preset.gate)
    with clip.open() as source:
        for frame in source:
            observation = observer.observe(frame)
            small, wide = (eye.observe(observation) for eye in eyes)
            if observation.index % every or not len(small):
                continue
            yield (
                _bytes(small.gather()),
                np.moveaxis(_bytes(wide.gather()), 1, -1)[..., ::-1],
                observation.bgr,
            )


def _bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(unit * np.float32(255.0)).astype(np.uint8)
    return levels


def _as_student(large: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """BGR windows of the teacher's size as the student's: uint8, N x channels x patch x patch."""
    size = (spec.patch, spec.patch)
    small = [cv2.resize(window, size, interpolation=cv2.INTER_AREA) for window in large]
    if spec.options.get("grey"):
        return np.stack([cv2.cvtColor(one, cv2.COLOR_BGR2GRAY)[None] for one in small])
    return np.stack([np.moveaxis(one[..., ::-1], -1, 0) for one in small])
