"""From trained streams to a bundle: statistics, then the threshold, each on clips of its own.

Nothing here has a second implementation of a step: energies come from `edge.pipeline`, as they
will on the device. Statistics come from held-out clips, the threshold from clips that neither the
weights nor the statistics have seen.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.alarm_rule import AlarmRule
from calibration.stream_statistics import Pooling, StreamStatistics
from edge.pipeline import EnergyPipeline, Pipeline, StreamRunner
from edge.scoring.heads import open_head
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import Bundle, BundleFile, encode_arrays, replace_alarm, write_bundle
from engines.errors import DataError
from engines.half_precision import fp16_from_fp32
from engines.model_spec import (
    HeadSpec,
    InputSpec,
    MapSpec,
    ModelSpec,
    NetworkSpec,
    Precision,
    StreamSpec,
    TrainingRecord,
)
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.recalibrate import HOURS_PER_DAY, recalibrate

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
NETWORK_INPUT = "patches"
NETWORK_OUTPUT = "latent"
RECORDED_PACKAGES = ("vigil", "numpy", "onnxruntime", "opencv-python-headless", "torch")

Progress = Callable[[str], None]
Samples = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class LearnedParts:
    """What training gives for one stream.

    Attributes:
        network: ONNX file, input "patches", output "latent".
        parameters: Number of the network's weights.
        mixture: Head arrays: weights, means, variances.
        parity_patches: float32, N x channels x patch x patch; the bundle's golden inputs.
        parity_latents: float32, N x J: what PyTorch gave for them.
    """

    network: Path
    parameters: int
    mixture: Mapping[str, NDArray[np.generic]]
    parity_patches: NDArray[np.float32]
    parity_latents: NDArray[np.float32]


@dataclass(frozen=True)
class StreamParts:
    """One stream for a bundle.

    Attributes:
        name: Stream name.
        input: Runtime input (test stride, measured scale).
        weight: Share in the fusion.
        learned: Network and head; None where the input itself is the energy.
        pooling: Statistics of each cell, or of its neighbourhood.
    """

    name: str
    input: InputSpec
    weight: float
    learned: LearnedParts | None
    pooling: Pooling = "cell"


def versions() -> dict[str, str]:
    """Versions of what has a part in the numbers; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def assemble_bundle(
    root: Path,
    *,
    preset: Preset,
    streams: Sequence[StreamParts],
    fit: Sequence[NormalClip],
    held_out: Sequence[NormalClip],
    threshold: Sequence[NormalClip],
    record: TrainingRecord,
    threads: int = 0,
    progress: Progress = lambda _: None,
) -> Bundle:
    """Fit statistics and threshold and write the bundle into `root`.

    Args:
        root: Bundle folder; an older bundle there is replaced.
        preset: The recipe.
        streams: The trained streams.
        fit: Clips that the weights have seen: statistics of streams without weights use them too.
        held_out: Clips for the statistics.
        threshold: Clips for the threshold.
        record: How the bundle came to be.
        threads: Threads of the networks; 0 lets the backend choose.
        progress: Told what is being done, in words.

    Raises:
        DataError: Nothing moves in the held-out clips, or a part does not fit.
        CannotCreateError: `root` cannot be written.
    """
    rule = preset.calibration
    specs = [_stream_spec(stream) for stream in streams]
    runners = [_runner(s, part, threads) for s, part in zip(specs, streams, strict=True)]
    energies = EnergyPipeline(frame=preset.frame, gate=preset.gate, runners=runners)
    plain = EnergyPipeline(
        frame=preset.frame,
        gate=preset.gate,
        runners=[runner for runner in runners if runner.backend is None],
    )
    samples = _collect(energies, held_out, progress)
    if plain.streams:
        for name, more in _collect(plain, fit, progress).items():
            samples[name] += more
    statistics = {
        part.name: _fit_statistics(samples[part.name], energies.grid_shape(part.name), part.pooling)
        for part in streams
    }
    rows, columns = max(
        (energies.grid_shape(spec.name) for spec in specs), key=lambda shape: shape[0] * shape[1]
    )
    energies.close()
    model = ModelSpec(
        name=preset.name,
        frame=preset.frame,
        gate=preset.gate,
        streams=tuple(specs),
        map=MapSpec(rows=rows, columns=columns),
        fusion=preset.fusion,
        training=record,
    )
    files = [
        file
        for spec, part in zip(specs, streams, strict=True)
        for file in _stream_files(spec, part, statistics[spec.name])
    ]
    bundle = write_bundle(root, model=model, alarm=None, files=files)
    progress("threshold")
    with Pipeline(bundle, threads=threads) as pipeline:
        alarm = recalibrate(
            pipeline,
            threshold,
            rule=AlarmRule(0.0, rule.open_frames, rule.close_s, rule.merge_s),
            false_alarms_per_day=rule.budget_per_hour * HOURS_PER_DAY,
            confidence=rule.confidence,
            seed=record.seed,
        )
    return replace_alarm(bundle, alarm)


