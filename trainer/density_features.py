"""Where the features of a log-density come from, and those of normal footage.

Of an encoder that is there (GMFC-VAE, backbone, student, the user's own ONNX file), or the input's
own numbers (speed).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.atomic import write_bytes
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import ConfigError
from engines.model_spec import InputSpec
from trainer.build_context import Build
from trainer.feature_bank import ClipFeatures, collect_features
from trainer.feature_network import extractor_network
from trainer.feature_stream import make_encoder, some_items
from trainer.preset_sections import StreamPreset
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT, LearnedParts

EXTRACTOR_NAME = "extractor.onnx"


@dataclass(frozen=True)
class FeatureSource:
    """What gives features.

    Attributes:
        network: ONNX file; None: the input's own numbers are the features.
        parameters: Its number of weights.
        knows_fit: Whether it was trained to find the clips of the fit usual, so that nothing about
            them is out of sample.
    """

    network: Path | None
    parameters: int
    knows_fit: bool = False


class _Itself:
    """The encoder of streams whose input is features already."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch

    def close(self) -> None:
        """Nothing to free."""


def open_features(stream: StreamPreset, spec: InputSpec, build: Build) -> FeatureSource:
    """The source that a stream names; an encoder that is still to be made is made.

    Raises:
        ConfigError: The encoder gives no features.
        InputMissingError: The extractor's file is not there.
        DataError: Nothing moves, or the extractor does not fit.
        UnavailableError: The pretrained weights are not installed.
    """
    if stream.encoder == "none":
        return FeatureSource(None, 0)
    if stream.encoder == "gmfc_vae":
        learned = build.trained[stream.name].learned
        assert isinstance(learned, LearnedParts)
        return FeatureSource(learned.network, learned.parameters, knows_fit=True)
    if stream.encoder == "onnx":
        return _extractor(stream, spec, build)
    if stream.encoder in ("backbone", "student"):
        encoder = make_encoder(
            stream,
            spec,
            build.preset,
            build.split,
            build.run,
            build.threads,
            build.device,
            build.progress,
        )
        return FeatureSource(encoder.network, encoder.parameters)
    raise ConfigError(
        f"stream {stream.name}: encoder {stream.encoder} gives no features for a log-density",
        mend="choose backbone, student, gmfc_vae, onnx or none",
    )


def _extractor(stream: StreamPreset, spec: InputSpec, build: Build) -> FeatureSource:
    assert build.preset.extractor is not None  # see trainer.recipe_check
    shape = some_items(build.split.fit, spec, build.preset, 1).shape[1:]
    if len(shape) != 3:
        raise ConfigError(
            f"stream {stream.name}: kind {stream.kind} has no pictures to extract features from",
            mend="choose kind window or appearance, or encoder none",
        )
    network = extractor_network(build.preset.extractor, shape=(shape[0], shape[1], shape[2]))
    path = build.run.stream(stream.name) / EXTRACTOR_NAME
    write_bytes(path, network)
    return FeatureSource(path, weights_in(network))


def weights_in(network: bytes) -> int:
    """Number of values in the weights of an ONNX network in memory."""
    return sum(int(np.prod(t.dims)) for t in onnx.load_from_string(network).graph.initializer)


def collect_points(
    stream: StreamPreset, spec: InputSpec, build: Build, source: FeatureSource
) -> list[ClipFeatures]:
    """Features of the clips of the fit, then of the held-out ones; see `collect_features`.

    Raises:
        DataError: A clip cannot be read, or nothing moves.
        CannotCreateError: The run directory cannot be written.
    """
    settings = build.preset.features
    looker: _Itself | OnnxRuntimeCpu = _Itself()
    if source.network is not None:
        looker = OnnxRuntimeCpu(
            input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=build.threads
        )
        looker.load(source.network)
    bank = collect_features(
        [*build.split.fit, *build.split.held_out],
        spec,
        looker,
        network=source.network,
        frame=build.preset.frame,
        gate=build.preset.gate,
        frames=settings.frames,
        mirrored=settings.mirrored and source.network is not None,
        folder=build.run.patches / "features" / stream.name,
        progress=build.progress,
        cache=build.cache,
    )
    looker.close()
    return bank
