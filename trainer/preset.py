"""A preset: every number of a recipe in one place, as a closed, frozen, typed model.

A preset is a YAML file in `trainer/presets` or anywhere else; `key.sub=value` settings of the
command line pass through the same model: a misspelt key is an error, never a silent default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from engines.errors import ConfigError, UsageError
from engines.manifest import explain
from engines.model_spec import FrameSpec, FusionSpec, GateSpec, Strict
from trainer.clip_settings import MnadPreset, TopHeavyPreset
from trainer.feature_settings import FeaturePreset, StudentPreset
from trainer.preset_sections import (
    OWN_KIND,
    CalibrationPreset,
    DensityPreset,
    EmPreset,
    ExtractorPreset,
    NetPreset,
    StreamPreset,
    TrainingPreset,
    TrustPreset,
)
from trainer.shipped import find_recipe, shipped_names

PRESETS = Path(__file__).parent / "presets"


class Preset(Strict):
    """A whole recipe. `frame.fps` left out means: the rate of the training footage.

    With `trust` the weights of the streams are learned for the scene, else they are the preset's.
    `detector` is the family that it belongs to, for `vigil train --detector` and `vigil compare`.
    """

    name: str
    detector: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] = "gmfc-vae"
    frame: FrameSpec = FrameSpec()
    gate: GateSpec = GateSpec()
    streams: Annotated[tuple[StreamPreset, ...], Field(min_length=1)]
    model: NetPreset = NetPreset()
    training: TrainingPreset = TrainingPreset()
    em: EmPreset = EmPreset()
    features: FeaturePreset = FeaturePreset()
    student: StudentPreset = StudentPreset()
    mnad: MnadPreset = MnadPreset()
    top_heavy: TopHeavyPreset = TopHeavyPreset()
    density: DensityPreset = DensityPreset()
    extractor: ExtractorPreset | None = None
    trust: TrustPreset | None = None
    fusion: FusionSpec = FusionSpec()
    calibration: CalibrationPreset = CalibrationPreset()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _streams_fit(self) -> Preset:
        names = [stream.name for stream in self.streams]
        if len(set(names)) != len(names):
            raise ValueError(f"stream names must differ, found {names}")
        total = sum(stream.weight for stream in self.streams)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"stream weights must sum to 1, they sum to {total:g}")
        side = min(self.frame.width, self.frame.height)
        for stream in self.streams:
            if stream.patch > side and stream.encoder == "gmfc_vae":
                raise ValueError(
                    f"{stream.name}: patch {stream.patch} exceeds the frame ({side} px)"
                )
            if stream.encoder == "onnx" and stream.head != "log-density":
                raise ValueError(f"{stream.name}: encoder onnx needs head log-density")
            own = OWN_KIND.get(stream.encoder)
            if own != (stream.kind if stream.kind in OWN_KIND.values() else None):
                fitting = [encoder for encoder, kind in OWN_KIND.items() if kind == stream.kind]
                wanted = f"encoder {' or '.join(fitting)}" if fitting else f"no {stream.encoder}"
                raise ValueError(f"{stream.name}: kind {stream.kind} needs {wanted}")
        return self

    @property
    def patch_streams(self) -> tuple[StreamPreset, ...]:
        """The streams whose network is trained on patches, or clips, of the scene."""
        return tuple(s for s in self.streams if s.encoder in ("gmfc_vae", "mnad", "top_heavy"))

    @property
    def feature_streams(self) -> tuple[StreamPreset, ...]:
        """The streams with features from a backbone or its student."""
        return tuple(s for s in self.streams if s.encoder in ("backbone", "student"))

    def with_footage_rate(self, fps: float) -> Preset:
        """A copy whose `frame.fps` is `fps` (frames per second) unless the preset states one."""
        if "fps" in self.frame.model_fields_set:
            return self
        return self.model_copy(update={"frame": self.frame.model_copy(update={"fps": fps})})

    def to_yaml(self) -> str:
        """The resolved preset, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def preset_names() -> list[str]:
    """Names of the presets that come with the program."""
    return shipped_names(PRESETS)


def families() -> dict[str, list[str]]:
    """Detectors in order of name, each with the shipped presets of its family.

    Raises:
        ConfigError: A shipped file is not YAML.
    """
    found: dict[str, list[str]] = {}
    for name in preset_names():
        path = PRESETS / f"{name}.yaml"
        raw = _parse(path.read_text(encoding="utf-8"), where=str(path))
        detector = raw.get("detector", Preset.model_fields["detector"].default)
        found.setdefault(str(detector), []).append(name)
    return dict(sorted(found.items()))


def load_preset(name: str, settings: Sequence[str] = ()) -> Preset:
    """Read a preset by name or path and apply `key.sub=value` settings in order.

    A list of streams is addressed by stream name: `streams.motion.options.window=10`.

    Raises:
        ConfigError: No such preset, not YAML, or a key or value that the model refuses; lists all.
    """
    path = find_recipe(name, PRESETS, what="preset")
    raw = _parse(path.read_text(encoding="utf-8"), where=str(path))
    if not isinstance(raw, dict):
        raise ConfigError("a preset is a mapping of keys", where=str(path))
    raw.setdefault("name", path.stem)
    for setting in settings:
        _apply(raw, setting)
    try:
        return Preset.model_validate(raw)
    except ValidationError as error:
        where = f"{path}" + (f" with {' '.join(settings)}" if settings else "")
        raise ConfigError(
            explain(error), where=where, mend="mend the keys that are named"
        ) from error


def with_own_features(preset: Preset) -> Preset:
    """A copy whose log-density streams on pictures take the features of `preset.extractor`.

    Raises:
        UsageError: There is no such stream.
    """
    streams = [
        stream.model_copy(update={"encoder": "onnx"})
        if stream.head == "log-density" and stream.encoder != "none"
        else stream
        for stream in preset.streams
    ]
    if not any(stream.encoder == "onnx" for stream in streams):
        raise UsageError(
            f"preset {preset.name} has no stream that takes features of another network",
            where="--features",
            mend="choose --detector mulde, or give a stream head: log-density",
        )
    return preset.model_copy(update={"streams": tuple(streams)})


def _parse(text: str, *, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", where=where) from error


def _apply(raw: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"{setting!r} is not key=value",
            where="--set",
            mend="for example: training.patches=20000",
        )
    *folders, last = key.split(".")
    place: Any = raw
    for part in folders:
        place = _enter(place, part, key)
    if not isinstance(place, dict):
        raise ConfigError(f"{key}: {last!r} cannot be set there", where="--set")
    place[last] = _parse(text, where=f"--set {key}")


def _enter(place: Any, part: str, key: str) -> Any:
    if isinstance(place, list):
        for item in place:
            if isinstance(item, dict) and item.get("name") == part:
                return item
        names = [item.get("name") for item in place if isinstance(item, dict)]
        raise ConfigError(f"{key}: there is no entry {part!r}, only {names}", where="--set")
    if isinstance(place, dict):
        if place.get(part) is None:
            place[part] = {}
        return place[part]
    raise ConfigError(f"{key}: {part!r} holds a value, not keys", where="--set")
