"""`model.json`: what a detector is, as data. No name of a method appears in the runtime.

A stream is an input kind, an optional network, a head and its statistics. The tables of kinds live
in `edge.inputs` and `edge.scoring.heads`; an unknown kind or a missing field is an error.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODEL_SCHEMA: Final = 1

Option = bool | int | float | str
Precision = Literal["fp32", "fp16", "int8"]
Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Frozen, closed, and no NaN or infinity anywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SMALLEST_SIDE: Final = 32
"""Pixels of a working frame's side: optical flow ends the process on pictures of a few rows."""


class FrameSpec(Strict):
    """Working size in pixels, and the frame rate of the training footage (frames per second)."""

    width: Annotated[int, Field(ge=SMALLEST_SIDE, le=4096)] = 420
    height: Annotated[int, Field(ge=SMALLEST_SIDE, le=4096)] = 280
    fps: Annotated[float, Field(gt=0, le=1000)] = 10.0


class GateSpec(Strict):
    """Which cells count as moving (method: absolute grey difference to the previous frame).

    Attributes:
        enabled: With the gate off every cell is scored, and training keeps static patches too.
        threshold: Grey levels (of 255) that a pixel must differ by, strictly more.
        min_pixels: Differing pixels that make a cell active.
    """

    enabled: bool = True
    threshold: Annotated[int, Field(ge=0, le=255)] = 15
    min_pixels: Positive = 4


class InputSpec(Strict):
    """Kind of input and its geometry in working-size pixels; `options` belong to the kind."""

    kind: str
    patch: Positive = 28
    stride: Positive = 28
    options: dict[str, Option] = Field(default_factory=dict)


class MapSpec(Strict):
    """A grid of so many cells over the whole picture."""

    rows: Annotated[int, Field(ge=1, le=4096)]
    columns: Annotated[int, Field(ge=1, le=4096)]


class NetworkSpec(Strict):
    """One network; `files` maps a precision to a file of the bundle.

    Input `input` is float32 N x channels x patch x patch in [0, 1] (or N x D for flat kinds);
    output `output` float32 N x J, a feature vector for each cell.

    Attributes:
        map: Where it is there, the network looks at the whole picture at once (input kind `clip`)
            and its output is float32 N x J x rows x columns: J features in each cell of this grid,
            which are read at the cells of the stream's grid.
    """

    input: str
    output: str
    files: dict[Precision, str]
    parameters: Annotated[int, Field(ge=0)] = 0
    map: MapSpec | None = None


class HeadSpec(Strict):
    """Turns features into an energy per cell; high is anomalous. `file` holds its arrays (.npz)."""

    kind: str
    file: str | None = None
    options: dict[str, Option] = Field(default_factory=dict)


