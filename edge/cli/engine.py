"""`vigil engine`: TensorRT plans, built on the machine that runs them, and what they are."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import click

from edge.plan_build import (
    ASKED,
    AskedPrecision,
    OpenBackend,
    PlanBuilder,
    PlanSettings,
    StreamPlan,
)
from edge.plan_check import (
    check_json,
    check_lines,
    check_plan,
    networks_of,
    this_machine_or_fault,
)
from edge.trust import open_bundle
from engines.backends.backend import Backend
from engines.backends.cuda_driver import CudaDriver, tegra_release
from engines.backends.tensorrt.builder import OPTIMISATION_LEVEL
from engines.backends.tensorrt.library import MODULES, TENSORRT, Library, open_library
from engines.backends.tensorrt.runner import TensorRtBackend, this_machine
from engines.errors import UnavailableError, UsageError
from engines.model_spec import NetworkSpec, Precision
from engines.plan_cache import Machine, PlanCache, default_folder

_CACHE = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of the plans; VIGIL_ENGINES, else a folder in your cache.",
)
_LIBRARY = click.option(
    "--library",
    type=click.Choice(list(MODULES)),
    default=TENSORRT,
    show_default=True,
    help="What builds and runs the plans.",
)
# A step is told at most this often where there is no terminal to draw a bar on.
_TELL_EVERY_S = 10.0


@click.group(short_help="Build TensorRT plans on this machine, and explain them.")
def engine() -> None:
    """TensorRT plans of a bundle's networks.

    A plan fits one GPU and one TensorRT version, so it is built on the machine that will run it and
    kept in a folder of your own; `vigil run` takes it from there when it passes the parity gate.
    """


@engine.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(ASKED),
    default="auto",
    show_default=True,
    help="To start from; slower ones follow if it does not build or pass. auto: INT8 if the bundle "
    "has it, then FP16, then FP32.",
)
@click.option(
    "--cameras",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Cameras that will share a batch.",
)
@click.option(
    "--workspace-mib",
    type=click.IntRange(1),
    help="Scratch memory of the kernels; a quarter of the free memory, at most 1024.",
)
@click.option(
    "--optimisation-level",
    type=click.IntRange(0, 5),
    default=OPTIMISATION_LEVEL,
    show_default=True,
    help="0 builds fast, 5 builds slowly.",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="M.N",
    help="Build for this GPU without having it (tensorrt-rtx only; repeatable).",
)
@click.option("--rebuild", is_flag=True, help="Build even where a fitting plan is there.")
@_LIBRARY
@_CACHE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def build(
    *,
    bundle: Path,
    precision: AskedPrecision,
    cameras: int,
    workspace_mib: int | None,
    optimisation_level: int,
    capabilities: tuple[str, ...],
    rebuild: bool,
    library: str,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Build the plans of BUNDLE for this machine.

    Minutes on a Jetson, the first time; a second call finds the plans and is done. On the machine's
    GPU each plan is run on the bundle's own parity patches before it may be used.
    """
    loaded = open_bundle(bundle)
    targets = tuple(_capability(text) for text in capabilities)
    opened = open_library(library)
    plans = PlanCache(cache or default_folder())
    driver = None if targets else CudaDriver()
    machine = _foreign(opened, targets) if driver is None else this_machine(opened, driver)
    try:
        built = PlanBuilder(
            loaded,
            library=opened,
            machine=machine,
            cache=plans,
            settings=PlanSettings(
                precision=precision,
                cameras=cameras,
                workspace_mib=workspace_mib,
                optimisation_level=optimisation_level,
                compute_capabilities=targets,
                rebuild=rebuild,
            ),
            free_bytes=None if driver is None else driver.free_bytes(),
            backend=None if driver is None else _opener(plans, opened, driver),
            say=lambda text: click.echo(text, err=True),
            progress=_Steps(),
        ).build()
    finally:
        if driver is not None:
            driver.close()
    if as_json:
        click.echo(json.dumps([_built_json(plan) for plan in built], indent=1))
    for plan in built:
        for line in _built_lines(plan):
            click.echo(line, err=as_json)


