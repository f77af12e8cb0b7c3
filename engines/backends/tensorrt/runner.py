"""The backend `tensorrt`: looks up the plan of a bundle's network and runs it.

Not yet verified on hardware: no GPU has run this (see `engines.backends.tensorrt.engine`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.backends.cuda_driver import CudaDriver, tegra_release
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.backends.tensorrt.library import TENSORRT, Library, open_library
from engines.errors import DataError, UnavailableError
from engines.manifest import sha256_of
from engines.model_spec import Precision
from engines.plan_cache import Machine, PlanCache, default_folder


def this_machine(library: Library, driver: CudaDriver) -> Machine:
    """What plans that are built here are tied to."""
    gpu = driver.gpu()
    return Machine(
        library=library.name,
        version=library.version_text,
        gpu=gpu.name,
        compute_capability=".".join(str(part) for part in gpu.compute_capability),
        release=tegra_release(),
    )


class TensorRtBackend:
    """Runs the plan that was built on this machine for an ONNX file; input and output are FP32.

    Args:
        input_name: Name of the network's input.
        output_name: Name of the output that is wanted.
        precision: Of the file's inside; for logs and the parity gate.
        cache: Where plans lie; the user's own folder by default.
        library: By default the installed TensorRT.
        driver: By default the machine's, opened when a plan is loaded.
        graph: Replay CUDA graphs; see `TensorRtEngine`.
        stream: CUDA stream to run on; 0: one of its own.
    """

    name = TENSORRT

    def __init__(
        self,
        *,
        input_name: str,
        output_name: str,
        precision: Precision = "fp16",
        cache: PlanCache | None = None,
        library: Library | None = None,
        driver: CudaDriver | None = None,
        graph: bool = False,
        stream: int = 0,
    ) -> None:
        self.precision = precision
        self._input_name = input_name
        self._output_name = output_name
        self._cache = cache or PlanCache(default_folder())
        self._library = library
        self._driver = driver
        self._own_driver = driver is None
        self._graph = graph
        self._stream = stream
        self.engine: TensorRtEngine | None = None
        """The engine, for callers whose data is on the device already; None before `load`."""

    def load(self, file: Path) -> None:
        """Find and read the plan that was built here for this ONNX file.

        Raises:
            UnavailableError: No TensorRT, no driver, or no plan for this network and machine.
            DataError: The plan is damaged, or of another version or GPU.
            TemporaryError: Out of device memory.
        """
        self._library = self._library or open_library(TENSORRT)
        self._driver = self._driver or CudaDriver()
        here = this_machine(self._library, self._driver)
        sha256 = sha256_of(file)
        plan = self._cache.best(sha256, here)
        if plan is None:
            raise self._no_plan(file, sha256, here)
        self.engine = TensorRtEngine(
            self._library,
            self._driver,
            plan.read(),
            input_name=self._input_name,
            output_name=self._output_name,
            graph=self._graph,
            stream=self._stream,
            where=str(plan.path),
        )

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network: float32 N x C x H x W in, float32 N x J out; N may be 0.

        Raises:
            DataError: The batch does not have the network's input shape, or nothing is loaded.
        """
        if self.engine is None:
            raise DataError("no plan is loaded", where=self.name)
        return self.engine.infer(batch)

    def close(self) -> None:
        """Free the engine and, if it was opened here, the driver."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
        if self._own_driver and self._driver is not None:
            self._driver.close()
            self._driver = None

    def _no_plan(self, file: Path, sha256: str, here: Machine) -> UnavailableError:
        others = [
            plan.sidecar.key.machine
            for plan in self._cache.plans()
            if plan.sidecar.key.onnx_sha256 == sha256
        ]
        nearest = min((machine.differences(here) for machine in others), key=len, default=None)
        found = (
            "none was built for this network"
            if nearest is None
            else f"the nearest one was built for {'; '.join(nearest) or 'another format of vigil'}"
        )
        return UnavailableError(
            f"there is no engine for {file.name} on this machine: {found}",
            where=str(self._cache.folder),
            mend="build it here: vigil engine build BUNDLE",
        )
