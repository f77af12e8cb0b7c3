"""What plans are on this machine: built for what, whether they fit, and why not."""

from __future__ import annotations

from typing import Any

from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt.library import open_library
from engines.backends.tensorrt.runner import this_machine
from engines.bundle import Bundle
from engines.errors import DataError, VigilError
from engines.manifest import sha256_of
from engines.model_spec import Precision
from engines.plan_cache import CachedPlan, Machine, PlanCache

Checked = tuple[CachedPlan, str, list[str], str]
"""A plan, its stream, in words what it was built for, and why it cannot run here (or nothing)."""


def check_plan(plan: CachedPlan, machine: Machine | None, fault: str) -> Checked:
    """One plan against this machine, or against why there is none (`fault`)."""
    key = plan.sidecar.key
    small, usual, large = key.batches
    made_for = key.machine
    facts = [
        (
            f"{plan.sidecar.bundle}, stream {plan.sidecar.stream}, {key.precision}, "
            f"{small} to {large} patches, tuned for {usual}"
        ),
        f"{made_for.library} {made_for.version}, {made_for.gpu or 'any GPU'}, compute capability "
        f"{made_for.compute_capability}"
        + (f", L4T {made_for.release}" if made_for.release else ""),
        (
            f"built {plan.sidecar.built} in {plan.sidecar.seconds:g} s, "
            f"{plan.sidecar.plan_bytes / 1e6:.2f} MB"
        ),
    ]
    try:
        plan.read()
        wrong = fault if machine is None else "; ".join(made_for.differences(machine))
    except DataError as error:
        wrong = error.what
    return plan, plan.sidecar.stream, facts, wrong


def check_lines(
    plans: PlanCache, machine: Machine | None, fault: str, checked: list[Checked]
) -> list[str]:
    """What was checked, for people."""
    if machine is None:
        lines = [f"this machine: {fault}"]
    else:
        here = f"{machine.library} {machine.version}, {machine.gpu}"
        lines = [f"this machine: {here}, compute capability {machine.compute_capability}"]
    if not checked:
        lines.append(f"no engine in {plans.folder}")
    for plan, _, facts, wrong in checked:
        lines.append(str(plan.path))
        lines += [f"  {fact}" for fact in facts]
        lines.append(f"  does not fit: {wrong}" if wrong else "  fits this machine")
    return lines


def check_json(
    machine: Machine | None, fault: str, checked: list[Checked], missing: list[str]
) -> dict[str, Any]:
    """What was checked, for programs."""
    return {
        "machine": None if machine is None else machine.model_dump(mode="json"),
        "fault": fault,
        "plans": [
            {
                "path": str(plan.path),
                "fits": not wrong,
                "why_not": wrong,
                **plan.sidecar.model_dump(mode="json"),
            }
            for plan, _, _, wrong in checked
        ],
        "streams_without_engine": missing,
    }


def networks_of(bundle: Bundle) -> dict[str, tuple[str, Precision]]:
    """Hash of each network file to its stream and precision."""
    return {
        sha256_of(bundle.path(file)): (stream.name, precision)
        for stream in bundle.model.streams
        if stream.network is not None
        for precision, file in stream.network.files.items()
    }


def this_machine_or_fault(library: str) -> tuple[Machine | None, str]:
    """This machine, or why no plan can run on it."""
    try:
        opened = open_library(library)
        driver = CudaDriver()
    except VigilError as error:
        return None, error.what
    try:
        return this_machine(opened, driver), ""
    finally:
        driver.close()
