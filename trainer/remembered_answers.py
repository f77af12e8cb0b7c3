"""Answers of a network kept on disk, for runs that show the same patches to the same network.

Most rows of an ablation change what comes after the network. The key of an answer is the bytes of
the network and of the patches, so nothing wrong can come back. What an answer cost when it was
computed stands beside it: a run that was given answers still knows what it would have cost.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.open_parts import Wrap
from engines.backends.backend import Backend
from engines.bundle import Bundle, encode_arrays
from engines.manifest import sha256_of
from engines.model_spec import Precision, StreamSpec


class RememberedAnswers:
    """A folder of answers, by network.

    Args:
        root: Made when the first answer is kept.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.saved_s = 0.0
        """Seconds that the networks would have needed for answers that were given from here."""

    def wrap(self, bundle: Bundle) -> Wrap:
        """For `edge.pipeline.Pipeline`: networks are asked only what they were never asked."""

        def wrapped(stream: StreamSpec, backend: Backend) -> Backend:
            assert stream.network is not None
            file = bundle.root / stream.network.files[backend.precision]
            return _Remembering(self, backend, self._root / sha256_of(file)[:32])

        return wrapped


class _Remembering:
    def __init__(self, answers: RememberedAnswers, backend: Backend, folder: Path) -> None:
        self._answers, self._backend, self._folder = answers, backend, folder
        self.name: str = backend.name
        self.precision: Precision = backend.precision

    def load(self, file: Path) -> None:
        """It is loaded already; see `Backend`."""
        self._backend.load(file)

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend`."""
        began = time.perf_counter()
        digest = hashlib.blake2b(np.ascontiguousarray(batch).data, digest_size=16)
        digest.update(f"{batch.shape} {self.name} {self.precision}".encode())
        path = self._folder / f"{digest.hexdigest()}.npz"
        found = _read(path)
        if found is None:
            asked = time.perf_counter()
            answers = self._backend.infer(batch)
            found = answers, time.perf_counter() - asked
            _keep(path, *found)
        answers, cost = found
        # What the book-keeping took is no cost of the recipe; the network is, asked or not.
        self._answers.saved_s += cost - (time.perf_counter() - began)
        return answers

    def close(self) -> None:
        """See `Backend`."""
        self._backend.close()


def _read(path: Path) -> tuple[NDArray[np.float32], float] | None:
    """Answers and seconds; None where there is no whole file."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return kept["answers"], float(kept["seconds"])
    except (FileNotFoundError, zipfile.BadZipFile, EOFError, ValueError, KeyError):
        return None


def _keep(path: Path, answers: NDArray[np.float32], seconds: float) -> None:
    """Whole or not at all; not flushed to the disk, since it can be computed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(encode_arrays({"answers": answers, "seconds": np.float64(seconds)}))
    temporary.replace(path)
