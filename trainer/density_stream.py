"""A stream whose network gives log-densities: features, score matching, export, head (MULDE).

1. features of normal items: of an encoder that is there (GMFC-VAE, backbone, student, the user's
   own ONNX file), or the input's own numbers (speed);
2. the log-density network on them, early stop by the held-out clips (`trainer.train_density`);
3. one ONNX file: encoder and log-density network, proven against PyTorch;
4. the head over its levels: a mixture with full covariances (the energy code of every mixture), or
   an aggregate of standardised levels, from the footage that the network has learned from.

Energies out of sample come from the held-out clips, which only the early stop has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.atomic import write_bytes
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import ConfigError, InternalError
from engines.model_spec import InputSpec, Option
from trainer.build_context import Build
from trainer.export import TOLERANCE, deployed_parameters, export_module
from trainer.feature_bank import collect_features
from trainer.feature_network import chained, extractor_network, run_network
from trainer.feature_points import Points, sample_points
from trainer.feature_stream import make_encoder, some_items
from trainer.gaussian_mixture import fit_gaussians
from trainer.models.log_density import DensityNetwork
from trainer.preset_sections import DensityPreset, StreamPreset
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT, Arrays, LearnedParts, StreamParts
from trainer.train_density import energies, train_density

NETWORK_NAME = "log_density.onnx"
EXTRACTOR_NAME = "extractor.onnx"
_DENSITY_NAME = "density_alone.onnx"
_PARITY_ITEMS = 8
# Added to the variances of a mixture over the levels, as a part of their mean: neighbouring levels
# say nearly the same, and rounding in FP16 must not become many standard deviations.
_FLOOR = 1e-3
# A scale of a level that hardly varies, as a part of the largest.
_SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class _Features:
    """ONNX file (None: the input's own numbers) and number of weights of what gives features."""

    network: Path | None
    parameters: int


class _Itself:
    """The encoder of streams whose input is features already."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch

    def close(self) -> None:
        """Nothing to free."""


def build_density_stream(stream: StreamPreset, spec: InputSpec, build: Build) -> StreamParts:
    """All steps; features that are on disk of an earlier sitting are taken from there.

    Raises:
        ConfigError: The encoder gives no features, or no extractor is named.
        InputMissingError: The extractor's file is not there.
        DataError: Nothing moves, or the extractor does not fit.
        UnavailableError: The pretrained weights are not installed.
        InternalError: The exported file differs from PyTorch.
        CannotCreateError: The run directory cannot be written.
    """
    settings, folder = build.preset.density, build.run.stream(stream.name)
    source = _features_of(stream, spec, build)
    fit, held_out = _collect(stream, spec, build, source)
    points = sample_points(fit, max_points=settings.samples, seed=build.preset.seed)
    others = sample_points(held_out, max_points=settings.samples, seed=build.preset.seed)
    build.progress.say(
        f"{stream.name}: log-density of {points.shape[1]} features from {len(points)} vectors"
    )
    trained = train_density(
        points,
        others,
        settings=settings,
        seed=build.preset.seed,
        device=build.device,
        name=stream.name,
        progress=build.progress,
    )
    build.run.note(**{f"{stream.name}_density_losses": [list(pair) for pair in trained.history]})
    items = some_items(build.split.held_out, spec, build.preset, _PARITY_ITEMS)
    network, answers = _export(trained.model, source, items, folder)
    arrays = head_arrays(
        energies(trained.model, points),
        energies(trained.model, others),
        settings=settings,
        seed=build.preset.seed,
    )
    mixed = settings.aggregate == "mixture"
    options: dict[str, Option] = {} if mixed else {"aggregate": settings.aggregate}
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=LearnedParts(
            network=network,
            parameters=source.parameters + deployed_parameters(trained.model),
            arrays=arrays,
            parity_patches=items,
            parity_latents=answers,
            head="mixture" if mixed else "log-density",
            options=options,
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


def head_arrays(fit: Points, held_out: Points, *, settings: DensityPreset, seed: int) -> Arrays:
    """Arrays of the head over the levels.

    Args:
        fit: float32 (N, L), energies of the footage that the network has learned from.
        held_out: float32 (M, L), of other footage: chooses the number of components.
        settings: Aggregate and numbers of components.
        seed: Decides the start of a mixture.

    Returns:
        Of a mixture with full covariances, or ``centre`` and ``scale`` (median and 1.4826 MAD).
    """
    if settings.aggregate != "mixture":
        centre = np.median(fit, axis=0).astype(np.float64)
        scale = 1.4826 * np.median(np.abs(fit - centre), axis=0)
        floor = max(float(scale.max()) * _SMALLEST_SCALE, 1e-12)
        return {"centre": centre, "scale": np.maximum(scale, floor)}
    candidates = [
        fit_gaussians(fit, components=count, covariance="full", seed=seed, floor=_FLOOR)
        for count in sorted(set(settings.components))
    ]
    return max(candidates, key=lambda one: one.log_likelihood(held_out)).arrays()


def _features_of(stream: StreamPreset, spec: InputSpec, build: Build) -> _Features:
    if stream.encoder == "none":
        return _Features(None, 0)
    if stream.encoder == "gmfc_vae":
        learned = build.trained[stream.name].learned
        assert isinstance(learned, LearnedParts)
        return _Features(learned.network, learned.parameters)
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
        return _Features(encoder.network, encoder.parameters)
    raise ConfigError(
        f"stream {stream.name}: encoder {stream.encoder} gives no features for a log-density",
        mend="choose backbone, student, gmfc_vae, onnx or none",
    )


def _extractor(stream: StreamPreset, spec: InputSpec, build: Build) -> _Features:
    if build.preset.extractor is None:
        raise ConfigError(
            f"stream {stream.name} has encoder onnx, and no file is named",
            mend="give --features FILE.onnx, or set extractor.file in the preset",
        )
    shape = some_items(build.split.fit, spec, build.preset, 1).shape[1:]
    if len(shape) != 3:
        raise ConfigError(
            f"stream {stream.name}: kind {stream.kind} has no pictures to extract features from",
            mend="choose kind window or appearance, or encoder none",
        )
    network = extractor_network(build.preset.extractor, shape=(shape[0], shape[1], shape[2]))
    path = build.run.stream(stream.name) / EXTRACTOR_NAME
    write_bytes(path, network)
    return _Features(path, weights_in(network))


def weights_in(network: bytes) -> int:
    """Number of values in the weights of an ONNX network in memory."""
    return sum(int(np.prod(t.dims)) for t in onnx.load_from_string(network).graph.initializer)


def _collect(
    stream: StreamPreset, spec: InputSpec, build: Build, source: _Features
) -> tuple[list[Points], list[Points]]:
    """Features of the clips that are learned from, and of the held-out ones, clip by clip."""
    split, settings = build.split, build.preset.features
    looker: _Itself | OnnxRuntimeCpu = _Itself()
    if source.network is not None:
        looker = OnnxRuntimeCpu(
            input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=build.threads
        )
        looker.load(source.network)
    clips = [*split.fit, *split.held_out]
    bank = collect_features(
        clips,
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
    groups = [
        np.concatenate([one.features, one.mirrored]) if len(one.mirrored) else one.features
        for one in bank
    ]
    filled = [group if len(group) else None for group in groups]
    fit = [group for group in filled[: len(split.fit)] if group is not None]
    held_out = [group for group in filled[len(split.fit) :] if group is not None]
    return fit, held_out


def _export(
    model: DensityNetwork, source: _Features, items: NDArray[np.float32], folder: Path
) -> tuple[Path, NDArray[np.float32]]:
    """The whole network's file, and what PyTorch gives for `items`.

    Raises:
        InternalError: The file differs from PyTorch.
    """
    features = items if source.network is None else run_network(source.network.read_bytes(), items)
    alone = folder / _DENSITY_NAME
    export_module(model, alone, shape=features.shape[1:], samples=features)
    answers = energies(model, features)
    if source.network is None:
        return alone, answers
    path = folder / NETWORK_NAME
    write_bytes(path, chained(source.network.read_bytes(), alone.read_bytes()))
    found = run_network(path.read_bytes(), items)
    error = float(np.abs(found - answers).max())
    if not error <= TOLERANCE * max(1.0, float(np.abs(answers).max())):
        raise InternalError(
            f"encoder and log-density in one file differ from their parts by {error:.2e}",
            where=str(path),
            mend="report this with the versions of onnx and onnxruntime",
        )
    return path, answers
