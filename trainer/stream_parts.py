"""One stream on its way into a bundle: description, runner and files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import Pooling, StreamStatistics
from edge.compute import HOST
from edge.runner import Runner
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import BundleFile, encode_arrays
from engines.half_precision import fp16_from_fp32, fp16_weights
from engines.model_spec import (
    HeadSpec,
    InputSpec,
    MapSpec,
    NetworkSpec,
    Option,
    Precision,
    StreamSpec,
)

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
NETWORK_INPUT = "patches"
NETWORK_OUTPUT = "latent"
# From this size on, weights are stored in half precision: below it the file is small anyway.
_COMPACT_BYTES = 1_000_000

Arrays = Mapping[str, NDArray[np.generic]]
_NOTHING: Arrays = {}
Samples = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]
"""Energies of active cells, and their rows and columns."""


@dataclass(frozen=True)
class Unseen:
    """What knows nothing of a clip, because it was learned while that clip was left out.

    Attributes:
        arrays: Of the head.
        network: ONNX file; None: the stream's own, which has not learned from the clip either.
    """

    arrays: Arrays
    network: Path | None = None


@dataclass(frozen=True)
class LearnedParts:
    """What training gives for a stream with a network.

    Attributes:
        network: ONNX file, input "patches", output "latent".
        parameters: Number of the network's weights.
        arrays: Head arrays.
        parity_patches: float32, N x channels x patch x patch (or N x D for flat input kinds); the
            bundle's golden inputs.
        parity_latents: float32, N x J (or N x J x rows x columns with `map`): what PyTorch gave for
            them.
        unseen: By the name of a clip; None: `arrays` and network know nothing of the held-out
            clips, and something of all others.
        samples: Energies of normal cells out of sample; None: to be taken from held-out clips.
        head: Head kind of `edge.scoring.heads`.
        options: Of the head.
        map: Grid of the network's answers where it looks at whole pictures (input kind `clip`).
    """

    network: Path
    parameters: int
    arrays: Arrays
    parity_patches: NDArray[np.float32]
    parity_latents: NDArray[np.float32]
    unseen: Mapping[str, Unseen] | None = None
    samples: Samples | None = None
    head: str = "mixture"
    options: Mapping[str, Option] = field(default_factory=dict)
    map: MapSpec | None = None


@dataclass(frozen=True)
class HeadParts:
    """What training gives for a stream whose input goes to a head without a network.

    Attributes:
        kind: Head kind of `edge.scoring.heads`.
        arrays: Head arrays.
        unseen: By the name of a clip.
        samples: Energies of normal cells out of sample; None: to be taken from held-out clips.
    """

    kind: str
    arrays: Arrays
    unseen: Mapping[str, Unseen]
    samples: Samples | None = None


@dataclass(frozen=True)
class StreamParts:
    """One stream for a bundle.

    Attributes:
        name: Stream name.
        input: Runtime input (test stride, measured options).
        weight: Share in the fusion.
        learned: Network and head, or a head alone; None where the input itself is the energy.
        pooling: Statistics of each cell, of its neighbourhood or of the picture.
        blur_cells: Sigma of a Gaussian over its surprise, in grid cells.
        carry_s: Time constant of the motion-compensated mean of its surprise, seconds.
    """

    name: str
    input: InputSpec
    weight: float
    learned: LearnedParts | HeadParts | None
    pooling: Pooling = "cell"
    blur_cells: float = 0.0
    carry_s: float = 0.0


def stream_spec(part: StreamParts) -> StreamSpec:
    """The stream's description in `model.json`."""
    learned = part.learned
    plain = StreamSpec(
        name=part.name,
        input=part.input,
        head=HeadSpec(kind="identity"),
        statistics=f"statistics/{part.name}.npz",
        weight=part.weight,
        blur_cells=part.blur_cells,
        carry_s=part.carry_s,
    )
    if learned is None:
        return plain
    file = f"heads/{part.name}.npz"
    if isinstance(learned, HeadParts):
        return plain.model_copy(update={"head": HeadSpec(kind=learned.kind, file=file)})
    network = NetworkSpec(
        input=NETWORK_INPUT,
        output=NETWORK_OUTPUT,
        files={p: _network_file(part.name, p) for p in PRECISIONS},
        parameters=learned.parameters,
        map=learned.map,
    )
    # A head without arrays (identity on a network with one answer a cell) has no file.
    head = HeadSpec(
        kind=learned.head, file=file if learned.arrays else None, options=dict(learned.options)
    )
    return plain.model_copy(
        update={
            "network": network,
            "head": head,
            "parity": f"parity/{part.name}.npz",
        }
    )


def unseen_of(part: StreamParts, clip: str, *, held_out: bool) -> Unseen | None:
    """What of a stream knows nothing of a clip: None if nothing does."""
    learned = part.learned
    if learned is None:
        return Unseen(_NOTHING)
    if learned.unseen is not None:
        return learned.unseen.get(clip)
    return Unseen(learned.arrays) if held_out else None


def open_runner(part: StreamParts, *, threads: int, unseen: Unseen | None = None) -> Runner:
    """The stream ready to run from its parts, or as it is without a clip."""
    spec = stream_spec(part)
    learned = part.learned
    if learned is None:
        return HOST.runner(spec, None, {})
    arrays = dict(learned.arrays if unseen is None else unseen.arrays)
    if isinstance(learned, HeadParts):
        return HOST.runner(spec, None, arrays)
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=threads)
    network = None if unseen is None else unseen.network
    backend.load(network or learned.network)
    return HOST.runner(spec, backend, arrays)


def stream_files(part: StreamParts, statistics: StreamStatistics) -> list[BundleFile]:
    """The stream's files in the bundle."""
    spec = stream_spec(part)
    files = [BundleFile(spec.statistics, "statistics", encode_arrays(statistics.to_arrays()))]
    learned = part.learned
    if isinstance(learned, HeadParts):
        files.append(BundleFile(f"heads/{part.name}.npz", "head", encode_arrays(learned.arrays)))
    elif learned is not None:
        parity = {"patches": learned.parity_patches, "latents": learned.parity_latents}
        network = learned.network.read_bytes()
        if len(network) > _COMPACT_BYTES:
            network = fp16_weights(network)
            # Weights are rounded now: golden is what this network gives.
            parity["latents"] = run_network(network, learned.parity_patches)
        files += [
            BundleFile(_network_file(part.name, "fp32"), "network", network),
            BundleFile(_network_file(part.name, "fp16"), "network", fp16_from_fp32(network)),
            BundleFile(f"parity/{part.name}.npz", "parity", encode_arrays(parity)),
        ]
        if spec.head.file is not None:
            files.append(BundleFile(spec.head.file, "head", encode_arrays(learned.arrays)))
    return files


def run_network(network: bytes, items: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime gives for a network in memory, one item for each row of `items`.

    Args:
        network: ONNX file content with our names of input and output.
        items: float32, N x ... as the network takes them.

    Raises:
        DataError: It cannot be loaded, or the items have another shape.
    """
    backend = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=1)
    with tempfile.TemporaryDirectory(prefix="vigil-network-") as folder:
        file = Path(folder) / "network.onnx"
        file.write_bytes(network)
        backend.load(file)
        answers = backend.infer(items)
        backend.close()
    return answers


def _network_file(stream: str, precision: Precision) -> str:
    return f"networks/{stream}.{precision}.onnx"
