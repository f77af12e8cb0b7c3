"""Plans for all networks of a bundle: batch sizes, precisions and fallback, parity, cache."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from calibration.parity import LIMITS, ParityReport, check_parity
from edge.inputs import open_input
from edge.inputs.cells import channels_of
from edge.scoring.heads import answer_energy, answers_may_vanish, open_head
from engines.backends.backend import Backend
from engines.backends.tensorrt.builder import (
    OPTIMISATION_LEVEL,
    BuildRequest,
    BuiltPlan,
    Profile,
    Progress,
    plan_from_onnx,
)
from engines.backends.tensorrt.library import Library
from engines.bundle import Bundle
from engines.errors import DataError, InternalError, UsageError, VigilError
from engines.manifest import sha256_of
from engines.model_spec import NetworkSpec, Precision, StreamSpec
from engines.plan_cache import CachedPlan, Machine, PlanCache, PlanKey, Sidecar

FASTEST_FIRST: Final[tuple[Precision, ...]] = ("int8", "fp16", "fp32")
AskedPrecision = Literal["auto", "int8", "fp16", "fp32"]
ASKED: Final[tuple[AskedPrecision, ...]] = get_args(AskedPrecision)
# Larger batches are cut into pieces: beyond this a GPU gains nothing and memory is lost.
LARGEST_BATCH: Final = 512
LARGEST_INPUT_BYTES: Final = 8 << 20
# Of all cells, about so many move in a busy frame; the plan is tuned for that.
BUSY_SHARE: Final = 0.25
LARGEST_WORKSPACE: Final = 1 << 30
SMALLEST_WORKSPACE: Final = 256 << 20

Say = Callable[[str], None]
OpenBackend = Callable[[NetworkSpec, Precision], Backend]


@dataclass(frozen=True)
class PlanSettings:
    """What a user may choose.

    Attributes:
        precision: To start from; ``auto`` takes the fastest that the bundle has.
        cameras: Cameras that will share a batch.
        workspace_mib: Scratch memory in MiB; None: a quarter of the free device memory, between
            256 MiB and 1 GiB.
        optimisation_level: 0 (fast build) to 5 (slow build).
        compute_capabilities: See `BuildRequest`.
        rebuild: Build even where a fitting plan is there.
    """

    precision: AskedPrecision = "auto"
    cameras: int = 1
    workspace_mib: int | None = None
    optimisation_level: int = OPTIMISATION_LEVEL
    compute_capabilities: tuple[tuple[int, int], ...] = ()
    rebuild: bool = False


@dataclass(frozen=True)
class StreamPlan:
    """One stream's plan; `parity` is None where there is no GPU to run it on."""

    stream: str
    plan: CachedPlan
    fresh: bool
    parity: ParityReport | None


