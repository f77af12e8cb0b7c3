"""A folder of pictures for `support.bundles.tiny_bundle`: normal walking with one fast runner."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from support.clips import MemoryClip


def write_recording(folder: Path, *, frames: int = 90, anomaly: tuple[int, int] = (40, 55)) -> Path:
    """Pictures 000.png ...; in frames [a, b) a large checkered square jumps about."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = MemoryClip(length=frames, seed=7)
    rng = np.random.default_rng(3)
    for frame in clip.frames:
        picture = frame.bgr.copy()
        if anomaly[0] <= frame.index < anomaly[1]:
            top, left = int(rng.integers(0, 50)), int(rng.integers(0, 100))
            block = rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)
            picture[top : top + 56, left : left + 56] = block
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), picture)
    return folder
