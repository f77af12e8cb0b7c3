"""The configuration's sections about cameras: `cameras`, and `defaults` for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from edge.capture.camera_state import Patience
from edge.capture.gstreamer import csi_pipeline
from edge.capture.live import LiveCamera
from edge.capture.login import address_with_login
from edge.capture.source import is_live_address, open_source
from edge.config_values import (
    Count,
    Duration,
    FilePath,
    Name,
    Number,
    Place,
    Section,
    Size,
    Switch,
    absolute,
    as_problem,
)
from edge.events.film import FilmSpec
from edge.scoring.cell_rules import CellRules, Zone


class ClipConfig(Section):
    """Clips of events.

    Attributes:
        pre_roll: How much from before the event.
        post_roll: How much from after it; the `end` message waits so long.
        fps: Pictures per second, at most.
        width: Pixels, at most.
        max_size: Memory for one camera's pictures; the clip of a longer event ends early.
    """

    pre_roll: Annotated[Duration, Field(ge=0, le=60)] = 5.0
    post_roll: Annotated[Duration, Field(ge=0, le=60)] = 5.0
    fps: Annotated[Number, Field(gt=0, le=30)] = 5.0
    width: Annotated[Count, Field(ge=64, le=1920)] = 640
    max_size: Annotated[Size, Field(ge=2**20, le=2**30)] = 16 * 2**20

    @property
    def spec(self) -> FilmSpec:
        """As the runtime takes it."""
        return FilmSpec(self.pre_roll, self.post_roll, self.fps, self.width, self.max_size)


class ZoneConfig(Section):
    """A named place.

    Attributes:
        polygon: Where it is.
        threshold_offset: Added to the threshold there; above 0 is less sensitive.
    """

    polygon: Place
    threshold_offset: Annotated[Number, Field(ge=-100, le=100)] = 0.0


class CameraDefaults(Section):
    """What may stand in a camera, and in `defaults` for all that do not say otherwise.

    Attributes:
        enabled: Watch it at all.
        fps: Frames per second, where the source does not say or says wrong.
        realtime: Play a recording at its own speed instead of as fast as possible.
        connect_timeout: From the start of a connection to its first frame.
        stale_after: Silence after which the picture is called stale; a slow camera gets five times
            its own period.
        lost_after: Further silence after which the camera is lost and connected anew.
        frozen_after: How long a picture may not change at all.
        frozen_retry: Pause between attempts to free a frozen camera.
        backoff_min: Shortest pause before connecting anew.
        backoff_max: Longest one.
        quarantine: Pause after a refused login.
        memory_max: Memory of a capture process after which it is replaced.
        clip: Clips of events; none if not given.
    """

    enabled: Switch = True
    fps: Annotated[Number, Field(gt=0, le=480)] | None = None
    realtime: Switch = False
    connect_timeout: Annotated[Duration, Field(gt=0, le=600)] = 15.0
    stale_after: Annotated[Duration, Field(gt=0, le=600)] = 2.0
    lost_after: Annotated[Duration, Field(gt=0, le=600)] = 10.0
    frozen_after: Annotated[Duration, Field(gt=0, le=3600)] = 20.0
    frozen_retry: Annotated[Duration, Field(gt=0, le=86400)] = 300.0
    backoff_min: Annotated[Duration, Field(gt=0, le=600)] = 1.0
    backoff_max: Annotated[Duration, Field(gt=0, le=3600)] = 60.0
    quarantine: Annotated[Duration, Field(gt=0, le=86400)] = 300.0
    memory_max: Annotated[Size, Field(ge=64 * 2**20)] = 512 * 2**20
    clip: ClipConfig | None = None

    @property
    def patience(self) -> Patience:
        """When a live camera is lost, and when it is tried again."""
        return Patience(
            connect_s=self.connect_timeout,
            stale_s=self.stale_after,
            lost_s=self.lost_after,
            frozen_s=self.frozen_after,
            frozen_retry_s=self.frozen_retry,
            backoff_min_s=self.backoff_min,
            backoff_max_s=max(self.backoff_min, self.backoff_max),
            quarantine_s=self.quarantine,
        )


class CameraConfig(CameraDefaults):
    """One camera or recording.

    Attributes:
        source: URL, `/dev/videoN`, `csi://N`, `gst:PIPELINE`, video file or folder of pictures.
        username: Login at the camera; also VIGIL_CAMERA_<NAME>_USERNAME.
        password_file: File that holds the password; also VIGIL_CAMERA_<NAME>_PASSWORD_FILE.
        masks: Places that are not scored.
        zones: Named places, which events name.
        overlay: Places that the camera writes to, such as a clock; they do not count when the
            picture is tested for standing still.
    """

    source: Annotated[
        str,
        Field(min_length=1),
        WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}),
    ]
    username: Annotated[str, Field(min_length=1)] | None = None
    password_file: FilePath | None = None
    masks: tuple[Place, ...] = ()
    zones: dict[Name, ZoneConfig] = Field(default_factory=dict)
    overlay: tuple[Place, ...] = ()

    @field_validator("source", mode="before")
    @classmethod
    def _number_is_device(cls, value: object) -> object:
        """`source: 0` is the first video device."""
        return str(value) if type(value) is int else value

    @field_validator("source")
    @classmethod
    def _from_folder(cls, value: str, info: ValidationInfo) -> str:
        """Relative paths count from the configuration's folder; URLs and devices stay."""
        if "://" in value or is_live_address(value) or value.startswith("csi:"):
            with as_problem():
                csi_pipeline(value) if value.startswith("csi:") else open_source(value)
            return value
        return str(absolute(Path(value), info))

    @model_validator(mode="after")
    def _login_fits(self) -> CameraConfig:
        """A login belongs to a network camera, and stands in one place."""
        if self.username is None and self.password_file is None:
            return self
        scheme, separator, rest = self.source.partition("://")
        if not separator or scheme in ("csi", "file"):
            raise ValueError("`username` and `password_file` are for addresses such as rtsp://...")
        if "@" in rest.partition("/")[0]:
            raise ValueError("the login stands in the address, too; take it out there")
        return self

    def live(self, name: str) -> LiveCamera:
        """What its capture process is told; holds the login.

        Raises:
            InputMissingError: The password file cannot be read.
            ConfigError: The login is not whole.
        """
        address = address_with_login(
            self.source, camera=name, username=self.username, password_file=self.password_file
        )
        return LiveCamera(address, fps=self.fps, overlay=self.overlay)

    @property
    def rules(self) -> CellRules:
        """Masks and zones as the pipeline takes them."""
        zones = (
            Zone(name, zone.polygon, zone.threshold_offset) for name, zone in self.zones.items()
        )
        return CellRules(masks=self.masks, zones=tuple(zones))
