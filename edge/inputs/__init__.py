"""The table of input kinds: from an observation to the cells that a stream encodes.

A stream names its kind in the manifest; nothing here knows a method's name. One object serves one
camera or clip, because windows and gates remember.
"""

from collections.abc import Callable

from edge.inputs.cells import Cells, StreamInput
from edge.inputs.clip import ClipInput
from edge.inputs.direction import DirectionInput
from edge.inputs.patches import AppearanceInput, MotionInput
from edge.inputs.speed import SpeedInput
from edge.inputs.windows import WindowInput
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec

__all__ = ["INPUT_KINDS", "Cells", "StreamInput", "open_input"]

InputKind = Callable[[InputSpec, FrameSpec, GateSpec], StreamInput]

INPUT_KINDS: dict[str, InputKind] = {
    "appearance": AppearanceInput,
    "clip": ClipInput,
    "direction": DirectionInput,
    "motion": MotionInput,
    "speed": SpeedInput,
    "window": WindowInput,
}


def open_input(spec: InputSpec, *, frame: FrameSpec, gate: GateSpec) -> StreamInput:
    """Make the input of one stream for one camera.

    Raises:
        DataError: Unknown kind, or an option that the kind does not have or cannot take.
    """
    kind = INPUT_KINDS.get(spec.kind)
    if kind is None:
        raise DataError(
            f"input kind {spec.kind!r} is unknown, known are {', '.join(INPUT_KINDS)}",
            mend="install a newer vigil, or export the bundle for this one",
        )
    return kind(spec, frame, gate)
