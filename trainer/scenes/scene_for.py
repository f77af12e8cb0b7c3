"""Settings of a scene that shows one kind of anomaly under one condition."""

from __future__ import annotations

from collections.abc import Collection

from engines.errors import ConfigError
from trainer.scenes.conditions import CONDITIONS
from trainer.scenes.kinds import KINDS
from trainer.scenes.settings import SceneSettings

_DEFAULT = SceneSettings()


def scene_for(
    kind: str,
    *,
    condition: str = "clean",
    perspective: bool = False,
    width: int = _DEFAULT.width,
    height: int = _DEFAULT.height,
    fps: float = _DEFAULT.fps,
    normal_seconds: float = _DEFAULT.normal_seconds,
    test_seconds: float = 30.0,
    seed: int = 0,
) -> SceneSettings:
    """One test clip of a kind, and normal life under the same condition.

    Args:
        kind: Name in `KINDS`.
        condition: Name in `CONDITIONS`.
        perspective: See `SceneSettings`, as for all that follow.
        width: px.
        height: px.
        fps: Frames per second.
        normal_seconds: Length of the normal part.
        test_seconds: Length of the test clip; longer where the event needs it.
        seed: Of everything.

    Raises:
        ConfigError: There is no such kind or condition, or a value is out of its range.
    """
    _check("kind of anomaly", kind, KINDS)
    _check("condition", condition, CONDITIONS)
    return SceneSettings(
        width=width,
        height=height,
        fps=fps,
        normal_seconds=normal_seconds,
        test_seconds=test_seconds,
        seed=seed,
        anomalies=(kind,),
        perspective=perspective,
        conditions=CONDITIONS[condition],
    )


def _check(what: str, name: str, table: Collection[str]) -> None:
    if name not in table:
        raise ConfigError(
            f"There is no {what} {name!r}",
            where="scene",
            mend=f"choose from {', '.join(table)}",
        )
