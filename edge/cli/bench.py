"""`vigil bench`: what one frame costs on this machine, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge.bench import BenchReport, bench
from edge.bench_growth import growth, to_markdown
from edge.gpu.choose import COMPUTES, CUDA
from edge.gpu.device_tests import checkout, run_device_tests
from edge.gpu.report import ReportPlan
from edge.gpu.report import gpu_report as measure_gpu
from edge.trust import open_bundle
from edge.vision.cuda.pycuda_device import open_device
from engines.atomic import write_bytes
from engines.backends.choose import AUTO
from engines.bundle import Bundle
from engines.errors import InternalError, UsageError


@click.command(short_help="Measure what one frame costs on this machine, stage by stage.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--source", required=True, help="Video file or folder of pictures to measure on.")
@click.option("--frames", type=click.IntRange(1), help="Stop after so many frames.")
@click.option(
    "--cameras",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Score so many copies of SOURCE side by side.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of the networks.")
@click.option(
    "--backend",
    default=AUTO,
    show_default=True,
    help="Of the networks; NAME, NAME/PRECISION or auto/PRECISION, such as auto/int8.",
)
@click.option(
    "--compute",
    type=click.Choice(COMPUTES),
    default=AUTO,
    show_default=True,
    help="Where pictures are worked on. auto: the GPU where all plans were built here.",
)
@click.option(
    "--gpu-report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Run the GPU's tests, time kernels, pipeline and 1 to 64 cameras; write FILE (JSON).",
)
@click.option(
    "--growth",
    "as_growth",
    is_flag=True,
    help="Print how the cost grows with size, stride, window and mixture, as a Markdown table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def bench_command(
    *,
    bundle: Path,
    source: str,
    frames: int | None,
    cameras: int,
    threads: int,
    backend: str,
    compute: str,
    gpu_report: Path | None,
    as_growth: bool,
    as_json: bool,
) -> None:
    """Decode and score SOURCE with BUNDLE and print the cost of a frame.

    The yardstick is one single-thread `cv2.calcOpticalFlowFarneback` call at the bundle's working
    size, timed in the same process on frames of the same clip: ratios compare between machines,
    milliseconds do not. On a busy machine the ratio of processor times is the steadier one.

    With --gpu-report the GPU is opened first; without one the command ends with code 69 and says
    what is missing. Where no TensorRT plan was built, ONNX Runtime stands in for the encoder, and
    the report says so. --growth measures on the CPU, whatever --compute says by default.
    """
    _require_one_measurement(as_growth, gpu_report, compute)
    loaded = open_bundle(bundle)
    if gpu_report is not None:
        _write_gpu_report(loaded, source, frames, gpu_report)
        return
    if as_growth:
        click.echo(to_markdown(growth(loaded, source, frames=frames or 30, backend=backend)))
        return
    report = bench(
        loaded,
        source,
        frames=frames,
        cameras=cameras,
        threads=threads,
        backend=backend,
        compute=compute,
    )
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else _table(report))


def _require_one_measurement(as_growth: bool, gpu_report: Path | None, compute: str) -> None:
    if as_growth and (gpu_report is not None or compute == CUDA):
        raise UsageError(
            "--growth measures on the CPU, --gpu-report and --compute cuda on the GPU",
            mend="measure one after the other",
        )


def _write_gpu_report(bundle: Bundle, source: str, frames: int | None, file: Path) -> None:
    root = checkout()
    plan = ReportPlan(
        frames=frames or ReportPlan.frames,
        run_tests=None if root is None else lambda: run_device_tests(root),
    )
    device = open_device()
    try:
        report = measure_gpu(bundle, source, device, plan, say=lambda t: click.echo(t, err=True))
    finally:
        device.close()
    write_bytes(file, (json.dumps(report, indent=1) + "\n").encode())
    click.echo(f"written: {file}", err=True)
    if report["encoder"]["stand_in"]:
        click.echo(f"note: {report['encoder']['note']}", err=True)
    if report["tests"].get("passed") is False:
        raise InternalError(
            f"the GPU's tests did not pass: {report['tests']['summary']}",
            where=str(file),
            mend="see `tests` in the report; run on the CPU until it is mended: --compute cpu",
        )


def _table(report: BenchReport) -> str:
    lines = [
        f"{report.frames} frames, {report.cameras} cameras",
        f"  backend {report.backend}, precision {report.precision}",
        f"  on {report.compute}{_beside(report)}",
        f"  {report.ms_per_frame:8.2f} ms per frame, decode to score",
        f"  {1000.0 / report.ms_per_frame:8.1f} frames per second",
        f"  {report.farneback_ms:8.2f} ms one Farneback call; ratio {report.ratio:.2f}",
        f"  {report.cpu_ms_per_frame:8.2f} ms processor time; ratio {report.cpu_ratio:.2f}",
        f"  {report.peak_rss_mb:8.0f} MB peak memory",
        f"  {report.start_s:8.2f} s from loading the bundle to the first score",
        "stages, ms per frame:",
    ]
    lines += [f"  {ms:8.2f}  {name}" for name, ms in report.stages_ms.items()]
    return "\n".join(lines)


def _beside(report: BenchReport) -> str:
    others = sorted(name for name, place in report.places.items() if place != report.compute)
    return f"; {', '.join(others)} on the CPU" if others else ""
