"""Plans on disk, each beside a JSON file that says what it was built from and for.

Rules:

- a plan runs only where its JSON file agrees in full with this machine and this network, and its
  bytes have the hash that is written there; any doubt means building again, never trying;
- a plan is code, so the folder is made for its owner alone (0700), and one that others may write
  into is not used; the mode of a folder that is there already is left as it is;
- plan first, JSON last, each replaced whole; a lock lets one process build at a time;
- the key is a hash of all that the plan depends on, so another machine's plan has another name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from engines.atomic import write_bytes
from engines.errors import CannotCreateError, DataError, TemporaryError
from engines.manifest import explain
from engines.model_spec import Positive, Precision, Strict

FORMAT: Final = 1
MAX_SIDECAR_BYTES: Final = 64 * 1024
_FOLDER = "vigil/engines"


class Machine(Strict):
    """What a plan is tied to.

    Attributes:
        library: ``tensorrt`` or ``tensorrt-rtx``.
        version: Of the library, as in ``10.3.0.26``.
        gpu: Name of the GPU; empty where a plan was built without one.
        compute_capability: As in ``8.7``.
        release: L4T release of a Jetson; empty elsewhere.
    """

    library: str
    version: str
    gpu: str
    compute_capability: str
    release: str = ""

    def differences(self, other: Machine) -> list[str]:
        """In words, what this one (a plan's) has and the other one (here) has not."""
        words = {
            "library": "engine library",
            "version": "library version",
            "gpu": "GPU",
            "compute_capability": "compute capability",
            "release": "L4T release",
        }
        pairs = ((word, getattr(self, key), getattr(other, key)) for key, word in words.items())
        return [f"{word} {a or 'none'}, here {b or 'none'}" for word, a, b in pairs if a != b]


class PlanKey(Strict):
    """All that a plan depends on. `workspace_mib` None: chosen from the free memory."""

    format: int = FORMAT
    onnx_sha256: str
    precision: Precision
    batches: tuple[Positive, Positive, Positive]
    machine: Machine
    optimisation_level: int
    workspace_mib: int | None

    def digest(self) -> str:
        """SHA-256 over canonical JSON, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Sidecar(Strict):
    """The JSON file beside a plan."""

    key: PlanKey
    bundle: str
    stream: str
    plan_sha256: str
    plan_bytes: int
    built: str
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CachedPlan:
    """A plan with its description; not read yet."""

    path: Path
    sidecar: Sidecar

    def read(self) -> bytes:
        """The plan, whole.

        Raises:
            DataError: It is not what its JSON file says.
        """
        try:
            plan = self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"the plan cannot be read: {error.strerror or error}",
                where=str(self.path),
                mend="build it again: vigil engine build BUNDLE",
            ) from error
        wanted = self.sidecar.plan_bytes
        if len(plan) != wanted:
            raise DataError(
                f"the plan has {len(plan)} bytes, {wanted} were written: it is cut off or changed",
                where=str(self.path),
                mend="build it again: vigil engine build BUNDLE",
            )
        found = hashlib.sha256(plan).hexdigest()
        if found != self.sidecar.plan_sha256:
            raise DataError(
                f"the plan has hash {found[:12]}..., {self.sidecar.plan_sha256[:12]}... was "
                "written: it was changed",
                where=str(self.path),
                mend="build it again: vigil engine build BUNDLE",
            )
        return plan


class PlanCache:
    """A folder of plans.

    Args:
        folder: Made when the first plan is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plan_path(self, name: str, key: PlanKey) -> Path:
        """Where the plan of this key lies or would lie."""
        return self.folder / f"{name}-{key.digest()[:16]}.plan"

    def find(self, name: str, key: PlanKey) -> CachedPlan | None:
        """The plan of exactly this key, if it is there and described; its bytes are not checked."""
        path = self.plan_path(name, key)
        plan = _described(path.with_suffix(".json"))
        return plan if plan is not None and plan.sidecar.key == key else None

    def plans(self) -> tuple[CachedPlan, ...]:
        """All plans that are described, by name; what is not described is no plan."""
        found = (_described(path) for path in sorted(self.folder.glob("*.json")))
        return tuple(plan for plan in found if plan is not None)

    def best(self, onnx_sha256: str, machine: Machine) -> CachedPlan | None:
        """The plan of a network for this machine that takes the largest batches, or None."""
        fitting = [
            plan
            for plan in self.plans()
            if plan.sidecar.key.onnx_sha256 == onnx_sha256
            and plan.sidecar.key.format == FORMAT
            and plan.sidecar.key.machine == machine
        ]
        return max(fitting, key=lambda plan: plan.sidecar.key.batches[2], default=None)

    def store(self, name: str, plan: bytes, sidecar: Sidecar) -> CachedPlan:
        """Write a plan and then its description.

        Raises:
            CannotCreateError: The folder cannot be written, or the disk is full.
        """
        self._make_folder()
        path = self.plan_path(name, sidecar.key)
        write_bytes(path, plan)
        text = json.dumps(sidecar.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        write_bytes(path.with_suffix(".json"), text.encode())
        return CachedPlan(path, sidecar)

    def timing_cache(self, machine: Machine) -> Path:
        """The builder's own measurements on this machine; never to be copied to another one."""
        name = hashlib.sha256(machine.model_dump_json().encode()).hexdigest()[:16]
        return self.folder / f"timing-{name}.cache"

    def store_timing_cache(self, machine: Machine, data: bytes) -> None:
        """Write the builder's measurements.

        Raises:
            CannotCreateError: The folder cannot be written, or the disk is full.
        """
        self._make_folder()
        write_bytes(self.timing_cache(machine), data)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Hold the folder's lock: one process builds at a time.

        Raises:
            TemporaryError: Another process is building.
            CannotCreateError: The folder cannot be written.
        """
        self._make_folder()
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TemporaryError(
                    "another process is building engines here",
                    where=str(self.folder),
                    mend="wait for it, then call this again",
                ) from error
            yield

    def _make_folder(self) -> None:
        mend = "name a folder that you own with --cache, or set VIGIL_ENGINES"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            open_to_others = self.folder.stat().st_mode & 0o022
        except OSError as error:
            raise CannotCreateError(
                f"cannot make the folder of engines: {error.strerror or error}",
                where=str(self.folder),
                mend=mend,
            ) from error
        if open_to_others:
            raise CannotCreateError(
                "others may write into this folder, and an engine is code that will be run",
                where=str(self.folder),
                mend=f"{mend}; if it is for engines alone: chmod go-w {self.folder}",
            )


def default_folder() -> Path:
    """VIGIL_ENGINES, else a folder in the user's cache."""
    named = os.environ.get("VIGIL_ENGINES")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / _FOLDER


def read_sidecar(path: Path) -> Sidecar:
    """Read the JSON file beside a plan.

    Raises:
        DataError: Missing, too large, or not such a file.
    """
    mend = "build the plan again: vigil engine build BUNDLE"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SIDECAR_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"the plan has no description: {error.strerror or error}", where=str(path), mend=mend
        ) from error
    if len(data) > MAX_SIDECAR_BYTES:
        raise DataError("the description of the plan is too large", where=str(path), mend=mend)
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError as error:
        raise DataError(explain(error), where=str(path), mend=mend) from error


def _described(path: Path) -> CachedPlan | None:
    plan = path.with_suffix(".plan")
    if not plan.is_file():
        return None
    try:
        return CachedPlan(plan, read_sidecar(path))
    except DataError:
        return None
