"""Footage whose scores are painted into it, and a pipeline that reads them: the answer is known.

A picture is a grid of ROWS x COLUMNS grey blocks; a block of level g is a cell of map value g / 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from support.bundles import tiny_bundle

from edge.frames import EnergyMap, Frame, ScoreMap, StreamScore
from engines.bundle import Bundle
from engines.model_spec import AlarmSpec
from trainer.datasets.clip import Dataset
from trainer.datasets.layouts import open_dataset

ROWS, COLUMNS, BLOCK = 4, 6, 8

Cell = tuple[int, int]

RULE = AlarmSpec(
    threshold=5.0,
    open_frames=3,
    close_s=0.5,
    merge_s=0.0,
    budget_per_hour=2.0,
    proven_per_hour=1.5,
    extrapolated=False,
    hours=2.0,
    events_seen=0,
    source="painted footage",
)


def write_clip(folder: Path, frames: list[Mapping[Cell, float]], *, rest: float = 2.0) -> None:
    """One picture a frame: the map values given for some cells, `rest` elsewhere."""
    folder.mkdir(parents=True)
    for number, cells in enumerate(frames):
        levels = np.full((ROWS, COLUMNS), 10 * rest, np.uint8)
        for cell, value in cells.items():
            levels[cell] = round(10 * value)
        picture = np.kron(levels, np.ones((BLOCK, BLOCK), np.uint8))
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture)


def write_masks(folder: Path, cells: list[Cell | None]) -> None:
    """One mask a frame: all pixels of one cell, or none."""
    folder.mkdir(parents=True)
    for number, cell in enumerate(cells):
        mask = np.zeros((ROWS * BLOCK, COLUMNS * BLOCK), np.uint8)
        if cell is not None:
            row, column = cell
            top, left = row * BLOCK, column * BLOCK
            mask[top : top + BLOCK, left : left + BLOCK] = 255
        cv2.imwrite(str(folder / f"{number:03d}.png"), mask)


def write_known_dataset(root: Path) -> None:
    """Three clips of 20 frames at 10 frames per second; see the tests for what must come out.

    a: frames 8 .. 15 anomalous in cell (1, 2), which scores 20.
    b: frames 0 .. 9 anomalous in cell (0, 0), which scores 1; cell (3, 5) scores 20 there, but in
       frames 4 and 5 the whole picture scores 1. Found, and in the wrong place.
    c: normal, masks empty; frames 5 .. 9 score 20: one false alarm.
    Everything else scores 2.
    """
    here, there, corner = (1, 2), (3, 5), (0, 0)
    write_clip(root / "test" / "a", [{here: 20.0} if 8 <= i < 16 else {} for i in range(20)])
    write_masks(root / "masks" / "a", [here if 8 <= i < 16 else None for i in range(20)])
    dull = {(r, c): 1.0 for r in range(ROWS) for c in range(COLUMNS)}
    frames_b = [
        {} if i >= 10 else dull if i in (4, 5) else {corner: 1.0, there: 20.0} for i in range(20)
    ]
    write_clip(root / "test" / "b", frames_b)
    write_masks(root / "masks" / "b", [corner if i < 10 else None for i in range(20)])
    write_clip(root / "test" / "c", [{here: 20.0} if 5 <= i < 10 else {} for i in range(20)])
    write_masks(root / "masks" / "c", [None] * 20)


class PaintedPipeline:
    """Reads the map from the picture; remembers what it was shown.

    Streams: `appearance` has half the map as surprise, `motion` always the same.
    """

    def __init__(self) -> None:
        self.backends = {"appearance": "painted/fp32", "motion": "painted/fp32"}
        self.stage_ms = {"score": 12.0}
        self.shown: list[list[int]] = []
        self.closed = False

    def __enter__(self) -> PaintedPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def new_view(self) -> list[int]:
        self.shown.append([])
        return self.shown[-1]

    def score(self, view: list[int], frame: Frame) -> ScoreMap:
        view.append(frame.index)
        grid = frame.bgr[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 0].astype(np.float32) / 10
        peak = float(grid.max())
        return ScoreMap(
            frame_index=frame.index,
            time_s=frame.time_s,
            map=grid,
            score=peak,
            raw_score=peak,
            streams={"appearance": _stream(grid / 2), "motion": _stream(np.ones_like(grid))},
        )


def painted_bundle(root: Path, workspace: Path, *, alarm: AlarmSpec | None = RULE) -> Bundle:
    """A real bundle for what an evaluation says about its bundle; its networks stay unused."""
    return dataclasses.replace(tiny_bundle(root, workspace=workspace), alarm=alarm)


def open_known_dataset(root: Path) -> Dataset:
    """`write_known_dataset` and open it at 10 frames per second."""
    write_known_dataset(root)
    return open_dataset(root, fps=10.0)


def _stream(surprise: np.ndarray) -> StreamScore:
    values = surprise.astype(np.float64)
    return StreamScore(
        energy=EnergyMap(energy=values, active=np.ones(values.shape, bool)),
        z=values,
        surprise=values,
    )
