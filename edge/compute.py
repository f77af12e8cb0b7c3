"""Where the pipeline's array work is done: the seam between its order of steps and the machine.

The order stands once, in `edge.pipeline`. A `Compute` makes the parts that it calls: a camera's
observer, a stream's input for a camera, and what runs a stream's network and head.
"""

from __future__ import annotations

from typing import Final, Protocol

from edge.inputs import StreamInput, open_input
from edge.runner import Runner, open_host_runner
from edge.scoring.heads import open_head
from edge.vision.observe import FrameObserver, Observer
from engines.backends.backend import Backend
from engines.bundle import Arrays
from engines.model_spec import FrameSpec, GateSpec, InputSpec, StreamSpec

CPU: Final = "cpu"


class Compute(Protocol):
    """Makes the pipeline's parts for one kind of machine."""

    @property
    def name(self) -> str:
        """For logs, events and reports: ``cpu``, or the name of a GPU."""

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream that networks must run on; 0: one of their own, or none."""

    @property
    def one_thread(self) -> bool:
        """Its parts may only be called by the thread that opened it."""

    def observer(self, frame: FrameSpec, gate: GateSpec) -> FrameObserver:
        """The observer of one camera or clip."""

    def input(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> StreamInput:
        """The input of one stream for one camera or clip."""

    def runner(self, spec: StreamSpec, backend: Backend | None, arrays: Arrays) -> Runner:
        """Network and head of one stream; `arrays` are those of the head's file."""

    def place(self, spec: StreamSpec) -> str:
        """Where this stream's cells are found and cut: `name`, or ``cpu``."""

    def close(self) -> None:
        """Free the device; calling it twice is harmless."""


class HostCompute:
    """The CPU, which has a part for everything."""

    name = CPU
    stream = 0
    one_thread = False

    def observer(self, frame: FrameSpec, gate: GateSpec) -> Observer:
        """The observer of one camera or clip."""
        return Observer(frame, gate)

    def input(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> StreamInput:
        """The input of one stream for one camera or clip."""
        return open_input(spec, frame=frame, gate=gate)

    def runner(self, spec: StreamSpec, backend: Backend | None, arrays: Arrays) -> Runner:
        """Network and head of one stream."""
        return open_host_runner(spec, backend, open_head(spec.head, arrays))

    def place(self, spec: StreamSpec) -> str:
        """Always here."""
        del spec
        return CPU

    def close(self) -> None:
        """Nothing to free."""


HOST: Final = HostCompute()