class StreamSpec(Strict):
    """One stream: input -> network -> head -> statistics -> carry.

    Attributes:
        weight: Its share in the fusion.
        blur_cells: Sigma in grid cells of a Gaussian over its surprise (inactive cells count 0):
            where windows overlap, neighbours see the same thing and one alone is noise; 0: none.
        carry_s: Time constant in seconds of a motion-compensated mean of its surprise over time;
            0: none. A carried stream is read at the cells of the fused map.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    input: InputSpec
    network: NetworkSpec | None = None
    head: HeadSpec
    statistics: str
    parity: str | None = None
    weight: Annotated[float, Field(ge=0, le=1)]
    blur_cells: Annotated[float, Field(ge=0, le=8)] = 0.0
    carry_s: Annotated[float, Field(ge=0)] = 0.0


class SmoothingSpec(Strict):
    """Causal smoothing of the frame score, reset at cuts; `seconds`: window or time constant."""

    kind: Literal["none", "trailing_median", "trailing_mean", "exponential"] = "none"
    seconds: Annotated[float, Field(ge=0)] = 0.0


class FusionSpec(Strict):
    """How stream maps become one.

    `surprise` adds weighted tail surprises, `z` weighted robust z-scores, `paper` weighted
    raw energies (Fan et al. Eq. (18)). `spatial_max` is the side in cells (odd) of a maximum filter
    on the fused map; `top_cells` cells are averaged into the frame score (1: the maximum).
    `inactive`: in a cell where a stream sees nothing active the others count alone ("skip"), or it
    counts as zero surprise ("zero"): nothing moves here, as normal as can be.
    """

    mode: Literal["surprise", "z", "paper"] = "surprise"
    inactive: Literal["skip", "zero"] = "skip"
    spatial_max: Annotated[int, Field(ge=1, le=15)] = 1
    top_cells: Positive = 1
    smoothing: SmoothingSpec = SmoothingSpec()


class TrustRecord(Strict):
    """Why the streams have their weights: what they can see in this scene, measured, not assumed.

    The measurement plants synthetic anomalies into normal footage that the streams have not learned
    from.

    Attributes:
        reason: In words.
        clips: Synthetic clips behind it.
        frames: Their frames.
        streams: Stream name to kind of anomaly to frame AUC (0 to 1) of that stream alone.
        fused: Kind of anomaly to frame AUC of the fusion with the chosen weights.
        left_out: Kinds that could not be made from this footage, with the reason.
    """

    reason: str
    clips: Annotated[int, Field(ge=0)]
    frames: Annotated[int, Field(ge=0)]
    streams: dict[str, dict[str, float]]
    fused: dict[str, float]
    left_out: dict[str, str] = Field(default_factory=dict)


class TrainingRecord(Strict):
    """What made the bundle; enough to make it again."""

    dataset: str
    preset: str
    seed: int
    command: str
    versions: dict[str, str]
    clips: int
    frames: int
    seconds: float


class ModelSpec(Strict):
    """The whole of `model.json`.

    `map` is the size of the fused map; stream maps of other sizes are read at its cell centres.
    """

    schema_version: Literal[1] = MODEL_SCHEMA
    name: str
    frame: FrameSpec
    gate: GateSpec
    streams: Annotated[tuple[StreamSpec, ...], Field(min_length=1, max_length=16)]
    map: MapSpec
    fusion: FusionSpec
    trust: TrustRecord | None = None
    training: TrainingRecord

    @model_validator(mode="after")
    def _names_and_weights(self) -> ModelSpec:
        names = [stream.name for stream in self.streams]
        if len(set(names)) != len(names):
            raise ValueError(f"stream names must differ, found {names}")
        total = sum(stream.weight for stream in self.streams)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"stream weights must sum to 1, they sum to {total:g}")
        smooth = [stream.name for stream in self.streams if stream.carry_s or stream.blur_cells]
        if smooth and self.fusion.mode != "surprise":
            raise ValueError(f"carry_s and blur_cells of {smooth} need fusion mode surprise")
        return self


class AlarmSpec(Strict):
    """`alarm.json`: when a score is an alarm, and what stands behind that threshold.

    Attributes:
        threshold: In the unit of the frame score of this bundle's fusion mode.
        open_frames: Consecutive frames above the threshold that open an event.
        close_s: Seconds below the threshold that close it.
        merge_s: A new opening within so many seconds of a closing continues the same event.
        budget_per_hour: False alarms per hour of normal video that were asked for.
        confidence: Confidence level of `proven_per_hour`.
        proven_per_hour: Upper limit of false alarms per hour that the calibration footage proves.
        extrapolated: True where the footage is too short to prove the budget.
        interval: Bootstrap interval of an extrapolated threshold.
        hours: Normal footage behind the threshold, in hours.
        events_seen: Alarm events counted in it at this threshold.
        source: Which footage was used, in words.
    """

    threshold: float
    open_frames: Positive = 3
    close_s: Annotated[float, Field(ge=0)] = 1.0
    merge_s: Annotated[float, Field(ge=0)] = 1.0
    budget_per_hour: Annotated[float, Field(gt=0)]
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    proven_per_hour: Annotated[float, Field(ge=0)]
    extrapolated: bool
    interval: tuple[float, float] | None = None
    hours: Annotated[float, Field(ge=0)]
    events_seen: Annotated[int, Field(ge=0)]
    source: str
