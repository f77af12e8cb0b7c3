"""INT8 ranges: the size of one int8 step for each activation, from normal patches.

The network runs once over the patches to find the largest size and the means of each activation,
and once more for histograms of sizes. The step is then chosen by one of three methods.

``mse`` (default) takes the step with the least mean squared rounding and clipping error,
``percentile`` one that clips a hundred-thousandth of the values, ``max`` one that clips none.
Entropy (Kullback-Leibler) is not offered: behind a ReLU the spike at zero makes it collapse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engines.errors import DataError
from engines.network_file import read_network
from engines.qdq_network import LEVELS, SMALLEST_SCALE, ActivationRange

RangeMethod = Literal["mse", "percentile", "max"]
RANGE_METHODS: Final[tuple[RangeMethod, ...]] = ("mse", "percentile", "max")
PERCENTILE: Final = 0.99999
BINS: Final = 4096
# Steps that are tried, as parts of the one that clips nothing.
_FRACTIONS = np.linspace(0.2, 1.0, 81)
# Activations of many patches at once would fill the memory: 16 of a backbone are some 50 MB.
_BATCH = 16


def activation_ranges(
    network: bytes,
    patches: NDArray[np.float32],
    tensors: Sequence[str],
    *,
    method: RangeMethod = "mse",
    threads: int = 0,
) -> dict[str, ActivationRange]:
    """Size of one int8 step of each tensor, and its mean in each channel.

    Args:
        network: FP32 network with one input.
        patches: float32, N x channels x side x side, N >= 1: what the device will see.
        tensors: Names of activations, the network's input among them if it is to be quantised.
        method: See the module.
        threads: Of ONNX Runtime; 0 lets it choose.

    Returns:
        Tensor name to range; steps are positive.

    Raises:
        DataError: No patches, or activations that are not finite.
    """
    if not len(patches):
        raise DataError(
            "there is no patch to take INT8 ranges from", mend="give footage with movement"
        )
    session = _session_with_outputs(network, tensors, threads)
    largest = dict.fromkeys(tensors, 0.0)
    sums: dict[str, NDArray[np.float64]] = {}
    sizes = dict.fromkeys(tensors, 0)
    for found in _run(session, patches, tensors):
        for name, values in found.items():
            largest[name] = max(largest[name], float(np.abs(values).max(initial=0.0)))
            rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
            sums[name] = sums.get(name, 0.0) + rows.sum(axis=1, dtype=np.float64)
            sizes[name] += rows.shape[1]
    endless = sorted(name for name, value in largest.items() if not np.isfinite(value))
    if endless:
        raise DataError(
            f"activation {endless[0]} is not finite on {len(patches)} patches",
            mend="the network is broken: train and export again",
        )
    steps = {name: value / LEVELS for name, value in largest.items()}
    if method != "max":
        choose = _least_error if method == "mse" else _percentile
        histograms = _histograms(session, patches, largest)
        steps = {name: choose(histograms[name], largest[name]) for name in tensors}
    return {
        name: ActivationRange(step=max(steps[name], SMALLEST_SCALE), means=sums[name] / sizes[name])
        for name in tensors
    }


def size_histogram(values: NDArray[np.float32], largest: float) -> NDArray[np.int64]:
    """Counts of |values| in `BINS` equal bins over [0, largest], int64."""
    if largest <= 0.0:
        return np.bincount(np.zeros(values.size, np.int64), minlength=BINS)
    places = (np.abs(values.ravel()) * (BINS / largest)).astype(np.int64)
    return np.bincount(np.minimum(places, BINS - 1), minlength=BINS)


def _histograms(
    session: Any, patches: NDArray[np.float32], largest: Mapping[str, float]
) -> dict[str, NDArray[np.int64]]:
    histograms = {name: np.zeros(BINS, np.int64) for name in largest}
    for found in _run(session, patches, list(largest)):
        for name, values in found.items():
            histograms[name] += size_histogram(values, largest[name])
    return histograms


def _least_error(histogram: NDArray[np.int64], largest: float) -> float:
    """The step of least mean squared error, each bin counted at its middle."""
    sizes = (np.arange(BINS) + 0.5) * (largest / BINS)
    best, least = 0.0, np.inf
    for fraction in _FRACTIONS:
        step = fraction * largest / LEVELS
        if step <= 0.0:
            return 0.0
        rounded = np.minimum(np.rint(sizes / step), LEVELS) * step
        error = float((histogram * (sizes - rounded) ** 2).sum())
        if error < least:
            best, least = float(step), error
    return best


def _percentile(histogram: NDArray[np.int64], largest: float) -> float:
    below = np.cumsum(histogram)
    edge = int(np.searchsorted(below, PERCENTILE * below[-1])) + 1
    return min(edge, BINS) * largest / BINS / LEVELS


def _session_with_outputs(network: bytes, tensors: Sequence[str], threads: int) -> Any:
    """A session that gives the inner tensors too."""
    import onnx  # noqa: PLC0415  devices run networks and never calibrate them

    model = read_network(network)
    inputs = {item.name for item in model.graph.input}
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in tensors if name not in inputs
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _run(
    session: Any, patches: NDArray[np.float32], tensors: Sequence[str]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Values of the tensors, batch by batch."""
    given = session.get_inputs()[0].name
    inner = [item.name for item in session.get_outputs()]
    for start in range(0, len(patches), _BATCH):
        batch = np.ascontiguousarray(patches[start : start + _BATCH])
        # Asked for no output, the library would complain.
        outputs = session.run(inner, {given: batch}) if inner else []
        found = dict(zip(inner, outputs, strict=True))
        yield {name: batch if name == given else found[name] for name in tensors}
