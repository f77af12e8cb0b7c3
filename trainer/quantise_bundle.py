"""INT8 networks for a finished bundle, from normal footage: patches, ranges, verdict, files.

Patches are cut by the streams' own inputs under their own gate, so that the ranges are those of the
device. The bundle gets precision `int8` beside the others and, for each network, a record of what
stands behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.activation_ranges import RangeMethod
from calibration.int8_search import Int8Network, Progress, quantise
from edge.scoring.heads import answer_energy, answers_may_vanish, open_head
from engines.bundle import Bundle, BundleFile, update_bundle
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec, StreamSpec
from trainer.collect import Reservoir, observe_clip
from trainer.evaluation.clip_progress import ClipProgress
from trainer.normal_clip import NormalClip

PATCHES: Final = 1000


@dataclass(frozen=True)
class QuantisedStream:
    """One stream's INT8 network, with the sizes in bytes of its files by precision."""

    name: str
    result: Int8Network
    sizes: dict[str, int]


def quantise_bundle(
    bundle: Bundle,
    clips: Sequence[NormalClip],
    *,
    patches: int = PATCHES,
    method: RangeMethod = "mse",
    seed: int = 0,
    threads: int = 0,
    write: bool = True,
    progress: ClipProgress,
) -> tuple[QuantisedStream, ...]:
    """Make an INT8 network for each stream that has a network, and write them into the bundle.

    Args:
        bundle: With FP32 networks.
        clips: Normal footage, best what the bundle was trained on.
        patches: For each stream; half for the ranges, half for the verdict.
        method: How ranges are chosen.
        seed: Of the sample of patches.
        threads: Of the networks; 0 lets the backend choose.
        write: False leaves the bundle as it is.
        progress: Told about frames and steps.

    Raises:
        DataError: No FP32 network, no or too little movement in the footage, or INT8 changes the
            energies too much; the bundle is as it was.
        UnavailableError: The package onnx is not installed.
    """
    streams = [stream for stream in bundle.model.streams if stream.network is not None]
    for stream in streams:
        _require_parts(bundle, stream)
    if not streams:
        raise DataError(
            "no stream of this bundle has a network, so there is nothing to quantise",
            where=str(bundle.root),
        )
    found = sample_patches(
        clips,
        {stream.name: stream.input for stream in streams},
        frame=bundle.model.frame,
        gate=bundle.model.gate,
        budget=patches,
        seed=seed,
        progress=progress,
    )
    done = []
    files: list[BundleFile] = []
    changed = {}
    for stream in streams:
        result = _quantise(bundle, stream, found[stream.name], method, threads, progress.say)
        assert stream.network is not None
        file = f"networks/{stream.name}.int8.onnx"
        files += [
            BundleFile(file, "network", result.network),
            BundleFile(
                f"records/{stream.name}.int8.json",
                "record",
                _record(result, found[stream.name], clips),
            ),
        ]
        network = stream.network.model_copy(
            update={"files": {**stream.network.files, "int8": file}}
        )
        changed[stream.name] = stream.model_copy(update={"network": network})
        sizes: dict[str, int] = {
            p: bundle.path(f).stat().st_size for p, f in stream.network.files.items()
        }
        done.append(QuantisedStream(stream.name, result, {**sizes, "int8": len(result.network)}))
    if write:
        specs = tuple(changed.get(stream.name, stream) for stream in bundle.model.streams)
        update_bundle(bundle, bundle.model.model_copy(update={"streams": specs}), files)
    return tuple(done)


def sample_patches(
    clips: Sequence[NormalClip],
    inputs: Mapping[str, InputSpec],
    *,
    frame: FrameSpec,
    gate: GateSpec,
    budget: int,
    seed: int,
    progress: ClipProgress,
) -> dict[str, NDArray[np.float32]]:
    """An even random sample of active cells, in random order, for all streams in one walk.

    Returns:
        Stream name to float32, N x channels x side x side, N <= budget; every clip has an equal
        share, and what a still clip leaves over goes to those after it.

    Raises:
        DataError: A clip cannot be read.
        InputMissingError: A clip is not there.
    """
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in inputs}
    for number, clip in enumerate(clips):
        taken = {name: sum(len(part) for part in parts) for name, parts in kept.items()}
        pools: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in inputs}
        samplers = {
            name: Reservoir(
                -(-(budget - taken[name]) // (len(clips) - number)),
                np.random.default_rng([seed, number, *name.encode()]),
            )
            for name in inputs
        }
        progress.begin(clip.name, number=number + 1, of=len(clips), frames=None)
        for _, cells, _ in observe_clip(clip, inputs, frame=frame, gate=gate):
            progress.frame()
            for name, sampler in samplers.items():
                which, slots = sampler.offer(cells[name].items)
                if len(which):
                    cut = cells[name].gather(which)
                    pools[name].update(zip(slots.tolist(), cut, strict=True))
        progress.end()
        for name, pool in pools.items():
            kept[name] += [np.stack([pool[slot] for slot in sorted(pool)])] if pool else []
    rng = np.random.default_rng(seed)
    return {
        name: rng.permutation(np.concatenate(parts))
        if parts
        else np.zeros((0, 1, 1, 1), np.float32)
        for name, parts in kept.items()
    }


def _require_parts(bundle: Bundle, stream: StreamSpec) -> None:
    if stream.network is not None and "fp32" not in stream.network.files:
        raise DataError(
            f"INT8 is made from FP32, and stream {stream.name} has only "
            f"{', '.join(stream.network.files)}",
            where=str(bundle.root),
            mend="export the bundle with an fp32 network",
        )
    if stream.parity is None:
        raise DataError(
            f"stream {stream.name} has no parity patches to judge INT8 by",
            where=str(bundle.root),
            mend="export the bundle again",
        )


def _quantise(
    bundle: Bundle,
    stream: StreamSpec,
    patches: NDArray[np.float32],
    method: RangeMethod,
    threads: int,
    say: Progress,
) -> Int8Network:
    assert stream.network is not None
    assert stream.parity is not None
    golden = bundle.arrays(stream.parity)
    arrays = bundle.arrays(stream.head.file) if stream.head.file is not None else {}
    try:
        return quantise(
            bundle.path(stream.network.files["fp32"]).read_bytes(),
            patches,
            golden=(
                golden["patches"].astype(np.float32),
                golden["latents"].astype(np.float32),
            ),
            energy=answer_energy(stream, open_head(stream.head, arrays)),
            input_name=stream.network.input,
            output_name=stream.network.output,
            method=method,
            threads=threads,
            together=answers_may_vanish(stream),
            progress=lambda text: say(f"{stream.name}: {text}"),
        )
    except DataError as error:
        raise DataError(
            f"stream {stream.name}: {error.what}",
            where=error.where or str(bundle.root),
            mend=error.mend,
        ) from error


def _record(
    result: Int8Network, patches: NDArray[np.float32], clips: Sequence[NormalClip]
) -> bytes:
    facts = {
        "method": result.method,
        "layers": result.layers,
        "fp32_layers": list(result.skipped),
        "range_patches": result.patches,
        "patches_sha256": hashlib.sha256(np.ascontiguousarray(patches).tobytes()).hexdigest(),
        "clips": [clip.name for clip in clips],
        "parity": result.report.to_json(),
    }
    return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()
