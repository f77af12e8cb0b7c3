"""From a bundle to what the pipeline calls: a compute, and a runner for each stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import structlog

from calibration.parity import LIMITS, check_parity
from edge.compute import HOST, Compute
from edge.gpu.choose import open_compute
from edge.gpu.runner import DeviceRunner
from edge.runner import Runner, StreamRunner
from edge.scoring.heads import answer_energy, answers_may_vanish
from engines.backends.backend import Backend
from engines.backends.choose import AUTO, open_backend
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import StreamSpec

Wrap = Callable[[StreamSpec, Backend], Backend]

_log = structlog.get_logger()


def open_parts(
    bundle: Bundle,
    *,
    compute: str | Compute,
    backend: str,
    threads: int,
    wrap: Wrap | None = None,
) -> tuple[Compute, tuple[Runner, ...]]:
    """Open the device and the networks; each network must pass its parity gate.

    With ``auto`` the GPU is let go of again if a network does not open on it: half a path would
    copy every patch.

    Args:
        bundle: The verified bundle.
        compute: One of `edge.gpu.choose.COMPUTES`, or one that is open already.
        backend: Name of a backend, or ``auto``.
        threads: Threads of the networks; 0 lets the backend choose.
        wrap: Put around each network on the host that passed its gate.

    Raises:
        DataError: The bundle's parts do not fit together, or a network fails its gate.
        UsageError: No such backend or compute.
        UnavailableError: What was asked for is not there.
        TemporaryError: Out of device memory.
    """
    if not isinstance(compute, str):
        return compute, _open_runners(bundle, compute, backend, threads, wrap)
    chosen = open_compute(bundle, name=compute, backend=backend)
    runners = _open_runners(bundle, chosen, backend, threads, wrap)
    networks = [runner for runner in runners if runner.backend is not None]
    whole = all(isinstance(runner, DeviceRunner) for runner in networks)
    if compute != AUTO or chosen is HOST or whole:
        return chosen, runners
    _log.warning("gpu_skipped", reason="a network did not open on it", device=chosen.name)
    _close(runners, chosen)
    return HOST, _open_runners(bundle, HOST, backend, threads, wrap)


def backend_names(runners: Sequence[Runner]) -> dict[str, str]:
    """Backend and precision of each stream that has a network, as ``onnxruntime-cpu/fp32``."""
    return {
        runner.spec.name: f"{runner.backend.name}/{runner.backend.precision}"
        for runner in runners
        if runner.backend is not None
    }


def _open_runners(
    bundle: Bundle, compute: Compute, backend: str, threads: int, wrap: Wrap | None
) -> tuple[Runner, ...]:
    with ExitStack() as undo:
        undo.callback(compute.close)
        runners = []
        for stream in bundle.model.streams:
            runner = _open_runner(bundle, stream, compute, backend, threads)
            undo.callback(runner.close)
            if wrap and isinstance(runner, StreamRunner) and runner.backend is not None:
                runner = replace(runner, backend=wrap(stream, runner.backend))
            runners.append(runner)
        undo.pop_all()
    return tuple(runners)


def _open_runner(
    bundle: Bundle, stream: StreamSpec, compute: Compute, backend: str, threads: int
) -> Runner:
    arrays = bundle.arrays(stream.head.file) if stream.head.file is not None else {}
    if stream.network is None:
        return compute.runner(stream, None, arrays)
    passed: list[Runner] = []

    def gate(candidate: Backend) -> None:
        """What is tested is what then runs: this backend with this compute's head."""
        runner = compute.runner(stream, candidate, arrays)
        _parity_gate(bundle, runner)
        passed.append(runner)

    open_backend(
        bundle, stream.network, name=backend, threads=threads, stream=compute.stream, gate=gate
    )
    return passed[-1]


def _parity_gate(bundle: Bundle, runner: Runner) -> None:
    """The network must give here what it gave where it was trained, or nothing starts."""
    stream, backend = runner.spec, runner.backend
    if stream.parity is None or backend is None:
        return
    golden = bundle.arrays(stream.parity)
    if set(golden) != {"patches", "latents"}:
        raise DataError(
            f"parity file {stream.parity} must hold patches and latents, it holds {sorted(golden)}",
            where=str(bundle.root),
            mend="export the bundle again",
        )
    limits = LIMITS[backend.precision]
    check_parity(
        backend,
        golden["patches"].astype(np.float32),
        golden["latents"].astype(np.float32),
        cosine_min=limits.cosine,
        max_abs=math.inf,
        energy=answer_energy(stream, runner.head),
        rank_min=limits.rank,
        together=answers_may_vanish(stream),
    )


def _close(runners: Sequence[Runner], compute: Compute) -> None:
    for runner in runners:
        runner.close()
    compute.close()
