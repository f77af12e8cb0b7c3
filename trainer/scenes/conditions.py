"""What the light and the camera do to a picture: a frozen, checked record, and a table of them."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import ConfigError


@dataclass(frozen=True)
class Conditions:
    """Weather, optics, light, sensor and compression, applied in this order.

    The default changes nothing. Lengths are px at the reference height (280 px): they grow with
    the picture. Grey levels are of 255.

    Attributes:
        rain: Streaks in view for each 100 x 100 px.
        snow: Flakes in view for each 100 x 100 px.
        shake: Peak displacement along each axis of a camera on a pole in the wind, px; the truth
            moves with the picture.
        defocus: Standard deviation of the blur, px.
        exposure: Gain of the light, 1 = as painted.
        black: Grey level of no light; raising it lowers the contrast.
        light_drift: Beside `SceneSettings.light_drift`, and as that.
        light_step: Share of the light that goes when a lamp goes out, and comes back with it.
        light_step_s: Mean seconds between such steps.
        flicker: Peak relative change of brightness with the mains.
        flicker_hz: Its frequency before the frame rate samples it.
        grey: No colour; noise is then equal in the three channels.
        shot_noise: Variance of the noise for each grey level of light.
        read_noise: Standard deviation of noise at any light, grey levels, beside
            `SceneSettings.noise`: their squares add up.
        jpeg_quality: Of 100, as OpenCV counts; None does not compress.
    """

    rain: float = 0.0
    snow: float = 0.0
    shake: float = 0.0
    defocus: float = 0.0
    exposure: float = 1.0
    black: float = 0.0
    light_drift: float = 0.0
    light_step: float = 0.0
    light_step_s: float = 8.0
    flicker: float = 0.0
    flicker_hz: float = 9.3
    grey: bool = False
    shot_noise: float = 0.0
    read_noise: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value is out of its range; all such values are named.
        """
        ranges = (
            ("rain", 0.0, 100.0),
            ("snow", 0.0, 100.0),
            ("shake", 0.0, 8.0),
            ("defocus", 0.0, 8.0),
            ("exposure", 0.05, 2.0),
            ("black", 0.0, 100.0),
            ("light_drift", 0.0, 0.5),
            ("light_step", 0.0, 0.9),
            ("light_step_s", 0.5, 3600.0),
            ("flicker", 0.0, 0.5),
            ("flicker_hz", 0.01, 120.0),
            ("shot_noise", 0.0, 10.0),
            ("read_noise", 0.0, 30.0),
        )
        wrong = [
            f"{name} is {getattr(self, name)}; {low:g} to {high:g} is expected"
            for name, low, high in ranges
            if not low <= getattr(self, name) <= high
        ]
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            wrong.append(f"jpeg_quality is {self.jpeg_quality}; 1 to 100 is expected")
        if wrong:
            raise ConfigError("; ".join(wrong), where="scene conditions")


CONDITIONS: dict[str, Conditions] = {
    "clean": Conditions(),
    "rain": Conditions(rain=14.0),
    "snow": Conditions(snow=14.0),
    "shake": Conditions(shake=1.2),
    "defocus": Conditions(defocus=1.6),
    "low_light": Conditions(exposure=0.32, black=14.0, shot_noise=0.8, read_noise=3.0),
    "light_drift": Conditions(light_drift=0.15),
    "light_steps": Conditions(light_step=0.25),
    "flicker": Conditions(flicker=0.06),
    "grey": Conditions(grey=True),
    "noise": Conditions(read_noise=9.0),
    "compression": Conditions(jpeg_quality=12),
}
