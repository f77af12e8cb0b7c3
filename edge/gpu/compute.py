"""The pipeline's parts on one GPU; what has no twin runs on the CPU beside it, said aloud."""

from __future__ import annotations

import structlog

from edge.compute import CPU, HOST
from edge.gpu.encoder import DeviceEncoder, StandInEncoder, engine_encoder
from edge.gpu.inputs import DEVICE_CUTS, DEVICE_KINDS
from edge.gpu.observer import DeviceObserver
from edge.gpu.runner import DeviceRunner
from edge.inputs import StreamInput, open_input
from edge.inputs.cells import channels_of
from edge.runner import Runner
from edge.vision.cuda.device import Device
from edge.vision.cuda.energy import MixtureEnergy
from engines.backends.backend import Backend
from engines.bundle import Arrays
from engines.model_spec import FrameSpec, GateSpec, InputSpec, StreamSpec

MIXTURE = "mixture"
_log = structlog.get_logger()


class GpuCompute:
    """An `edge.compute.Compute` on a device.

    Args:
        device: The GPU.
        stand_in: Let any backend take the place of an engine, through the host's memory: for
            reports on machines without TensorRT, and for tests. Never chosen by itself.
        owned: Close the device at the end.
    """

    def __init__(self, device: Device, *, stand_in: bool = False, owned: bool = True) -> None:
        self._device = device
        self._owned = owned
        self._stand_in = stand_in

    @property
    def name(self) -> str:
        """Of the device."""
        return self._device.name

    @property
    def stream(self) -> int:
        """The device's stream: networks run on it, after the kernels that write their input."""
        return self._device.stream

    @property
    def one_thread(self) -> bool:
        """A context of CUDA is current in one thread only."""
        return True

    def observer(self, frame: FrameSpec, gate: GateSpec) -> DeviceObserver:
        """The observer of one camera or clip."""
        return DeviceObserver(self._device, frame, gate)

    def input(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> StreamInput:
        """The twin of an input kind, or the CPU's own on arrays fetched from the device."""
        kind = DEVICE_KINDS.get(spec.kind)
        if kind is None:
            return open_input(spec, frame=frame, gate=gate)
        return kind(self._device, spec, frame, gate)

    def runner(self, spec: StreamSpec, backend: Backend | None, arrays: Arrays) -> Runner:
        """A runner on the device if input, network and head all have a twin, else the CPU's."""
        encoder = self._encoder(spec, backend)
        reason = self._missing(spec, backend, encoder)
        if backend is not None and encoder is not None and reason is None:
            head = MixtureEnergy(self._device, arrays)
            return DeviceRunner(spec, self._device, backend, encoder, head)
        if reason is not None:
            _log.warning("stream_runs_on_cpu", stream=spec.name, device=self.name, reason=reason)
        return HOST.runner(spec, backend, arrays)

    def place(self, spec: StreamSpec) -> str:
        """Where this stream's cells are found and cut."""
        return self.name if spec.input.kind in DEVICE_KINDS else CPU

    def close(self) -> None:
        """Free the device, if it is its own."""
        if self._owned:
            self._device.close()

    def _encoder(self, spec: StreamSpec, backend: Backend | None) -> DeviceEncoder | None:
        if spec.input.kind not in DEVICE_CUTS:
            return None
        engine = engine_encoder(backend)
        if engine is not None or backend is None or not self._stand_in:
            return engine
        row_shape = (channels_of(spec.input), spec.input.patch, spec.input.patch)
        return StandInEncoder(self._device, backend, row_shape=row_shape)

    def _missing(
        self, spec: StreamSpec, backend: Backend | None, encoder: DeviceEncoder | None
    ) -> str | None:
        """Why a stream cannot stay on the device, in words; None if it can."""
        if spec.input.kind not in DEVICE_KINDS:
            return f"input kind {spec.input.kind} has no CUDA twin"
        if backend is None:
            return None  # its cells are its energies: nothing is left to run
        if spec.input.kind not in DEVICE_CUTS:
            return f"cells of input kind {spec.input.kind} are numbers on the host"
        if encoder is None:
            return f"its network runs on {backend.name}: its cells come to the host"
        if spec.head.kind != MIXTURE:
            return f"head kind {spec.head.kind} has no CUDA twin"
        return None