@engine.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@_LIBRARY
@_CACHE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.pass_context
def check(
    ctx: click.Context, *, bundle: Path | None, library: str, cache: Path | None, as_json: bool
) -> None:
    """Explain the plans that are here: built for what, whether they fit, what mends them.

    With BUNDLE, its networks alone; the exit code is 69 if one of them has no plan that fits.
    """
    plans = PlanCache(cache or default_folder())
    loaded = None if bundle is None else open_bundle(bundle)
    networks = {} if loaded is None else networks_of(loaded)
    machine, fault = this_machine_or_fault(library)
    checked = [
        check_plan(plan, machine, fault)
        for plan in plans.plans()
        if loaded is None or plan.sidecar.key.onnx_sha256 in networks
    ]
    served = {stream for _, stream, _, wrong in checked if not wrong}
    missing = sorted({stream for stream, _ in networks.values()} - served)
    if as_json:
        click.echo(json.dumps(check_json(machine, fault, checked, missing), indent=1))
    for line in check_lines(plans, machine, fault, checked):
        click.echo(line, err=as_json)
    for stream in missing:
        click.echo(f"stream {stream} has no engine that fits this machine", err=as_json)
    if missing:
        click.echo(f"mend: vigil engine build {bundle}", err=as_json)
        ctx.exit(UnavailableError.exit_code)


def _foreign(library: Library, targets: tuple[tuple[int, int], ...]) -> Machine:
    return Machine(
        library=library.name,
        version=library.version_text,
        gpu="",
        compute_capability="+".join(f"{major}.{minor}" for major, minor in targets),
        release=tegra_release(),
    )


def _capability(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,2})\.(\d)", text)
    if found is None:
        raise UsageError(
            f"{text!r} is no compute capability", mend="write it as in --compute-capability 8.6"
        )
    return int(found[1]), int(found[2])


def _opener(plans: PlanCache, library: Library, driver: CudaDriver) -> OpenBackend:
    def opened(network: NetworkSpec, precision: Precision) -> Backend:
        return TensorRtBackend(
            input_name=network.input,
            output_name=network.output,
            precision=precision,
            cache=plans,
            library=library,
            driver=driver,
        )

    return opened


def _built_json(built: StreamPlan) -> dict[str, Any]:
    return {
        "stream": built.stream,
        "path": str(built.plan.path),
        "fresh": built.fresh,
        "parity": None if built.parity is None else built.parity.to_json(),
        **built.plan.sidecar.model_dump(mode="json"),
    }


def _built_lines(built: StreamPlan) -> list[str]:
    sidecar = built.plan.sidecar
    how = f"built in {sidecar.seconds:g} s" if built.fresh else "was there already"
    lines = [
        f"{built.stream:<10} {sidecar.key.precision}, {sidecar.plan_bytes / 1e6:.2f} MB, {how}",
        f"{'':<10} {built.plan.path}",
    ]
    lines += [f"{'':<10} {warning}" for warning in sidecar.warnings]
    lines.append(
        f"{'':<10} parity: "
        + ("not checked, no GPU of that kind here" if built.parity is None else str(built.parity))
    )
    return lines


class _Steps:
    """Tells the outermost phase's steps on standard error, not too often."""

    def __init__(self) -> None:
        self._outermost: str | None = None
        self._told_s = 0.0
        self._began_s = time.monotonic()

    def __call__(self, phase: str, done: int, steps: int) -> None:
        if self._outermost is None:
            self._outermost = phase
        if phase != self._outermost:
            return
        now = time.monotonic()
        if now - self._told_s >= _TELL_EVERY_S or done == steps:
            self._told_s = now
            click.echo(f"  {phase}: step {done} of {steps}, {now - self._began_s:.0f} s", err=True)
        if done == steps:
            self._outermost = None
