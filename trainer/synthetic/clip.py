"""One synthetic clip: normal footage with an act in it, composed frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import floor
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.capture.source import Source
from edge.frames import Frame
from engines.errors import DataError
from trainer.clip_split import ClipSection
from trainer.synthetic.background import largest_difference, moving_mask
from trainer.synthetic.sprite import Layer, blend, place
from trainer.synthetic.stage import Act, Paste, Replay

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
_CHANGED_LEVELS, _CHANGED_SHARE = 12, 0.02  # a thing moves if so much of it changed in a frame
_NEARER = 0.02  # of the picture's height: a mover that stands lower by this is in front

Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """Normal footage with one synthetic anomaly and its pixel truth.

    The same clip gives the same pixels each time; frames are composed while they are read. Each
    frame went through JPEG (quality 90) after composing, the untouched ones too: else a detector
    could learn the recompression.

    Attributes:
        name: Kind, number and base section.
        kind: Name of the kind of anomaly.
        fps: Frames per second.
        section: The base footage.
        act: What happens in it.
        background: uint8, h x w x 3: empty scene of the base clip.
        seed: Of the noise.
    """

    name: str
    kind: str
    fps: float
    section: ClipSection
    act: Act = field(repr=False)
    background: NDArray[np.uint8] = field(repr=False)
    seed: int

    @property
    def frame_count(self) -> int:
        """Number of frames and of masks."""
        length = self.section.stop - self.section.start
        return floor((length - 1) / self.act.pace) + 1 if isinstance(self.act, Replay) else length

    @property
    def normal_frames(self) -> int:
        """Frames at the beginning without anything anomalous."""
        if isinstance(self.act, Replay):
            return 0
        from_s = self.act.masked_from_s
        return next(i for i in count() if i / self.fps >= from_s)

    def open(self) -> Source:
        """The clip's frames, to be entered with `with`; index and time start at 0."""
        return _SyntheticSource(self)

    def masks(self) -> Iterator[NDArray[np.bool_]]:
        """Truth of each frame in order: bool, h x w, True = anomalous."""
        for _, mask in self.composed():
            yield mask

    def pairs(self) -> Iterator[tuple[Frame, NDArray[np.bool_]]]:
        """Frames and masks together, composed once."""
        for index, (picture, mask) in enumerate(self.composed()):
            yield Frame(index, index / self.fps, _recompressed(picture)), mask

    def composed(self) -> Iterator[Pair]:
        """Pictures before recompression (uint8, h x w x 3) with masks (bool, h x w)."""
        if isinstance(self.act, Replay):
            return self._replayed(self.act)
        return self._pasted(self.act)

    def _pictures(self) -> Iterator[NDArray[np.uint8]]:
        with self.section.open() as source:
            for frame in source:
                if frame.bgr.shape != self.background.shape:
                    raise DataError("The clip has frames of different sizes", where=self.name)
                yield frame.bgr

    def _pasted(self, act: Paste) -> Iterator[Pair]:
        for index, original in enumerate(self._pictures()):
            picture, time_s = original.copy(), index / self.fps
            layer = self._layer(act, index, time_s, original)
            mask = np.zeros(picture.shape[:2], np.bool_)
            if layer is not None:
                painted = blend(picture, layer)
                mask = painted if time_s >= act.masked_from_s else mask
            yield picture, mask

    def _layer(
        self, act: Paste, index: int, time_s: float, original: NDArray[np.uint8]
    ) -> Layer | None:
        """What is pasted at a time, behind what stands nearer to the camera."""
        since = time_s - act.path.start_s
        if since < 0.0:
            return None
        foot = act.path.at(time_s)
        scale = act.factor * act.path.size.at(foot[1]) / act.sprite.person
        walked = min(time_s, act.path.stop_s) - act.path.start_s
        number = floor(walked * act.sprite.fps * act.rate + 1e-6)
        layer = place(act.sprite, number, foot, scale, self.background.shape[:2])
        if layer is None:
            return None
        alpha = layer.alpha
        if act.fade_s > 0.0:
            alpha = alpha * min(1.0, (since + 1.0 / self.fps) / act.fade_s)
        if not act.in_front:
            alpha = alpha * (1.0 - self._nearer(original, foot[1])[layer.window])
        colour = layer.colour
        if act.noise_sigma > 0.0:
            rng = np.random.default_rng([self.seed, index])
            grain = rng.normal(0.0, act.noise_sigma, alpha.shape).astype(np.float32)
            colour = colour + grain[..., None]
        return Layer(layer.top, layer.left, colour, alpha.astype(np.float32))

    def _nearer(self, picture: NDArray[np.uint8], foot_y: float) -> NDArray[np.float32]:
        """Softly 1 where a mover of the footage stands in front of `foot_y`: float32, h x w."""
        moved = moving_mask(picture, self.background).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(moved)
        bottoms = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]
        nearer = bottoms > foot_y + _NEARER * picture.shape[0]
        nearer[0] = False
        front = nearer[labels].astype(np.float32)
        return np.asarray(cv2.GaussianBlur(front, (0, 0), 1.0), np.float32)

    def _replayed(self, act: Replay) -> Iterator[Pair]:
        wanted = {floor(i * act.pace + 1e-9) for i in range(self.frame_count)}
        pictures = (picture for i, picture in enumerate(self._pictures()) if i in wanted)
        if not act.backwards:
            yield from self._with_motion(pictures)
            return
        # Packed, as the whole section has to be held.
        packed = [_packed(picture) for picture in pictures]
        yield from self._with_motion(_unpacked(data) for data in reversed(packed))

    def _with_motion(self, pictures: Iterator[NDArray[np.uint8]]) -> Iterator[Pair]:
        """Pictures with masks of what moves in them."""
        previous: NDArray[np.uint8] | None = None
        for picture in pictures:
            mask = moving_mask(picture, self.background)
            if previous is not None:
                mask = _changed(mask, picture, previous)
            previous = picture
            yield picture, mask


class _SyntheticSource:
    """The `Source` of a synthetic clip."""

    skipped = 0
    live = False

    def __init__(self, clip: SyntheticClip) -> None:
        self.name = clip.name
        self.fps = clip.fps
        self.frame_count: int | None = clip.frame_count
        self._clip = clip

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __iter__(self) -> Iterator[Frame]:
        for frame, _ in self._clip.pairs():
            yield frame


def _changed(
    mask: NDArray[np.bool_], picture: NDArray[np.uint8], previous: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Of a mask, the components that differ from the picture before: who stands is left out."""
    amount, labels = cv2.connectedComponents(mask.astype(np.uint8))
    changed = largest_difference(picture, previous) > _CHANGED_LEVELS
    pixels = np.bincount(labels.ravel(), minlength=amount)
    moved = np.bincount(labels.ravel(), weights=changed.ravel(), minlength=amount)
    keep = moved > _CHANGED_SHARE * pixels
    keep[0] = False
    return np.asarray(keep[labels])


def _recompressed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", picture, _JPEG)
    return _unpacked(data)


def _packed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return np.asarray(data, np.uint8)


def _unpacked(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
