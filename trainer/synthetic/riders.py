"""People who glide: a frozen cutout on a board or scooter, or its upper half on a bicycle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.scenes.brush import Colour
from trainer.synthetic.sprite import Sprite, blend, make_sprite, place
from trainer.synthetic.stage import Stage
from trainer.synthetic.things import Pen, Shape, draw_thing, random_colour

_TYRE: Colour = (36, 34, 34)
_WAIST = 0.42  # above the ground, in heights: where the rider of a bicycle is cut
_LIFT = 0.08  # height of a board


def board_rider(stage: Stage, rng: np.random.Generator, walker: Sprite) -> Sprite:
    """A standing figure on a board, with a steering rod in half of the cases.

    Args:
        stage: The scene.
        rng: Decides.
        walker: A walking mover that heads to the right.
    """
    standing = walker.frozen(_narrowest(walker))
    main = random_colour(stage, rng)
    rod = bool(rng.random() < 0.5)
    length = float(rng.uniform(0.45, 0.7))

    def board(pen: Pen, _phase: float) -> None:
        for x in (-0.4 * length, 0.4 * length):
            pen.disc((x, 0.035), 0.045 if rod else 0.035, _TYRE)
        pen.bar((-0.5 * length, 0.07), (0.5 * length, 0.07), 0.045, main)
        if rod:
            pen.bar((0.45 * length, 0.08), (0.38 * length, 0.55), 0.035, main)
            pen.bar((0.38 * length - 0.06, 0.55), (0.38 * length + 0.03, 0.55), 0.04, _TYRE)

    return _mounted(stage, rng, board, standing, main, lift=_LIFT)


def bicycle_rider(stage: Stage, rng: np.random.Generator, walker: Sprite) -> Sprite:
    """The upper half of a figure above two wheels, with drawn legs.

    Args:
        stage: The scene.
        rng: Decides.
        walker: A walking mover that heads to the right.
    """
    frozen = walker.frozen(int(rng.integers(len(walker.pictures))))
    picture, alpha = frozen.pictures[0], frozen.alphas[0]
    ground = frozen.anchors[0][1]
    cut = round(ground - _WAIST * walker.person)
    legs = alpha[cut:] > 0.8
    trousers: Colour = (60, 60, 60)
    if legs.any():
        blue, green, red = picture[cut:][legs].mean(axis=0).astype(int).tolist()
        trousers = blue, green, red
    rows = np.arange(alpha.shape[0], dtype=np.float32)[:, None]
    upper = (alpha * np.clip((cut + 1.5 - rows) / 3.0, 0.0, 1.0)).astype(np.float32)
    body = Sprite((picture,), (upper,), frozen.anchors, walker.person, walker.fps)
    main = random_colour(stage, rng)

    def bicycle(pen: Pen, phase: float) -> None:
        for x in (-0.3, 0.3):
            pen.wheel((x, 0.18), 0.18, phase, _TYRE)
        for start, end in (
            ((-0.3, 0.18), (-0.02, 0.16)), ((-0.3, 0.18), (-0.1, 0.42)),
            ((-0.02, 0.16), (-0.1, 0.44)), ((-0.02, 0.16), (0.19, 0.45)),
            ((-0.1, 0.42), (0.19, 0.45)), ((0.3, 0.18), (0.19, 0.55)), ((0.19, 0.55), (0.1, 0.58)),
        ):  # fmt: skip
            pen.bar(start, end, 0.035, main)
        for foot in ((0.04, 0.08), (-0.06, 0.22)):
            pen.bar((-0.02, _WAIST + 0.02), (0.12, foot[1] + 0.17), 0.09, trousers)
            pen.bar((0.12, foot[1] + 0.17), foot, 0.06, trousers)

    return _mounted(stage, rng, bicycle, body, main, lift=0.0)


def _mounted(
    stage: Stage, rng: np.random.Generator, shape: Shape, body: Sprite, main: Colour, lift: float
) -> Sprite:
    """The body over the drawn thing, one picture for each phase of the wheels."""
    person = body.person
    turns_s = float(rng.uniform(0.6, 1.5))
    below = draw_thing(shape, stage, person, person=person, main=main, cycles_s=turns_s)
    margin = 6
    wide = max(below.extent[0], body.extent[0]) + 2 * margin
    tall = max(below.extent[1], body.extent[1] + lift * person) + 2 * margin
    size = round(tall), round(wide)
    foot = size[1] / 2.0, size[0] - float(margin)
    pictures, alphas = [], []
    for phase in range(len(below.pictures)):
        pairs = ((below, phase, foot), (body, 0, (foot[0], foot[1] - lift * person)))
        picture, cover = _stacked(pairs, size, main)
        pictures.append(picture)
        alphas.append(cover)
    return make_sprite(pictures, alphas, person, below.fps)


def _stacked(
    parts: tuple[tuple[Sprite, int, tuple[float, float]], ...], size: tuple[int, int], main: Colour
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Sprites one over the other on an empty canvas: picture and joint alpha."""
    picture = np.full((*size, 3), main, np.uint8)
    clear = np.ones(size, np.float32)
    for sprite, index, foot in parts:
        layer = place(sprite, index, foot, 1.0, size)
        if layer is not None:
            # Where nothing is below, the colour is the layer's own and only alpha is soft.
            solid = np.where(clear[layer.window] > 0.5, 1.0, layer.alpha).astype(np.float32)
            solid = np.where(layer.alpha > 0.02, solid, 0.0).astype(np.float32)
            blend(picture, type(layer)(layer.top, layer.left, layer.colour, solid))
            clear[layer.window] *= 1.0 - layer.alpha
    return picture, 1.0 - clear


def _narrowest(walker: Sprite) -> int:
    """The picture whose legs are closest together."""
    return int(np.argmin([_leg_width(walker, i) for i in range(len(walker.pictures))]))


def _leg_width(walker: Sprite, index: int) -> float:
    alpha, (_, ground) = walker.alphas[index], walker.anchors[index]
    lower = alpha[max(0, round(ground - 0.4 * walker.person)) :]
    return float(np.count_nonzero(lower.max(axis=0) > 0.5))
