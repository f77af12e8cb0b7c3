"""The configuration file of `vigil run`: closed, typed, checked whole before anything starts.

All problems are told at once, each with file, line and column, unknown keys with the nearest known
one. The file is never written by us. Relative paths count from the folder of the file.

    schema_version: 1
    device: gate-01
    bundle: /opt/vigil/bundle
    state: /var/lib/vigil
    mqtt:
      url: mqtt://broker.local
      username: vigil
      password_file: /etc/vigil/mqtt_password
    cameras:
      yard:
        source: rtsp://10.0.0.7/stream
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from edge.config_broker import HomeAssistantConfig, MqttConfig, OutboxConfig
from edge.config_cameras import CameraConfig, CameraDefaults
from edge.config_metrics import MetricsConfig
from edge.config_page import PageConfig
from edge.config_values import Count, FilePath, Name, Number, Section, Size, Switch, as_problem
from edge.events.media import MEDIA_MAX
from edge.yaml_positions import MAX_BYTES, Document, Problem, parse
from engines.backends.choose import require_backend
from engines.errors import ConfigError, InputMissingError

CONFIG_SCHEMA = 1


class Config(Section):
    """The whole file.

    Attributes:
        schema_version: 1.
        device: Name of this device; part of every topic.
        bundle: Folder of the bundle to run.
        state: Folder for the outbox and the pictures, on a local disk.
        media: Folder for the pictures; ``<state>/media`` if not given.
        media_max: Pictures and clips of all events together; beyond it the oldest go. They also go
            while the disk has less than 200 MiB free.
        snapshots: Whether pictures are written.
        backend: Backend of the networks.
        threads: Threads of the networks; 0: the backend chooses.
        compute: Where pictures are worked on; ``auto``: the GPU where all plans were built here.
        analysis_fps: Rate at which live cameras are looked at, all together; the rate that the
            bundle was trained at if not given.
        mqtt: The broker.
        outbox: Bounds of the outbox.
        page: The page for a browser; none if not given.
        metrics: Where Prometheus finds the metrics; not given: nowhere.
        home_assistant: Whether the device appears in Home Assistant by itself.
        defaults: For all cameras.
        trusted_keys: A public key (.pub) or a folder of them: only bundles that one of them has
            signed are run. The keys in /etc/vigil/trusted-keys.d, if it is there, hold as well.
        cameras: By name.
    """

    schema_version: Literal[1]
    device: Name = "vigil"
    bundle: FilePath
    trusted_keys: FilePath | None = None
    state: FilePath
    media: FilePath | None = None
    media_max: Annotated[Size, Field(ge=2**20)] = MEDIA_MAX
    snapshots: Switch = True
    backend: str = "auto"
    threads: Annotated[Count, Field(ge=0, le=256)] = 0
    compute: Literal["auto", "cpu", "cuda"] = "auto"
    analysis_fps: Annotated[Number, Field(gt=0, le=120)] | None = None
    mqtt: MqttConfig = MqttConfig()
    outbox: OutboxConfig = OutboxConfig()
    page: PageConfig | None = None
    metrics: MetricsConfig | None = None
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    defaults: CameraDefaults = CameraDefaults()
    cameras: Annotated[dict[Name, CameraConfig], Field(min_length=1)]

    @field_validator("backend")
    @classmethod
    def _is_backend(cls, value: str) -> str:
        with as_problem():
            require_backend(value)
        return value

    @property
    def media_folder(self) -> Path | None:
        """Where pictures go; None: nowhere."""
        if not self.snapshots:
            return None
        return self.state / "media" if self.media is None else self.media


class ConfigFileError(ConfigError):
    """The configuration is wrong; `problems` holds every fault, the message lists them."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.position)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        lines = "\n  ".join(problem.render(file) for problem in self.problems)
        super().__init__(
            f"{count} in the configuration:\n  {lines}",
            where=file,
            mend=f"mend the lines named above; `vigil run {file} --check` tests again",
        )


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        InputMissingError: The file cannot be read.
        ConfigFileError: Anything wrong in it; all of it at once.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputMissingError(
            f"the configuration cannot be read: {error.strerror}",
            where=str(path),
            mend="give the path of a YAML file",
        ) from error
    if len(raw) > MAX_BYTES:
        raise ConfigFileError(str(path), [Problem((1, 1), (), "the file is larger than 1 MiB")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigFileError(str(path), [Problem((line, 1), (), "not UTF-8 text")]) from error
    return config_from_text(text, file=str(path), folder=path.resolve().parent)


def config_from_text(text: str, *, file: str, folder: Path) -> Config:
    """Check the text of a configuration; `folder` is where relative paths count from.

    Raises:
        ConfigFileError: Anything wrong in it.
    """
    document = parse(text)
    problems = list(document.problems)
    data = document.data
    if not isinstance(data, dict):
        shape = Problem((1, 1), (), "the file must be a mapping: `schema_version: 1`, ...")
        raise ConfigFileError(file, problems or [shape])
    try:
        config = Config.model_validate(_with_defaults(data), context={"folder": folder})
    except ValidationError as error:
        problems += [
            _problem(details, document)
            for details in error.errors()
            if not _came_from_defaults(details, document)
        ]
        raise ConfigFileError(file, problems) from None
    if problems:
        raise ConfigFileError(file, problems)
    return config


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """Put `defaults` into each camera that does not say otherwise, as far as both are mappings."""
    defaults, cameras = data.get("defaults"), data.get("cameras")
    if not isinstance(defaults, dict) or not isinstance(cameras, dict):
        return data
    known = {key: value for key, value in defaults.items() if key in CameraDefaults.model_fields}
    merged = {
        name: {**known, **camera} if isinstance(camera, dict) else camera
        for name, camera in cameras.items()
    }
    return {**data, "cameras": merged}


def _came_from_defaults(details: ErrorDetails, document: Document) -> bool:
    """A camera's value that stands only in `defaults`, and is told there."""
    path = details["loc"]
    inherited = len(path) >= 3 and path[0] == "cameras" and path[2] in CameraDefaults.model_fields
    return inherited and path[:3] not in document.positions


def _problem(details: ErrorDetails, document: Document) -> Problem:
    # pydantic marks errors in a mapping's keys by a further step "[key]".
    path = tuple(part for part in details["loc"] if part != "[key]")
    kind, message = details["type"], details["msg"]
    if kind == "extra_forbidden":
        message = "unknown key" + _hint(str(path[-1]), _known_keys(path[:-1]))
    elif kind == "missing":
        message = f"the key `{path[-1]}` is missing"
        return Problem(document.position(path[:-1]), path, message)
    elif kind == "string_pattern_mismatch" and "prefix" not in path:
        message = "names are 1 to 32 of a-z, 0-9, _ and -"
    elif kind == "value_error":
        message = message.removeprefix("Value error, ")
    return Problem(document.position(path), path, message)


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `path` has."""
    section: type[Section] | None = Config
    names = False  # the next step is a name or a number, and no key
    for step in path:
        if section is None:
            return []
        if names:
            names = False
            continue
        field = section.model_fields.get(str(step))
        section = None if field is None else _section_in(field.annotation)
        names = field is not None and _holds_many(field.annotation)
    return [] if section is None or names else list(section.model_fields)


def _holds_many(annotation: Any) -> bool:
    """Whether a type is a mapping or a list of sections."""
    parts = get_args(annotation)
    return get_origin(annotation) in (dict, tuple, list) or any(map(_holds_many, parts))


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a type holds: in an option, a list or a mapping; None: none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (_section_in(part) for part in get_args(annotation))
    return next((section for section in found if section is not None), None)


def _hint(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known here: {', '.join(known)}" if known else ""
