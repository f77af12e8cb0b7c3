"""What is wrong with a recipe and can be said before any footage is read.

Minutes of work are not lost to a number that never fitted, or to a file that is not there.
"""

from __future__ import annotations

from edge.inputs.cells import channels_of
from engines.errors import ConfigError
from trainer.feature_network import extractor_network, read_extractor
from trainer.preset import Preset
from trainer.preset_sections import OWN_KIND, StreamPreset
from trainer.train_clip_stream import open_clip_model

# Input kinds whose items are pictures of the stream's patch size, three channels or one.
_PICTURES = ("appearance", "window")


def check_recipe(preset: Preset) -> None:
    """Look at every stream that has more to be wrong than the preset's own rules know.

    Raises:
        ConfigError: Numbers of a clip model that do not go together, or no extractor is named.
        InputMissingError: The extractor's file is not there.
        DataError: The extractor is no network, or does not take the stream's items.
    """
    for stream in preset.streams:
        if OWN_KIND.get(stream.encoder) == "clip":
            open_clip_model(preset, stream, seed=preset.seed)
        if stream.encoder == "onnx":
            _check_extractor(preset, stream)


def _check_extractor(preset: Preset, stream: StreamPreset) -> None:
    if preset.extractor is None:
        raise ConfigError(
            f"stream {stream.name} has encoder onnx, and no file is named",
            mend="give --features FILE.onnx, or set extractor.file in the preset",
        )
    if stream.kind in _PICTURES:
        channels = channels_of(stream.test_input())
        extractor_network(preset.extractor, shape=(channels, stream.patch, stream.patch))
    else:
        read_extractor(preset.extractor)
