"""From a stream of a preset to its parts: the table of encoders.

A detector is a family of presets (`Preset.detector`); a preset names its streams; a stream names
its encoder, and this table says who trains it. A new system is a module with a `Builder`, an entry
here, a value of `StreamPreset.encoder` (with its input kind in `preset_sections.OWN_KIND` where it
takes no other), a section of the preset for its numbers, and a preset file. For networks that look
at whole pictures (`Build` is `trainer.build_context.Build`):

1. the preset's stream: ``kind: clip``, `patch` = side of the network's picture, `test_stride` =
   side of a grid cell, ``options: {frames: 5, grey: false}``; see `edge.inputs.clip`;
2. training: `collect.observe_clip(clip, {"": spec}, ...)` gives `Cells`; `cells.gather()` is then
   float32, 1 x frames * colours x patch x patch (0 x ... where nothing moves: give a `GateSpec`
   with `enabled=False` to have every frame). Learn from `build.split.fit`, stop early by
   `build.split.held_out`, keep work under `build.run.stream(stream.name)`;
3. export: a module from such items to N x J x rows x columns (errors and distances inside the
   graph), by `export.export_network(module, path, side=stream.patch, channels=..., sizes=(1, 2))`,
   which proves the file; `export.latents(module, items)` for the golden ones;
4. parts: `LearnedParts(network=path, parameters=..., map=MapSpec(rows, columns), head="identity",
   arrays={})` for J = 1, or ``head="map"`` with ``arrays`` centre, scale, weight (J each, measured
   on items of `held_out`; `edge.scoring.aggregate`) and ``options={"square": True}`` where wanted.
   `samples` and `unseen` stay None: statistics are then taken from held-out clips by the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping

from engines.model_spec import InputSpec
from trainer.build_context import Build, Builder
from trainer.density_stream import build_density_stream
from trainer.direction_stream import build_direction_stream, build_random_stream
from trainer.feature_stream import build_feature_stream
from trainer.preset_sections import StreamPreset
from trainer.stream_parts import StreamParts

Measured = Mapping[str, Mapping[str, float]]
"""Options by stream name that were measured on the footage."""


def build_streams(build: Build, measured: Measured) -> list[StreamParts]:
    """All streams in the preset's order.

    Raises:
        VigilError: What the builders raise: nothing moves, weights are not installed, a folder that
            cannot be written.
    """
    return [
        _builder(stream)(stream, stream.test_input(measured[stream.name]), build)
        for stream in build.preset.streams
    ]


def _builder(stream: StreamPreset) -> Builder:
    return BUILDERS[stream.encoder] if stream.head == "own" else build_density_stream


def _trained(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    del spec
    return build.trained[stream.name]


def _features(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    return build_feature_stream(
        stream,
        spec,
        preset=build.preset,
        split=build.split,
        run=build.run,
        threads=build.threads,
        device=build.device,
        progress=build.progress,
        cache=build.cache,
    )


def _directions(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    return build_direction_stream(
        stream, spec, preset=build.preset, split=build.split, progress=build.progress
    )


def _by_lot(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    return build_random_stream(stream, spec, preset=build.preset, split=build.split)


def _nothing_learned(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    del build
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=None,
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


BUILDERS: Mapping[str, Builder] = {
    "backbone": _features,
    "gmfc_vae": _trained,
    "mnad": _trained,
    "none": _nothing_learned,
    "place": _directions,
    "random": _by_lot,
    "student": _features,
    "top_heavy": _trained,
}
"""By `StreamPreset.encoder`."""
