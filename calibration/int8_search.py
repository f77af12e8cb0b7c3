"""Which layers become INT8: all of them, or all but the few that do the harm.

Rounding the first layers of a backbone, or a depthwise layer with one large channel, can cost more
than all others together, and such layers are cheap to leave in FP32. Where the network with every
layer quantised does not pass the parity gate, layers are ordered by the harm that each does alone,
and the fewest that make it pass are left out. Ranges come from one part of the patches, the verdict
from the other.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.activation_ranges import RangeMethod, activation_ranges
from calibration.parity import LIMITS, RANK_PATCHES, Energy, ParityReport, compare
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.openvino_cpu import OpenVinoCpu
from engines.errors import DataError
from engines.qdq_check import require_buildable
from engines.qdq_network import (
    ActivationRange,
    Layer,
    plain_fp32,
    qdq_from_ranges,
    quantisable_layers,
)

# With more layers than this part left out, INT8 is not worth having.
LARGEST_SKIP: Final = 0.5
# The harm of a single layer shows on few patches, and every layer costs a run.
_HARM_PATCHES: Final = 64
_BATCH: Final = 64
# Limits are asked with something to spare, since other patches give somewhat other numbers.
_SPARE: Final = 0.25

Progress = Callable[[str], None]
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Patches and the latent vectors that belong to them."""


@dataclass(frozen=True)
class Int8Network:
    """An INT8 network and what is known of it.

    Attributes:
        network: ONNX file content.
        report: Against FP32, on patches that had no part in the ranges.
        layers: Number of layers that could be quantised.
        skipped: Names of those that stay FP32, most harmful first.
        patches: Number of patches behind the ranges.
        method: How the ranges were chosen.
    """

    network: bytes
    report: ParityReport
    layers: int
    skipped: tuple[str, ...]
    patches: int
    method: RangeMethod


def quantise(
    network: bytes,
    patches: NDArray[np.float32],
    *,
    golden: Pair,
    energy: Energy,
    input_name: str,
    output_name: str,
    method: RangeMethod = "mse",
    threads: int = 0,
    together: bool = False,
    progress: Progress = lambda _: None,
) -> Int8Network:
    """Make the INT8 network that passes the parity gate with the fewest layers in FP32.

    Args:
        network: FP32 network, compact or not.
        patches: float32, N x channels x side x side in random order; half for the ranges, half for
            the verdict, so N >= 2 * `RANK_PATCHES`.
        golden: The bundle's parity patches and latents, which must pass as well.
        energy: The stream's head.
        input_name: Name of the network's input.
        output_name: Name of the output that counts.
        method: How the ranges are chosen.
        threads: Of ONNX Runtime; 0 lets it choose.
        together: See `calibration.parity.check_parity`.
        progress: Told what is being done, in words.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Too few patches, nothing to quantise, or no choice of layers passes.
    """
    half = len(patches) // 2
    if half < RANK_PATCHES:
        raise DataError(
            f"INT8 needs at least {2 * RANK_PATCHES} patches, found {len(patches)}",
            mend="give more footage, with movement in it",
        )
    network = plain_fp32(network)
    layers = quantisable_layers(network)
    if not layers:
        raise DataError("the network has no convolution or dense layer that INT8 could take")
    progress(f"ranges of {len(layers)} layers from {half} patches")
    search = _Search(
        network,
        ranges=activation_ranges(
            network,
            patches[:half],
            sorted({layer.activation for layer in layers}),
            method=method,
            threads=threads,
        ),
        layers=layers,
        patches=patches[half:],
        golden=golden,
        energy=energy,
        runner=_Runner(input_name, output_name, threads),
        together=together,
    )
    skipped, quantised, report = search.run(progress)
    require_buildable(quantised)
    return Int8Network(quantised, report, len(layers), skipped, half, method)


def _gatekeepers() -> list[type[OnnxRuntimeCpu | OpenVinoCpu]]:
    """Backends that will ask the golden patches of the network: each rounds in its own way."""
    return [OnnxRuntimeCpu] + ([OpenVinoCpu] if find_spec("openvino") is not None else [])


