"""What is remembered about one camera or clip, apart from the networks that all share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from calibration.stream_statistics import StreamStatistics
from edge.compute import HOST, Compute
from edge.inputs import StreamInput
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.smooth import Smoother
from edge.scoring.stream_map import StreamMap
from edge.vision.observe import FrameObserver, Observed
from engines.model_spec import FrameSpec, GateSpec, SmoothingSpec, StreamSpec


class View:
    """What is remembered about one camera or clip. Make one per clip, or `reset` at a cut."""

    def __init__(
        self,
        *,
        frame: FrameSpec,
        gate: GateSpec,
        streams: Sequence[StreamSpec],
        smoothing: SmoothingSpec,
        map_shape: tuple[int, int] | None = None,
        rules: CellRules = EVERYWHERE,
        statistics: Mapping[str, StreamStatistics] | None = None,
        compute: Compute = HOST,
    ) -> None:
        self.rules = rules
        self.statistics = statistics
        """What is normal at this camera's place; None: what the bundle says."""
        self.observer: FrameObserver = compute.observer(frame, gate)
        self.inputs: dict[str, StreamInput] = {
            stream.name: compute.input(stream.input, frame, gate) for stream in streams
        }
        self.map_shape = map_shape or max(
            (one.shape for one in self.inputs.values()), key=math.prod
        )
        """(rows, columns) of the fused map."""
        self.maps = {stream.name: StreamMap(stream, self.map_shape) for stream in streams}
        self.smoother = Smoother(smoothing)
        self.observation: Observed | None = None
        """The newest."""

    @property
    def newest(self) -> Observed:
        """The newest observation, where there must be one."""
        assert self.observation is not None
        return self.observation

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each stream's grid."""
        return {name: one.shape for name, one in self.inputs.items()}

    def reset(self) -> None:
        """Forget the past: cut, reconnect, new geometry."""
        self.observer.reset()
        for stream_input in self.inputs.values():
            stream_input.reset()
        for stream_map in self.maps.values():
            stream_map.reset()
        self.smoother.reset()
        self.observation = None
