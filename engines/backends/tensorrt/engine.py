"""A plan at work: one engine, one execution context, its buffers in device memory, one stream.

Not yet verified on hardware: no GPU has run this. It is tested against a stand-in of the module
that has exactly the members which TensorRT 10.3 to 11.4 share, and of the driver's C functions.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt.library import Library
from engines.backends.tensorrt.plan_file import plan_writer
from engines.errors import DataError, InternalError, TemporaryError, VigilError

_FLOAT_BYTES: Final = 4
_REBUILD = "build it again: vigil engine build BUNDLE"


class TensorRtEngine:
    """One deserialised plan with a float32 input N x C x H x W and a float32 output N x J.

    A caller on the device writes `count` rows at `input_address`, calls `enqueue(count)` and reads
    `output_address`, all on `stream`, and nothing passes through the host.

    Args:
        library: The TensorRT that the plan was built with.
        driver: The device; its context must be current in the calling thread.
        plan: Content of the plan.
        input_name: Name of the input.
        output_name: Name of the output that is wanted; the engine may have others.
        graph: Replay a CUDA graph instead of enqueueing layer by layer. Batches are then padded to
            powers of two, one graph each.
        stream: Handle of a stream to run on, owned by the caller; 0 makes one of its own.
        where: The plan's file, for messages.

    Raises:
        DataError: No plan, a plan of another version or GPU, or without these tensors.
        TemporaryError: Out of device memory.
        InternalError: The library fails otherwise; its own message is told.
    """

    def __init__(
        self,
        library: Library,
        driver: CudaDriver,
        plan: bytes,
        *,
        input_name: str,
        output_name: str,
        graph: bool = False,
        stream: int = 0,
        where: str | None = None,
    ) -> None:
        self._library = library
        self._driver = driver
        self._where = where
        self._input, self._output = input_name, output_name
        self._use_graph = graph
        self._graphs: dict[int, int] = {}
        self._buffers: dict[str, int] = {}
        self._own_stream = not stream
        self.stream = stream
        """Handle of the stream that everything runs on."""
        self._engine: Any = None
        self._context: Any = None
        self._runtime: Any = None
        try:
            self._open(plan)
        except VigilError:
            self.close()
            raise

    @property
    def input_address(self) -> int:
        """Device memory for `largest` rows of input."""
        return self._buffers[self._input]

    @property
    def output_address(self) -> int:
        """Device memory with the rows of output."""
        return self._buffers[self._output]

    def enqueue(self, count: int) -> None:
        """Put the work for the first `count` rows of the input on the stream; waits for nothing.

        Raises:
            DataError: More rows than the plan takes.
            InternalError: The library refuses; its own message is told.
        """
        if not 1 <= count <= self.largest:
            raise DataError(
                f"the plan takes 1 to {self.largest} patches at once, {count} were given",
                where=self._where,
            )
        if not self._use_graph:
            self._execute(count)
            return
        size = min(1 << (count - 1).bit_length(), self.largest)
        if size in self._graphs:
            self._driver.launch_graph(self._graphs[size], self.stream)
            return
        # The first run of a shape may allocate, which a graph cannot hold: run, then record.
        self._execute(size)
        self._driver.begin_capture(self.stream)
        try:
            self._execute(size)
        finally:
            graph = self._driver.end_capture(self.stream)
        self._graphs[size] = graph

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run a batch from the host, in pieces of at most `largest` rows.

        Args:
            batch: float32, N x C x H x W; N may be 0.

        Returns:
            float32, N x J.

        Raises:
            DataError: The batch does not have the network's input shape.
            InternalError: The library refuses; its own message is told.
        """
        if batch.shape[1:] != self.row_shape:
            raise DataError(
                f"the plan wants N x {list(self.row_shape)}, the batch is {list(batch.shape)}",
                where=self._where,
                mend="bundle and plan belong to different models: vigil engine build BUNDLE",
            )
        rows = np.ascontiguousarray(batch, dtype=np.float32)
        result = np.empty((len(rows), *self.output_shape), np.float32)
        for start in range(0, len(rows), self.largest):
            piece = rows[start : start + self.largest]
            self._driver.upload(self.input_address, piece, self.stream)
            self.enqueue(len(piece))
            self._driver.download(
                result[start : start + len(piece)], self.output_address, self.stream
            )
            self._driver.synchronise(self.stream)
        return result

    def close(self) -> None:
        """Free everything, newest first; calling it twice is harmless."""
        graphs, self._graphs = self._graphs, {}
        buffers, self._buffers = self._buffers, {}
        stream, self.stream = self.stream, 0
        for graph in graphs.values():
            self._driver.destroy_graph(graph)
        self._context = self._engine = self._runtime = None
        for address in buffers.values():
            self._driver.free(address)
        if stream and self._own_stream:
            self._driver.destroy_stream(stream)

    def _open(self, plan: bytes) -> None:
        trt = self._library.trt
        self._check_writer(plan)
        self._library.messages.take()
        self._runtime = self._made(trt.Runtime(self._library.logger), "no runtime")
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DataError(
                f"{self._library.name} {self._library.version_text} cannot read this plan: "
                f"{self._library.messages.reason()}",
                where=self._where,
                mend=_REBUILD,
            )
        self._context = self._made(self._engine.create_execution_context(), "no execution context")
        if self._own_stream:
            self.stream = self._driver.new_stream()
        self._read_tensors()

    def _check_writer(self, plan: bytes) -> None:
        writer, version = plan_writer(plan, where=self._where)
        if (writer, version) != (self._library.name, self._library.version[:4]):
            raise DataError(
                f"this plan was built by {writer} {'.'.join(map(str, version))}, here is "
                f"{self._library.name} {self._library.version_text}",
                where=self._where,
                mend=_REBUILD,
            )

    def _read_tensors(self) -> None:
        trt, engine = self._library.trt, self._engine
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        wanted = {self._input: trt.TensorIOMode.INPUT, self._output: trt.TensorIOMode.OUTPUT}
        if any(modes.get(name) != mode for name, mode in wanted.items()):
            raise DataError(
                f"the plan has tensors {names}, model.json wants {self._input} in and "
                f"{self._output} out",
                where=self._where,
                mend=_REBUILD,
            )
        _, _, most = engine.get_tensor_profile_shape(self._input, 0)
        self.largest = int(next(iter(most)))
        """Most rows at once."""
        for name in names:
            shape = tuple(int(size) for size in engine.get_tensor_shape(name))
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT or -1 in shape[1:]:
                raise DataError(
                    f"tensor {name} of the plan is {engine.get_tensor_dtype(name)} "
                    f"{list(shape)}; FP32 with a free first axis alone is wanted",
                    where=self._where,
                    mend="export the bundle again",
                )
            if name == self._input:
                self.row_shape: tuple[int, ...] = shape[1:]
            if name == self._output:
                self.output_shape: tuple[int, ...] = shape[1:]
            size = self.largest * math.prod(shape[1:]) * _FLOAT_BYTES
            self._buffers[name] = self._driver.allocate(size)
            if not self._context.set_tensor_address(name, self._buffers[name]):
                raise self._refused(f"the address of {name}")

    def _execute(self, count: int) -> None:
        if not self._context.set_input_shape(self._input, (count, *self.row_shape)):
            raise self._refused(f"{count} patches of {list(self.row_shape)}")
        if not self._context.execute_async_v3(self.stream):
            raise self._refused(f"to run {count} patches")

    def _made(self, thing: Any, fault: str) -> Any:
        if thing is None:
            reason = self._library.messages.reason()
            kind = TemporaryError if "memory" in reason.lower() else InternalError
            raise kind(
                f"{self._library.name} gave {fault}: {reason}",
                where=self._where,
                mend="end other programs that use the GPU, or build for fewer cameras: "
                "vigil engine build BUNDLE --cameras N",
            )
        return thing

    def _refused(self, what: str) -> InternalError:
        return InternalError(
            f"{self._library.name} refuses {what}: {self._library.messages.reason()}",
            where=self._where,
            mend=_REBUILD,
        )
