"""What a rendered scene is to show: a frozen, checked record."""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.errors import ConfigError
from trainer.scenes.conditions import Conditions

# The figures are drawn for pictures of this height; other heights scale them and their speed.
REFERENCE_HEIGHT_PX = 280


@dataclass(frozen=True)
class SceneSettings:
    """A walkway seen by a fixed camera.

    Attributes:
        width: Picture width, px.
        height: Picture height, px. Figures, speeds and lanes scale with it.
        fps: Frames per second. Speeds are kept per second.
        normal_seconds: Length of the normal part, all clips together.
        test_seconds: Length of the test part, all clips together; a clip that is too short for
            its event with quiet around it is made longer.
        seed: Equal settings with an equal seed give equal files.
        anomalies: One test clip for each, by name in `trainer.scenes.kinds.KINDS`.
        perspective: Whether people far from the camera (upper lane) are smaller and slower.
        noise: Standard deviation of the sensor noise, grey levels of 255.
        light_drift: Peak relative change of brightness (0.1 = 10 %), slow as passing clouds.
        people_per_minute: Mean arrivals of walkers, both lanes together.
        pair_share: Share of arrivals that are two people side by side.
        conditions: What light and camera do to the pictures of both parts; `CONDITIONS` has some.
    """

    width: int = 420
    height: int = 280
    fps: float = 10.0
    normal_seconds: float = 240.0
    test_seconds: float = 90.0
    seed: int = 0
    anomalies: tuple[str, ...] = ("cyclist", "running", "cart", "wrong_way")
    perspective: bool = False
    noise: float = 2.0
    light_drift: float = 0.0
    people_per_minute: float = 16.0
    pair_share: float = 0.2
    conditions: Conditions = field(default_factory=Conditions)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value is out of its range; all such values are named.
        """
        rules = (
            ("width", self.width >= 64, "at least 64"),
            ("height", self.height >= 64, "at least 64"),
            ("fps", 1.0 <= self.fps <= 120.0, "1 to 120"),
            ("normal_seconds", self.normal_seconds > 0.0, "more than 0"),
            ("test_seconds", self.test_seconds > 0.0, "more than 0"),
            ("seed", self.seed >= 0, "at least 0"),
            ("noise", 0.0 <= self.noise <= 30.0, "0 to 30"),
            ("light_drift", 0.0 <= self.light_drift <= 0.5, "0 to 0.5"),
            ("people_per_minute", 0.0 <= self.people_per_minute <= 120.0, "0 to 120"),
            ("pair_share", 0.0 <= self.pair_share <= 1.0, "0 to 1"),
        )
        wrong = [
            f"{name} is {getattr(self, name)}; {wanted} is expected"
            for name, holds, wanted in rules
            if not holds
        ]
        if wrong:
            raise ConfigError("; ".join(wrong), where="scene settings")

    @property
    def unit(self) -> float:
        """Scale of this picture against the reference height."""
        return self.height / REFERENCE_HEIGHT_PX
