"""Where further parts of the daemon hang on: they are told what happens, and cannot disturb it.

A page, metrics, the notification of systemd, the retained topics are observers: a class that
overrides what it needs. An observer that raises is logged and told nothing more; cameras, scoring
and delivery go on. Only the retained topics are `vital`.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from edge.capture.camera_state import CameraState, Patience
from edge.events.event import Budget, Event
from edge.events.fault import CameraFault
from edge.frames import Frame, ScoreMap
from engines.errors import InternalError, VigilError

_log = structlog.get_logger()


@dataclass(frozen=True)
class CameraStatus:
    """How a camera stands.

    Attributes:
        name: The camera.
        state: One of the states of `edge.capture.camera_state`; recordings are live, then disabled.
        reason: Why it is in this state, None where that is plain.
        since: Wall clock at which it entered the state.
        flags: `dark`, `recommission_required`, `scene_changed`.
        fps: Observed frames per second.
        scored: Frames scored so far.
        dropped: Frames that a newer one has overwritten.
        skipped: Frames that could not be decoded.
        losses: How often the camera was lost.
        threshold: Scores above it alarm; None: not known.
        budget: What the threshold promises; None: not known.
        patience: When a live camera is taken for lost; None: a recording.
    """

    name: str
    state: CameraState
    reason: str | None
    since: datetime.datetime
    flags: tuple[str, ...] = ()
    fps: float | None = None
    scored: int = 0
    dropped: int = 0
    skipped: int = 0
    losses: int = 0
    threshold: float | None = None
    budget: Budget | None = None
    patience: Patience | None = None


class Observer:
    """Override what is needed. All calls but `event` and `fault` come from the daemon's own thread.

    Nothing here may wait: the cameras would wait too. Whoever has slow work has a thread.

    Attributes:
        vital: Others rely on what it says, so its failure ends the daemon, which is then started
            again; without it the last that it said would stand as true for ever.
    """

    vital = False

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """All parts run; cameras may be connecting still."""

    def camera_changed(self, status: CameraStatus) -> None:
        """A camera has entered another state, or has other flags."""

    def scored(self, camera: str, frame: Frame, scored: ScoreMap) -> None:
        """A frame was scored."""

    def event(self, event: Event) -> None:
        """A message is in the outbox, its pictures on the disk. From the recorder's thread."""

    def fault(self, fault: CameraFault) -> None:
        """A message about a fault of a camera is in the outbox. From the recorder's thread."""

    def reloading(self) -> None:
        """The configuration is about to be read again; `regrouped` or `config_refused` follows."""

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """These are the cameras from now on: the configuration was read again."""

    def config_refused(self, error: VigilError) -> None:
        """The configuration was read again and is wrong: the one before goes on."""

    def turned(self) -> None:
        """One turn of the daemon's loop; at least every 0.2 s as long as the daemon is well."""

    def stopping(self) -> None:
        """The daemon begins to end."""

    def stopped(self) -> None:
        """Everything has ended; the last call."""


class Observers:
    """Tells all, in their order; stops telling those that fail. For any thread."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """One more."""
        self._observers.append(observer)

    def tell(self, what: Callable[[Observer], None]) -> None:
        """Call each: ``observers.tell(lambda one: one.turned())``.

        Raises:
            InternalError: One that is `vital` has failed.
        """
        for observer in tuple(self._observers):
            try:
                what(observer)
            except Exception as error:  # a part that shows things must not end them
                name = type(observer).__name__
                _log.exception("observer_failed", observer=name)
                if observer.vital:
                    raise InternalError(
                        f"{name} has failed: {error}", mend="see the log above"
                    ) from error
                with contextlib.suppress(ValueError):  # it failed in another thread, too
                    self._observers.remove(observer)
