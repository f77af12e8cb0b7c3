"""A stream of a bundle, opened: its network on the best backend that passes the gate, its head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.parity import LIMITS, check_parity
from edge.scoring.heads import Head, open_head
from engines.backends.backend import Backend
from engines.backends.choose import open_backend
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import StreamSpec


@dataclass(frozen=True)
class StreamRunner:
    """One stream ready to run: description, network (None: features are the cells), head."""

    spec: StreamSpec
    backend: Backend | None
    head: Head


def open_runner(bundle: Bundle, stream: StreamSpec, backend: str, threads: int) -> StreamRunner:
    """Open one stream of a bundle.

    Args:
        bundle: The verified bundle.
        stream: One of its model's.
        backend: Name of a backend, or ``auto``.
        threads: Threads of the network; 0 lets the backend choose.

    Raises:
        DataError: Network, head or parity file do not fit, or no backend passes the gate.
        UsageError: No such backend.
        UnavailableError: What the backend needs is not there.
    """
    arrays = bundle.arrays(stream.head.file) if stream.head.file is not None else {}
    head = open_head(stream.head, arrays)
    opened = None
    if stream.network is not None:
        opened = open_backend(
            bundle,
            stream.network,
            name=backend,
            threads=threads,
            gate=lambda candidate: _parity_gate(bundle, stream, candidate, head),
        )
    return StreamRunner(spec=stream, backend=opened, head=head)


def _parity_gate(bundle: Bundle, stream: StreamSpec, backend: Backend, head: Head) -> None:
    """The network must give here what it gave where it was trained, or it does not start."""
    if stream.parity is None:
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
        energy=head.energy,
        rank_min=limits.rank,
    )
