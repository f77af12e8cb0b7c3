"""From an ONNX file to a plan, strongly typed: precision is in the file, never in a flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from engines.backends.tensorrt.library import Library
from engines.errors import DataError, InternalError, UnavailableError, UsageError

OPTIMISATION_LEVEL: Final = 3

Progress = Callable[[str, int, int], None]
"""Told the phase, the steps done and the steps in all."""


@dataclass(frozen=True)
class Profile:
    """Batch sizes that a plan takes: at least `min`, at most `max`, fastest at `opt`."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(
                f"a batch profile needs 1 <= min <= opt <= max, found "
                f"{self.min}, {self.opt}, {self.max}"
            )


@dataclass(frozen=True)
class BuildRequest:
    """How to build.

    Attributes:
        profile: Batch sizes.
        workspace_bytes: Scratch memory that a kernel may ask for; too little fails the build.
        optimisation_level: 0 (fast build) to 5 (slow build).
        timing_cache: What an earlier build on this machine wrote; None starts anew. TensorRT-RTX
            has no use for it.
        compute_capabilities: GPUs to build for, as in (8, 6); empty: the one of this machine.
            TensorRT-RTX alone can build for another one.
    """

    profile: Profile
    workspace_bytes: int
    optimisation_level: int = OPTIMISATION_LEVEL
    timing_cache: bytes | None = None
    compute_capabilities: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class BuiltPlan:
    """A plan, the timing cache for the next build (None: there is none), and warnings."""

    plan: bytes
    timing_cache: bytes | None
    warnings: tuple[str, ...]


def plan_from_onnx(
    library: Library,
    onnx: bytes,
    request: BuildRequest,
    *,
    where: str | None = None,
    progress: Progress | None = None,
) -> BuiltPlan:
    """Build one plan.

    Args:
        library: The TensorRT that will run it.
        onnx: Content of the file.
        request: How to build.
        where: The file, for messages.
        progress: Told about phases and steps.

    Raises:
        DataError: The parser refuses the network; its own message is told, node by node.
        UnavailableError: There is no GPU or driver to build for.
        UsageError: Compute capabilities that this library cannot be asked for.
        InternalError: The build fails; the library's own message is told.
    """
    trt = library.trt
    library.messages.take()
    builder = _builder(library)
    # Always asked for: 10.x is weakly typed otherwise, 11.x ignores it.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _made(library, builder.create_network(strongly_typed), "a network", where)
    parser = _made(library, trt.OnnxParser(network, library.logger), "an ONNX parser", where)
    if not parser.parse(onnx):
        raise _refused(library, parser, where)
    config = _made(library, builder.create_builder_config(), "a build configuration", where)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    config.builder_optimization_level = request.optimisation_level
    _set_targets(library, config, request)
    _add_profile(library, builder, network, config, request.profile, where)
    cache = _set_timing_cache(library, config, request.timing_cache)
    monitor = None
    if progress is not None:
        # Kept in a variable: the library does not keep it alive.
        monitor = _monitor(trt, progress)
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(library, request, where)
    return BuiltPlan(
        plan=bytes(plan),
        timing_cache=None if cache is None else bytes(cache.serialize()),
        warnings=tuple(library.messages.take()),
    )


def _builder(library: Library) -> Any:
    """A builder; without a driver the binding raises TypeError or gives None."""
    try:
        builder = library.trt.Builder(library.logger)
    except (TypeError, RuntimeError) as error:
        raise _no_gpu(library, str(error)) from error
    if builder is None:
        raise _no_gpu(library, "it gave no builder")
    return builder


def _no_gpu(library: Library, reason: str) -> UnavailableError:
    return UnavailableError(
        f"{library.name} {library.version_text} cannot start a build here: {reason}; "
        f"{library.messages.reason()}",
        mend="build on the machine with the NVIDIA GPU that will run the plan, and check its "
        "driver with nvidia-smi (Jetson: cat /etc/nv_tegra_release)",
    )


def _made(library: Library, thing: Any, what: str, where: str | None) -> Any:
    if thing is None:
        raise InternalError(
            f"{library.name} gave no {what.split(' ', 1)[1]}: {library.messages.reason()}",
            where=where,
        )
    return thing


def _refused(library: Library, parser: Any, where: str | None) -> DataError:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    reasons = [f"{e.node_operator()} {e.node_name()}: {e.desc()}".lstrip(" :") for e in errors[:3]]
    return DataError(
        f"{library.name} {library.version_text} refuses the network: "
        + ("; ".join(reasons) or library.messages.reason()),
        where=where,
        mend="copy the bundle again; if it stays, build another precision (--precision fp16)",
    )


def _failed(library: Library, request: BuildRequest, where: str | None) -> InternalError:
    reason = library.messages.reason()
    if "memory" in reason.lower() or "workspace" in reason.lower():
        mend = (
            f"give the build more memory: end other programs, add swap, or change --workspace-mib "
            f"(it was {request.workspace_bytes >> 20}) or --cameras"
        )
    else:
        mend = "report this with the lines above; another precision may build: --precision fp16"
    return InternalError(
        f"{library.name} {library.version_text} could not build the network: {reason}",
        where=where,
        mend=mend,
    )


def _set_targets(library: Library, config: Any, request: BuildRequest) -> None:
    """The one place where the two libraries differ."""
    if not request.compute_capabilities:
        return
    if not library.is_rtx:
        raise UsageError(
            f"{library.name} builds for the GPU of its own machine alone",
            mend="leave --compute-capability out, or use --library tensorrt-rtx",
        )
    known = library.trt.ComputeCapability
    config.num_compute_capabilities = len(request.compute_capabilities)
    for place, (major, minor) in enumerate(request.compute_capabilities):
        target = getattr(known, f"SM{major}{minor}", None)
        if target is None:
            raise UsageError(
                f"{library.name} {library.version_text} does not build for compute capability "
                f"{major}.{minor}",
                mend="leave it out to build for the GPU of this machine",
            )
        config.set_compute_capability(target, place)


def _add_profile(
    library: Library, builder: Any, network: Any, config: Any, sizes: Profile, where: str | None
) -> None:
    if network.num_inputs != 1:
        raise DataError(f"the network has {network.num_inputs} inputs, one is wanted", where=where)
    tensor = network.get_input(0)
    shape = tuple(tensor.shape)
    if shape[0] != -1 or -1 in shape[1:]:
        raise DataError(
            f"input {tensor.name} has shape {list(shape)}; its first axis must be free, no other",
            where=where,
            mend="export the bundle again",
        )
    profile = builder.create_optimization_profile()
    profile.set_shape(
        tensor.name, *((batch, *shape[1:]) for batch in (sizes.min, sizes.opt, sizes.max))
    )
    if config.add_optimization_profile(profile) < 0:
        raise InternalError(
            f"{library.name} refuses the batch profile {sizes}: {library.messages.reason()}",
            where=where,
        )


def _set_timing_cache(library: Library, config: Any, data: bytes | None) -> Any:
    """The cache that the build will fill, or None; one of another machine is put aside."""
    if library.is_rtx:
        return None
    for content in (data or b"", b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module has no types
        """Phases may be nested; each knows its own number of steps."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self._steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            progress(phase_name, steps, steps)

    return Monitor()
