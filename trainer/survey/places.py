"""Places of a survey: what is rendered at each, and the lists that come with the program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator

from engines.errors import ConfigError
from engines.manifest import explain
from engines.model_spec import Strict
from trainer.scenes import CONDITIONS, KINDS, SceneSettings
from trainer.shipped import find_recipe, shipped_names

SURVEYS = Path(__file__).parent.parent / "surveys"

View = Literal["plain", "perspective"]
VIEWS: tuple[View, ...] = get_args(View)

# A test clip lasts at least so long; those whose event needs more are longer.
_CLIP_S = 20.0


class Place(Strict):
    """One scene: its normal part trains, its test part has one clip for each kind of anomaly.

    Attributes:
        condition: Name in `trainer.scenes.CONDITIONS`.
        view: Whether people far from the camera are smaller and slower ("perspective").
        size: Width x height of the pictures, px.
        fps: Frames per second.
        normal_seconds: Normal footage to learn from.
        kinds: Names in `trainer.scenes.KINDS`, each once.
        seed: Of everything that is rendered.
    """

    condition: str = "clean"
    view: View = "plain"
    size: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")] = "420x280"
    fps: float = 10.0
    normal_seconds: float = 120.0
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(KINDS)
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("condition")
    @classmethod
    def _condition_is_there(cls, name: str) -> str:
        if name not in CONDITIONS:
            raise ValueError(f"there is no condition {name!r}; choose from {', '.join(CONDITIONS)}")
        return name

    @field_validator("kinds")
    @classmethod
    def _kinds_are_there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in KINDS]
        if unknown:
            raise ValueError(f"there is no kind {unknown[0]!r}; choose from {', '.join(KINDS)}")
        if len(set(names)) != len(names):
            raise ValueError("each kind can be named once")
        return names

    @property
    def title(self) -> str:
        """For people: condition, view, and whatever is not the default."""
        words = [self.condition, self.view]
        usual = type(self).model_fields
        if self.size != usual["size"].default:
            words.append(self.size)
        if self.fps != usual["fps"].default:
            words.append(f"{self.fps:g} fps")
        if self.normal_seconds != usual["normal_seconds"].default:
            words.append(f"{self.normal_seconds:g} s normal")
        if self.seed != usual["seed"].default:
            words.append(f"seed {self.seed}")
        return " ".join(words)

    @property
    def slug(self) -> str:
        """For a folder's name: all but the kinds."""
        parts = (self.condition, self.view, self.size, f"{self.fps:g}fps")
        return "-".join((*parts, f"{self.normal_seconds:g}s", f"seed{self.seed}"))

    def scene(self) -> SceneSettings:
        """What is rendered.

        Raises:
            ConfigError: A number is out of its range.
        """
        width, height = map(int, self.size.split("x"))
        return SceneSettings(
            width=width,
            height=height,
            fps=self.fps,
            normal_seconds=self.normal_seconds,
            test_seconds=_CLIP_S * len(self.kinds),
            seed=self.seed,
            anomalies=self.kinds,
            perspective=self.view == "perspective",
            conditions=CONDITIONS[self.condition],
        )


class PlaceList(Strict):
    """The file format of a list of places."""

    places: Annotated[tuple[Place, ...], Field(min_length=1)]


def place_list_names() -> list[str]:
    """Names of the lists that come with the program."""
    return shipped_names(SURVEYS)


def load_places(
    name: str, *, kinds: Sequence[str] | None = None, seed: int | None = None
) -> tuple[Place, ...]:
    """Read a list of places by name or path.

    Args:
        name: One of `place_list_names`, or the path of a .yaml file.
        kinds: Shown at every place in place of what the list says.
        seed: Likewise.

    Raises:
        ConfigError: No such list, not YAML, a value that cannot be, or a place that stands twice.
    """
    path = find_recipe(name, SURVEYS, what="list of places")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", where=str(path)) from error
    try:
        places = PlaceList.model_validate(raw).places
    except ValidationError as error:
        raise ConfigError(explain(error), where=str(path), mend="mend what is named") from error
    changes = {key: value for key, value in (("kinds", kinds), ("seed", seed)) if value is not None}
    return _checked((_place(**{**dict(place), **changes}) for place in places), where=str(path))


def grid_places(
    conditions: Sequence[str],
    views: Sequence[str],
    *,
    size: str,
    fps: float,
    normal_seconds: float,
    kinds: Sequence[str],
    seed: int,
) -> tuple[Place, ...]:
    """Every condition in every view, in that order; the rest is equal at all places.

    Raises:
        ConfigError: A value that cannot be, or a place that stands twice.
    """
    return _checked(
        (
            _place(
                condition=condition,
                view=view,
                size=size,
                fps=fps,
                normal_seconds=normal_seconds,
                kinds=kinds,
                seed=seed,
            )
            for condition, view in product(conditions, views)
        ),
        where="the places asked for",
    )


def _place(**values: object) -> Place:
    try:
        return Place.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error), where="the places asked for") from error


def _checked(places: Iterable[Place], *, where: str) -> tuple[Place, ...]:
    """The places; a mistake shows before the first of them is rendered."""
    found: list[Place] = []
    for place in places:
        if place in found:
            raise ConfigError(f"the place {place.title!r} stands there twice", where=where)
        place.scene()
        found.append(place)
    return tuple(found)
