"""The event: one value per message, and its JSON (`event.schema.json` beside this file).

An event has one `id` from its start to its end; `rev` rises by one with each message of it. The
outbox adds `stream_id` and `seq`, which number all messages of a device.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge.clock import ClockState, rfc3339
from edge.events.happening import Happening, Payload

SCHEMA_PATH = Path(__file__).with_name("event.schema.json")

EndReason = Literal[
    "normal",
    "source_ended",
    "stopped",
    "camera_lost",
    "camera_frozen",
    "geometry_changed",
    "reconfigured",
    "daemon_restart",
    "max_duration",
    "scene_changed",
]


@dataclass(frozen=True)
class Cell:
    """A cell of the score map as a box in 0..1 of the picture, origin top left, and its score."""

    x: float
    y: float
    w: float
    h: float
    score: float


@dataclass(frozen=True)
class StoredPicture:
    """A picture or clip that an event speaks of; `details` says more about its content."""

    name: str
    sha256: str
    size: int
    details: Mapping[str, float] = field(default_factory=dict)

    def payload(self) -> Payload:
        """As JSON; `path` is where the page serves it, the file has the path's last part."""
        return {
            "path": f"/media/{self.name}",
            "sha256": self.sha256,
            "bytes": self.size,
            **self.details,
        }


@dataclass(frozen=True)
class ModelInfo:
    """Which model raised the event, and what ran it.

    Software release, bundle (name, digest), precision and backend of the networks, and what did the
    array work: ``cpu``, or the name of a GPU.
    """

    release: str
    name: str
    bundle: str
    precision: str
    backend: str = "none"
    compute: str = "cpu"


@dataclass(frozen=True)
class Budget:
    """The false-alarm budget in force, in alarm events per camera and week."""

    per_week: float
    proven_per_week: float
    provisional: bool


@dataclass(frozen=True)
class Event(Happening):
    """One message about one anomaly event. Scores are in `unit`; what is not here: `Happening`.

    Attributes:
        started_at: Wall clock of the first frame above the threshold, UTC: when it was captured;
            of a recording, which does not say that, when it was watched.
        at: The same of the newest frame that this message depends on.
        ended_at: Wall clock at which the event fell quiet; only at the end.
        duration_s: From the first frame above the threshold, on the source's clock.
        frame: Number of the newest frame.
        position_s: Source time of that frame, seconds since its first frame.
        started_position_s: Source time of the first frame above the threshold.
        peak_position_s: Source time of the largest score.
        reason: Why it ended; only at the end.
        unit: "surprise" (-log10 of a tail probability), "z" or "paper".
        score: Score of the newest frame.
        peak_score: Largest score so far.
        threshold: Scores strictly above it alarm.
        budget: What the threshold promises.
        why: Where, and what the streams saw that drove the peak, in words (`edge.events.words`).
        streams: Each stream's largest surprise where the map peaks, largest share first.
        cells: Highest cells at the peak, at most 16, highest first.
        zones: The zones that were above the threshold so far, in the configuration's order.
        model: Which model says so.
        snapshot: Picture of the peak frame, or None if there is none (yet).
        heatmap: The score map of that frame as a picture, or None.
        clip: A short film of the event, only at the end, or None.
        previous_id: The event that was ended because it had lasted too long, and goes on in this
            one.
    """

    reason: EndReason | None
    frame: int
    position_s: float
    started_position_s: float
    peak_position_s: float
    unit: str
    score: float
    peak_score: float
    threshold: float
    budget: Budget
    why: str
    streams: Mapping[str, float]
    cells: tuple[Cell, ...]
    model: ModelInfo
    zones: tuple[str, ...] = ()
    snapshot: StoredPicture | None = None
    heatmap: StoredPicture | None = None
    clip: StoredPicture | None = None
    previous_id: str | None = None

    def payload(self) -> Payload:
        """The JSON object of `event.schema.json`, without `stream_id` and `seq`."""
        return {
            **self.header(kind="anomaly", severity="alarm"),
            "frame": self.frame,
            "position_s": round(self.position_s, 3),
            "started_position_s": round(self.started_position_s, 3),
            "peak_position_s": round(self.peak_position_s, 3),
            **self._scores(),
            "why": self.why,
            "zones": list(self.zones),
            "snapshot": None if self.snapshot is None else self.snapshot.payload(),
            "heatmap": None if self.heatmap is None else self.heatmap.payload(),
            "clip": None if self.clip is None else self.clip.payload(),
            "model": {
                "release": self.model.release,
                "name": self.model.name,
                "bundle": self.model.bundle,
                "precision": self.model.precision,
                "backend": self.model.backend,
                "compute": self.model.compute,
            },
            "previous_id": self.previous_id,
        }

    def _scores(self) -> Payload:
        return {
            "unit": self.unit,
            "score": round(self.score, 4),
            "peak_score": round(self.peak_score, 4),
            "threshold": round(self.threshold, 4),
            "margin": round(self.score - self.threshold, 4),
            "budget_per_week": round(self.budget.per_week, 4),
            "proven_per_week": round(self.budget.proven_per_week, 4),
            "provisional": self.budget.provisional,
            "streams": {name: round(value, 4) for name, value in self.streams.items()},
            "cells": [
                {
                    "x": round(cell.x, 5),
                    "y": round(cell.y, 5),
                    "w": round(cell.w, 5),
                    "h": round(cell.h, 5),
                    "score": round(cell.score, 4),
                }
                for cell in self.cells
            ],
        }


def end_after_restart(
    open_payload: Payload, *, now: datetime.datetime, clock: ClockState
) -> Payload:
    """The end of an event that was open when the daemon died, from its last message.

    Times of the event itself are kept as they were last known: nobody saw it end. Where these are
    in doubt they stay so, though the clock may be right by now.
    """
    ended = {key: value for key, value in open_payload.items() if key not in {"stream_id", "seq"}}
    ended.update(
        phase="end",
        rev=int(open_payload["rev"]) + 1,
        reason="daemon_restart",
        ended_at=rfc3339(now),
        clock="unsynced" if open_payload.get("clock") == "unsynced" else clock,
    )
    return ended


def load_schema() -> Payload:
    """The JSON Schema of the messages on the event topic."""
    schema: Payload = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema
