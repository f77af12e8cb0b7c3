"""How the cost of a frame grows: with the size of the picture, the stride, the window, the mixture.

Everything is processor time of one thread of the CPU per frame on the same frames of a recording:
it hardly changes while other programs run. One quantity is changed at a time; nothing is said about
accuracy, and statistics are not needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from edge.bench import single_thread
from edge.capture.source import open_source
from edge.compute import HOST
from edge.frames import Frame
from edge.inputs.patches import MotionInput
from edge.open_parts import open_parts
from edge.pipeline import StreamPipeline
from edge.runner import Runner, open_host_runner
from edge.scoring.energy import MixtureEnergy
from edge.scoring.heads import PlaceHead
from edge.vision.observe import Observer
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import SMALLEST_SIDE, FrameSpec, InputSpec

Item = TypeVar("Item")

SIZES = (0.5, 1.0, 1.5, 2.0)
STRIDES = (40, 28, 20, 14)
WINDOWS = (5, 10, 20, 40)
COMPONENTS = (20, 100, 300, 1000, 3000)
_WARM = 3  # frames whose cost is left out: buffers are made, and the first one is looked at whole
_LATENTS = 40  # rows that a mixture is timed with


@dataclass(frozen=True)
class GrowthRow:
    """One measurement.

    Attributes:
        changed: What is not as in the bundle, in words.
        value: Its value.
        cells: Cells encoded per frame; None where none are.
        ms: Processor milliseconds per frame.
        dominates: The costliest stage and its share.
    """

    changed: str
    value: str
    cells: float | None
    ms: float
    dominates: str


def growth(
    bundle: Bundle, source: str, *, frames: int = 30, backend: str = AUTO
) -> list[GrowthRow]:
    """Measure all rows.

    Args:
        bundle: Its streams are run, each quantity changed in all of them.
        source: Recording, as `edge.capture.source.open_source` takes it.
        frames: Frames used, the first few only to warm up.
        backend: Name of a backend, or ``auto``.

    Raises:
        DataError: The recording is too short.
    """
    with open_source(source) as recording:
        clip = list(islice(recording, frames))
    if len(clip) <= _WARM:
        raise DataError(
            f"a measurement needs more than {_WARM} frames, the source gave {len(clip)}",
            where=source,
        )
    _, runners = open_parts(bundle, compute=HOST, backend=backend, threads=1)
    frame = bundle.model.frame
    rows = []
    with single_thread():
        # A table of places fits the grid that it was learned on, and no other.
        sized = [one for one in runners if not isinstance(one.head, PlaceHead)]
        for scale in SIZES if sized else ():
            width, height = round(frame.width * scale), round(frame.height * scale)
            if min(width, height) >= SMALLEST_SIDE:
                size = frame.model_copy(update={"width": width, "height": height})
                rows.append(_whole(bundle, sized, size, clip, "size", f"{width} x {height}"))
        for stride in STRIDES:
            changed = [_with_stride(one, stride) for one in runners]
            rows.append(_whole(bundle, changed, frame, clip, "stride", f"{stride} px"))
        rows += [_window(bundle, clip, length) for length in WINDOWS]
        rows += [_mixture(count) for count in COMPONENTS]
    for one in runners:
        one.close()
    return rows


def to_markdown(rows: Sequence[GrowthRow]) -> str:
    """A table."""
    lines = [
        "| changed | value | cells per frame | processor ms per frame | largest part |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = "" if row.cells is None else f"{row.cells:.1f}"
        lines.append(f"| {row.changed} | {row.value} | {cells} | {row.ms:.2f} | {row.dominates} |")
    return "\n".join(lines)


def _with_stride(runner: Runner, stride: int) -> Runner:
    changed = runner.spec.input.model_copy(update={"stride": stride})
    spec = runner.spec.model_copy(update={"input": changed})
    return open_host_runner(spec, runner.backend, runner.head)


def _whole(
    bundle: Bundle,
    runners: Sequence[Runner],
    frame: FrameSpec,
    clip: Sequence[Frame],
    changed: str,
    value: str,
) -> GrowthRow:
    """All streams, picture to energies."""
    pipeline = StreamPipeline(frame=frame, gate=bundle.model.gate, runners=runners)
    view = pipeline.new_view()
    networks = [one.spec.name for one in runners if one.spec.network is not None]
    cells = 0

    def step(one: Frame) -> None:
        nonlocal cells
        maps = pipeline.energies([(view, one)])[0]
        cells += sum(int(maps[name].active.sum()) for name in networks)

    for one in clip[:_WARM]:
        step(one)
    cells = 0
    pipeline.stage_ms.clear()
    ms = _cpu_ms(step, clip[_WARM:])
    stage, most = max(pipeline.stage_ms.items(), key=lambda item: item[1])
    share = most / sum(pipeline.stage_ms.values())
    return GrowthRow(
        changed, value, cells / (len(clip) - _WARM), ms, f"{stage}, {100.0 * share:.0f} %"
    )


def _window(bundle: Bundle, clip: Sequence[Frame], length: int) -> GrowthRow:
    """Dynamic flow of the last `length` flows, without what it is then used for."""
    spec = InputSpec(kind="motion", patch=28, stride=28, options={"window": length})
    gate = bundle.model.gate
    motion = MotionInput(spec, bundle.model.frame, gate)
    observer = Observer(bundle.model.frame, gate)
    seen = [observer.observe(one) for one in clip]
    # The window must be full, or a long one would look cheap.
    for number in range(length):
        motion.observe(seen[1 + number % (len(seen) - 1)])
    ms = _cpu_ms(motion.observe, seen[_WARM:])
    return GrowthRow("window (dynamic flow alone)", f"{length} flows", None, ms, "one weighted sum")


def _mixture(count: int) -> GrowthRow:
    """A spherical mixture of `count` components and 320 dimensions."""
    numbers = np.random.default_rng(0)
    arrays = {
        "weights": np.full(count, 1.0 / count),
        "means": numbers.normal(size=(count, 320)) / np.sqrt(320.0),
        "variances": np.array([1e-3]),
    }
    head = MixtureEnergy.from_arrays(arrays)
    latents = (numbers.normal(size=(_LATENTS, 320)) / np.sqrt(320.0)).astype(np.float32)
    head.energy(latents)
    ms = _cpu_ms(lambda _: head.energy(latents), range(20))
    return GrowthRow("mixture (alone)", f"K = {count}", float(_LATENTS), ms, "one matrix product")


def _cpu_ms(step: Callable[[Item], object], items: Sequence[Item]) -> float:
    start = time.process_time()
    for item in items:
        step(item)
    return (time.process_time() - start) * 1e3 / len(items)