def batch_profile(bundle: Bundle, stream: StreamSpec, *, cameras: int) -> Profile:
    """Batch sizes from the stream's grid and the number of cameras.

    At most all cells of all cameras at once, as on the first frame; tuned for a busy frame. A
    network that looks at whole pictures gets one of each camera, always.
    """
    spec = bundle.model
    if stream.network is not None and stream.network.map is not None:
        most = min(cameras, LARGEST_BATCH)
        return Profile(min=1, opt=most, max=most)
    rows, columns = open_input(stream.input, frame=spec.frame, gate=spec.gate).shape
    bytes_each = channels_of(stream.input) * stream.input.patch**2 * 4
    cap = max(1, min(LARGEST_BATCH, LARGEST_INPUT_BYTES // bytes_each))
    most = min(cap, rows * columns * cameras)
    usual = max(1, math.ceil(BUSY_SHARE * rows * columns * cameras))
    return Profile(min=1, opt=min(usual, most), max=most)


def precisions_to_try(network: NetworkSpec, asked: AskedPrecision) -> tuple[Precision, ...]:
    """Precisions of a network from the one that was asked for to the slowest.

    Raises:
        DataError: The bundle does not have the one that was asked for.
    """
    there = tuple(precision for precision in FASTEST_FIRST if precision in network.files)
    if asked == "auto":
        return there
    if asked not in there:
        raise DataError(
            f"the bundle has no {asked} network, it has {', '.join(there) or 'none'}",
            mend="vigil calibrate --int8 BUNDLE --footage DIR makes INT8 networks"
            if asked == "int8"
            else f"choose one of {', '.join(there)}",
        )
    return there[there.index(asked) :]


class PlanBuilder:
    """Builds the plans of a bundle.

    Args:
        bundle: The bundle.
        library: What builds and will run them.
        machine: What they are tied to.
        cache: Where they go.
        settings: What the user chose.
        free_bytes: Free device memory; None where it is not known.
        backend: Opens a built network for the parity gate; None where nothing can run it.
        say: Told what is being done, in words.
        progress: Told the phases and steps of the build.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        library: Library,
        machine: Machine,
        cache: PlanCache,
        settings: PlanSettings,
        free_bytes: int | None = None,
        backend: OpenBackend | None = None,
        say: Say = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        self._bundle = bundle
        self._library = library
        self._machine = machine
        self._cache = cache
        self._settings = settings
        self._free_bytes = free_bytes
        self._backend = backend
        self._say = say
        self._progress = progress

    def build(self) -> tuple[StreamPlan, ...]:
        """A plan for each stream that has a network.

        Raises:
            DataError: No stream has a network, the precision is not there, or no precision builds.
            TemporaryError: Another process is building, or out of device memory.
            UnavailableError: Nothing to build for.
        """
        streams = [stream for stream in self._bundle.model.streams if stream.network is not None]
        if not streams:
            raise DataError(
                "no stream of this bundle has a network, so there is nothing to build",
                where=str(self._bundle.root),
            )
        with self._cache.building():
            return tuple(self._build_stream(stream) for stream in streams)

    def _build_stream(self, stream: StreamSpec) -> StreamPlan:
        assert stream.network is not None
        choices = precisions_to_try(stream.network, self._settings.precision)
        for precision, slower in zip(choices, (*choices[1:], None), strict=True):
            try:
                return self._build_one(stream, stream.network, precision)
            except UsageError:
                raise
            except (DataError, InternalError) as error:
                if slower is None:
                    raise
                self._say(f"{stream.name}: {precision} does not work here, taking {slower}")
                self._say(f"  because: {error.what}")
        raise AssertionError(choices)

    def _build_one(
        self, stream: StreamSpec, network: NetworkSpec, precision: Precision
    ) -> StreamPlan:
        file = self._bundle.path(network.files[precision])
        profile = batch_profile(self._bundle, stream, cameras=self._settings.cameras)
        key = PlanKey(
            onnx_sha256=sha256_of(file),
            precision=precision,
            batches=(profile.min, profile.opt, profile.max),
            machine=self._machine,
            optimisation_level=self._settings.optimisation_level,
            workspace_mib=self._settings.workspace_mib,
        )
        name = f"{stream.name}.{precision}"
        plan = None if self._settings.rebuild else self._intact(name, key)
        fresh = plan is None
        if plan is None:
            self._say(
                f"{stream.name}: building {precision} with {self._library.name} "
                f"{self._library.version_text} for 1 to {profile.max} patches, "
                f"tuned for {profile.opt}"
            )
            started = time.monotonic()
            built = self._run_build(file.read_bytes(), profile, str(file))
            plan = self._store(name, key, stream, built, time.monotonic() - started)
        try:
            parity = self._parity(stream, network, precision)
        except VigilError:
            # What must not run must not lie there either.
            plan.path.with_suffix(".json").unlink(missing_ok=True)
            plan.path.unlink(missing_ok=True)
            raise
        return StreamPlan(stream.name, plan, fresh, parity)

    def _intact(self, name: str, key: PlanKey) -> CachedPlan | None:
        plan = self._cache.find(name, key)
        try:
            if plan is not None:
                plan.read()
        except DataError as error:
            self._say(f"{name}: building again, because {error.what}")
            return None
        return plan

    def _run_build(self, onnx: bytes, profile: Profile, where: str) -> BuiltPlan:
        cache_file = self._cache.timing_cache(self._machine)
        timing = cache_file.read_bytes() if cache_file.is_file() else None
        built = plan_from_onnx(
            self._library,
            onnx,
            BuildRequest(
                profile=profile,
                workspace_bytes=self._workspace_bytes(),
                optimisation_level=self._settings.optimisation_level,
                timing_cache=timing,
                compute_capabilities=self._settings.compute_capabilities,
            ),
            where=where,
            progress=self._progress,
        )
        if built.timing_cache:
            self._cache.store_timing_cache(self._machine, built.timing_cache)
        return built

    def _workspace_bytes(self) -> int:
        if self._settings.workspace_mib is not None:
            return self._settings.workspace_mib << 20
        if self._free_bytes is None:
            return LARGEST_WORKSPACE
        return min(LARGEST_WORKSPACE, max(SMALLEST_WORKSPACE, self._free_bytes // 4))

    def _store(
        self, name: str, key: PlanKey, stream: StreamSpec, built: BuiltPlan, seconds: float
    ) -> CachedPlan:
        sidecar = Sidecar(
            key=key,
            bundle=self._bundle.model.name,
            stream=stream.name,
            plan_sha256=hashlib.sha256(built.plan).hexdigest(),
            plan_bytes=len(built.plan),
            built=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(seconds, 1),
            warnings=built.warnings[:20],
        )
        return self._cache.store(name, built.plan, sidecar)

    def _parity(
        self, stream: StreamSpec, network: NetworkSpec, precision: Precision
    ) -> ParityReport | None:
        """Run the plan on the bundle's golden patches, or nothing is activated."""
        if self._backend is None or stream.parity is None:
            return None
        golden = self._bundle.arrays(stream.parity)
        arrays = self._bundle.arrays(stream.head.file) if stream.head.file is not None else {}
        limits = LIMITS[precision]
        backend = self._backend(network, precision)
        try:
            backend.load(self._bundle.path(network.files[precision]))
            return check_parity(
                backend,
                golden["patches"].astype(np.float32),
                golden["latents"].astype(np.float32),
                cosine_min=limits.cosine,
                max_abs=math.inf,
                energy=answer_energy(stream, open_head(stream.head, arrays)),
                rank_min=limits.rank,
                together=answers_may_vanish(stream),
            )
        finally:
            backend.close()
