"""`vigil demo`: the whole kit on a small rendered scene, in a few minutes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from engines.errors import CannotCreateError
from trainer.demo import DemoResult, run_demo
from trainer.scenes.settings import SceneSettings

MARKER = ".vigil-demo"


@click.command(short_help="Show it all on a rendered scene: train, watch, publish, report.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for what is made; one of an earlier demo is replaced.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the scene.")
@click.option("--preset", default="demo", show_default=True, help="Recipe of the training.")
@click.option(
    "--normal-seconds",
    type=click.FloatRange(min=30),
    default=SceneSettings().normal_seconds,
    show_default=True,
    help="Normal footage to learn from.",
)
def demo(out: Path, seed: int, preset: str, normal_seconds: float) -> None:
    """Render a street, learn what is normal there, and be told of what is not.

    People walk; then a cyclist, somebody running, a cart and somebody on the wrong side appear. The
    truth is known, so the table at the end says what was found, missed and cried wolf about. All
    runs on this machine; the broker listens on loopback only.
    """
    began = time.monotonic()
    _fresh(out)
    result = run_demo(
        out,
        scene=SceneSettings(seed=seed, normal_seconds=normal_seconds),
        preset=preset,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(_table(result, time.monotonic() - began))


def _fresh(out: Path) -> None:
    """An empty folder; only one that an earlier demo made is emptied."""
    ours = out.is_dir() and (not any(out.iterdir()) or (out / MARKER).exists())
    if out.exists() and not ours:
        raise CannotCreateError(
            "this is no folder, or one that is not empty and not from an earlier demo: it is left "
            "alone",
            where=str(out),
            mend="choose another with --out",
        )
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARKER).touch()


def _table(result: DemoResult, seconds: float) -> str:
    tally = result.tally
    return "\n".join(
        [
            "",
            f"  events found         {tally.found} of {tally.found + tally.missed}",
            f"  events missed        {tally.missed}",
            f"  false alarms         {tally.false}",
            f"  frame AUC            {result.frame_auc:.3f}",
            f"  frames per second    {result.frames_per_second:.0f}  (file to published event)",
            f"  time                 {seconds:.0f} s",
            "",
            f"  bundle  {result.bundle}",
            f"  report  {result.report}",
        ]
    )
