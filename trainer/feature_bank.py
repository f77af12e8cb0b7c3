"""Features of the windows of normal footage, clip by clip, kept on disk while a run lasts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.atomic import write_bytes, write_text
from engines.bundle import encode_arrays
from engines.errors import DataError
from engines.manifest import sha256_of
from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.clip_split import count_frames
from trainer.collect import at_every_frame, observe_clip
from trainer.normal_clip import NormalClip
from trainer.open_encoder import FrozenEncoder
from trainer.progress import TrainingProgress

_RECIPE = "recipe.json"
_BATCH = 64  # windows a call: more is no faster and takes memory


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip's windows, in order of time.

    Attributes:
        features: float32, N x J.
        mirrored: float32, N x J: of the same windows, left and right exchanged; 0 x J if not asked
            for.
        rows: int64, N grid rows.
        columns: int64, N.
    """

    features: NDArray[np.float32]
    mirrored: NDArray[np.float32]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def collect_features(
    clips: Sequence[NormalClip],
    spec: InputSpec,
    encoder: FrozenEncoder,
    *,
    network: Path | None,
    frame: FrameSpec,
    gate: GateSpec,
    frames: int,
    mirrored: bool,
    folder: Path,
    progress: TrainingProgress,
    cache: Path | None = None,
) -> list[ClipFeatures]:
    """Look at the windows of at most `frames` frames, evenly spread over the clips.

    Args:
        clips: Normal clips.
        spec: Runtime input; here it looks at every frame.
        encoder: Looks at the windows.
        network: Its ONNX file, which names it; None: there is none, the input itself is taken.
        frame: Working size.
        gate: For the input.
        frames: Most frames.
        mirrored: Look at each window with left and right exchanged too.
        folder: Of this run.
        progress: Told about each clip.
        cache: Folder that runs share; None: `folder` is used.

    Clips that are done are on disk; a call with the same recipe takes them from there. They lie in
    `folder`, or where runs on the same data set share them: in a folder of `cache` that is named
    by the recipe and the network's bytes.

    Raises:
        DataError: No window at all was active: nothing moves.
        CannotCreateError: The folder cannot be written.
    """
    spec = at_every_frame(spec)
    every = max(1, -(-sum(count_frames(clip) for clip in clips) // frames))
    recipe = {
        "input": spec.model_dump(mode="json"),
        "frame": frame.model_dump(mode="json"),
        "gate": gate.model_dump(mode="json"),
        "clips": [clip.name for clip in clips],
        "every": every,
        "mirrored": mirrored,
    }
    if cache is not None:
        name = "" if network is None else sha256_of(network)
        folder = cache / _digest({**recipe, "network": name})
    _claim(folder, recipe)
    progress.begin("features of normal windows", total=len(clips))
    bank = []
    for number, clip in enumerate(clips):
        path = folder / f"{number:04d}.npz"
        if not path.is_file():
            found = _look(clip, spec, encoder, frame, gate, every, mirrored)
            arrays: dict[str, NDArray[np.generic]] = {
                "features": found.features.astype(np.float16),
                "mirrored": found.mirrored.astype(np.float16),
                "rows": found.rows,
                "columns": found.columns,
            }
            write_bytes(path, encode_arrays(arrays))
        bank.append(_read(path))
        progress.advance(note=f"{sum(len(one.rows) for one in bank)} windows")
    progress.end()
    if not any(len(one.rows) for one in bank):
        raise DataError(
            f"nothing moves: no window was active in {len(clips)} clip(s)",
            mend="give footage with movement, or lower the window's option floor",
        )
    return bank


def _digest(recipe: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


def _claim(folder: Path, recipe: dict[str, object]) -> None:
    """Take what is there if it is of the same recipe; else begin anew."""
    path = folder / _RECIPE
    text = json.dumps(recipe, indent=1)
    if path.is_file() and path.read_text() == text:
        return
    for old in folder.glob("*.npz"):
        old.unlink()
    write_text(path, text)


def _look(
    clip: NormalClip,
    spec: InputSpec,
    encoder: FrozenEncoder,
    frame: FrameSpec,
    gate: GateSpec,
    every: int,
    mirrored: bool,
) -> ClipFeatures:
    features, reflections, rows, columns = [], [], [], []
    for observation, cells, _ in observe_clip(clip, {"": spec}, frame=frame, gate=gate):
        found = cells[""]
        if observation.index % every or not len(found):
            continue
        for start in range(0, len(found), _BATCH):
            some = np.arange(start, min(start + _BATCH, len(found)))
            windows = found.gather(some)
            features.append(encoder.infer(windows))
            if mirrored:
                reflections.append(encoder.infer(np.ascontiguousarray(windows[..., ::-1])))
        rows.append(found.rows)
        columns.append(found.columns)
    if not features:
        nothing = np.zeros(0, np.int64)
        none = np.zeros((0, 0), np.float32)
        return ClipFeatures(none, none, nothing, nothing)
    none = features[0][:0]
    return ClipFeatures(
        np.concatenate(features),
        np.concatenate([none, *reflections]),
        np.concatenate(rows),
        np.concatenate(columns),
    )


def _read(path: Path) -> ClipFeatures:
    with np.load(path, allow_pickle=False) as arrays:
        return ClipFeatures(
            arrays["features"].astype(np.float32),
            arrays["mirrored"].astype(np.float32),
            arrays["rows"],
            arrays["columns"],
        )