class _Runner:
    """Runs ONNX file contents."""

    def __init__(self, input_name: str, output_name: str, threads: int) -> None:
        self._input = input_name
        self._output = output_name
        self._threads = threads

    def run(
        self,
        network: bytes,
        patches: NDArray[np.float32],
        kind: type[OnnxRuntimeCpu | OpenVinoCpu] = OnnxRuntimeCpu,
    ) -> NDArray[np.float32]:
        backend = kind(
            input_name=self._input,
            output_name=self._output,
            precision="int8",
            threads=self._threads,
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.onnx"
            file.write_bytes(network)
            backend.load(file)
        with contextlib.closing(backend):
            parts = [
                backend.infer(patches[start : start + _BATCH])
                for start in range(0, len(patches), _BATCH)
            ]
        return np.concatenate(parts)


class _Search:
    def __init__(
        self,
        network: bytes,
        *,
        ranges: dict[str, ActivationRange],
        layers: Sequence[Layer],
        patches: NDArray[np.float32],
        golden: Pair,
        energy: Energy,
        runner: _Runner,
        together: bool,
    ) -> None:
        self._network = network
        self._ranges = ranges
        self._layers = layers
        self._patches = patches
        self._golden = golden
        self._golden_reports: tuple[ParityReport, ...] = ()
        self._energy = energy
        self._runner = runner
        self._together = together
        self._expected = runner.run(network, patches)

    def run(self, progress: Progress) -> tuple[tuple[str, ...], bytes, ParityReport]:
        """(layers left out, network, report)."""
        quantised, report = self._attempt((), progress)
        if self._passes(report):
            return (), quantised, report
        order = self._by_harm(progress)
        fails, passes = 0, int(LARGEST_SKIP * len(order))
        best = self._attempt(order[:passes], progress)
        if not self._passes(best[1]):
            raise DataError(
                f"INT8 changes too much even with {passes} of {len(order)} layers in FP32: "
                f"{best[1]}; wanted are rank correlation {LIMITS['int8'].rank:g} and, on the "
                f"bundle's own parity patches, cosine {LIMITS['int8'].cosine:g}: "
                + "; ".join(map(str, self._golden_reports)),
                mend="stay with FP16, or give more and more varied normal footage",
            )
        # One more layer in FP32 is better, nearly always, so halving finds about the fewest.
        while passes - fails > 1:
            count = (passes + fails) // 2
            attempt = self._attempt(order[:count], progress)
            if self._passes(attempt[1]):
                best, passes = attempt, count
            else:
                fails = count
        return order[:passes], *best

    def _attempt(self, skip: tuple[str, ...], progress: Progress) -> tuple[bytes, ParityReport]:
        quantised = qdq_from_ranges(self._network, self._ranges, skip=skip)
        self._golden_reports = tuple(
            self._compare(quantised, self._golden, kind) for kind in _gatekeepers()
        )
        report = self._compare(quantised, (self._patches, self._expected))
        progress(f"{len(skip) or 'no'} layers in FP32: {report}")
        return quantised, report

    def _compare(
        self,
        network: bytes,
        pair: Pair,
        kind: type[OnnxRuntimeCpu | OpenVinoCpu] = OnnxRuntimeCpu,
    ) -> ParityReport:
        return compare(
            self._runner.run(network, pair[0], kind),
            pair[1],
            self._energy,
            backend=kind.name,
            precision="int8",
            together=self._together,
        )

    def _passes(self, report: ParityReport) -> bool:
        limits = LIMITS["int8"]
        rank, cosine = (limit + _SPARE * (1.0 - limit) for limit in (limits.rank, limits.cosine))
        judged = [one for one in self._golden_reports if one.patches >= RANK_PATCHES]
        return (
            all(one.rank is not None and one.rank >= rank for one in (report, *judged))
            and min(one.cosine for one in self._golden_reports) >= cosine
        )

    def _by_harm(self, progress: Progress) -> tuple[str, ...]:
        """Layer names, those first that alone change the energies most.

        Not the answers themselves: parts of them may be small in number and large in weight, as
        the distances of a memory are beside logarithms of errors. And on the backend where it is
        worst: OpenVINO alone spoils some convolutions of joined maps.
        """
        some = self._patches[:_HARM_PATCHES]
        expected = self._energy(self._expected[: len(some)])
        names = [layer.name for layer in self._layers]
        harm = []
        for number, name in enumerate(names, start=1):
            others = [other for other in names if other != name]
            alone = qdq_from_ranges(self._network, self._ranges, skip=others)
            found = [self._energy(self._runner.run(alone, some, kind)) for kind in _gatekeepers()]
            harm.append(max(float(np.linalg.norm(one - expected)) for one in found))
            progress(f"layer {number} of {len(names)} alone: {name}")
        return tuple(names[place] for place in np.argsort(harm)[::-1])