def _stream_spec(part: StreamParts) -> StreamSpec:
    learned = part.learned
    if learned is None:
        return StreamSpec(
            name=part.name,
            input=part.input,
            head=HeadSpec(kind="identity"),
            statistics=f"statistics/{part.name}.npz",
            weight=part.weight,
        )
    return StreamSpec(
        name=part.name,
        input=part.input,
        network=NetworkSpec(
            input=NETWORK_INPUT,
            output=NETWORK_OUTPUT,
            files={p: _network_file(part.name, p) for p in PRECISIONS},
            parameters=learned.parameters,
        ),
        head=HeadSpec(kind="mixture", file=f"heads/{part.name}.npz"),
        statistics=f"statistics/{part.name}.npz",
        parity=f"parity/{part.name}.npz",
        weight=part.weight,
    )


def _network_file(stream: str, precision: Precision) -> str:
    return f"networks/{stream}.{precision}.onnx"


def _runner(spec: StreamSpec, part: StreamParts, threads: int) -> StreamRunner:
    if part.learned is None:
        return StreamRunner(spec=spec, backend=None, head=open_head(spec.head, {}))
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=threads)
    backend.load(part.learned.network)
    head = open_head(spec.head, dict(part.learned.mixture))
    return StreamRunner(spec=spec, backend=backend, head=head)


def _stream_files(
    spec: StreamSpec, part: StreamParts, statistics: StreamStatistics
) -> list[BundleFile]:
    files = [BundleFile(spec.statistics, "statistics", encode_arrays(statistics.to_arrays()))]
    learned = part.learned
    if learned is not None:
        parity = {"patches": learned.parity_patches, "latents": learned.parity_latents}
        network = learned.network.read_bytes()
        files += [
            BundleFile(_network_file(spec.name, "fp32"), "network", network),
            BundleFile(_network_file(spec.name, "fp16"), "network", fp16_from_fp32(network)),
            BundleFile(f"heads/{spec.name}.npz", "head", encode_arrays(learned.mixture)),
            BundleFile(f"parity/{spec.name}.npz", "parity", encode_arrays(parity)),
        ]
    return files


def _collect(
    pipeline: EnergyPipeline, clips: Sequence[NormalClip], progress: Progress
) -> dict[str, list[Samples]]:
    """Energies and positions of all active cells, one entry a frame, by stream."""
    collected: dict[str, list[Samples]] = {name: [] for name in pipeline.streams}
    for clip in clips:
        progress(f"statistics: {clip.name}")
        view = pipeline.new_view()
        with clip.open() as source:
            for frame in source:
                for name, energy in pipeline.energies([(view, frame)])[0].items():
                    rows, columns = np.nonzero(energy.active)
                    collected[name].append((energy.energy[rows, columns], rows, columns))
    return collected


def _fit_statistics(
    samples: Sequence[Samples], shape: tuple[int, int], pooling: Pooling
) -> StreamStatistics:
    if not samples:
        raise DataError("there is no held-out footage to take statistics from")
    energies, rows, columns = (np.concatenate(column) for column in zip(*samples, strict=True))
    return StreamStatistics.fit(energies, rows, columns, shape, pooling=pooling)
