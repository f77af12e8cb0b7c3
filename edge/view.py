"""What is remembered about one camera or clip, apart from the networks that all share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.inputs import StreamInput, open_input
from edge.scoring.cell_rules import EVERYWHERE, CellRules
from edge.scoring.smooth import Smoother
from edge.scoring.stream_map import StreamMap
from edge.vision.observe import Observation, Observer
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
    ) -> None:
        self.rules = rules
        self.observer = Observer(frame, gate)
        self.inputs: dict[str, StreamInput] = {
            stream.name: open_input(stream.input, frame=frame, gate=gate) for stream in streams
        }
        self.map_shape = map_shape or max(
            (one.shape for one in self.inputs.values()), key=math.prod
        )
        """(rows, columns) of the fused map."""
        self.maps = {stream.name: StreamMap(stream, self.map_shape) for stream in streams}
        self.smoother = Smoother(smoothing)
        self.observation: Observation | None = None
        """The newest."""

    @property
    def newest(self) -> Observation:
        """The newest observation, where there must be one."""
        assert self.observation is not None
        return self.observation

    def reset(self) -> None:
        """Forget the past: cut, reconnect, new geometry."""
        self.observer.reset()
        for stream_input in self.inputs.values():
            stream_input.reset()
        for stream_map in self.maps.values():
            stream_map.reset()
        self.smoother.reset()
        self.observation = None
