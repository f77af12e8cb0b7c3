"""`vigil bench`: what one frame costs on this machine, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge.bench import BenchReport, bench
from edge.bench_growth import growth, to_markdown
from engines.backends.choose import AUTO
from engines.bundle import load_bundle


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
@click.option("--backend", default=AUTO, show_default=True, help="Backend of the networks.")
@click.option(
    "--growth",
    "as_growth",
    is_flag=True,
    help="Print how the cost grows with size, stride, window and mixture, as a Markdown table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def bench_command(
    bundle: Path,
    source: str,
    frames: int | None,
    cameras: int,
    threads: int,
    backend: str,
    as_growth: bool,
    as_json: bool,
) -> None:
    """Decode and score SOURCE with BUNDLE and print the cost of a frame.

    The yardstick is one single-thread `cv2.calcOpticalFlowFarneback` call at the bundle's working
    size, timed in the same process on frames of the same clip: ratios compare between machines,
    milliseconds do not. On a busy machine the ratio of processor times is the steadier one.
    """
    if as_growth:
        rows = growth(load_bundle(bundle), source, frames=frames or 30, backend=backend)
        click.echo(to_markdown(rows))
        return
    report = bench(
        load_bundle(bundle),
        source,
        frames=frames,
        cameras=cameras,
        threads=threads,
        backend=backend,
    )
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else _table(report))


def _table(report: BenchReport) -> str:
    lines = [
        f"{report.frames} frames, {report.cameras} cameras",
        f"  backend {report.backend}, precision {report.precision}",
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
