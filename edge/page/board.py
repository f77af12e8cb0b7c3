"""What the page knows, as plain values: cameras, scores of the last minutes, newest events.

The daemon's side and the page's process hold the same board: the daemon applies each message and
sends it, the other side applies it too. A process that is started anew gets a snapshot; so does a
browser that connects. Nothing here opens a file, sends or asks a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edge.events.event import Budget
from edge.page.wire import Message

SCORES_S = 600
SCORE_EVERY_S = 0.5
EVENTS = 200

# What the list and the large view show of an event.
_SHOWN = (
    *("id", "phase", "rev", "kind", "severity", "camera", "clock"),
    *("started_at", "at", "ended_at", "duration_s", "reason"),
    *("unit", "score", "peak_score", "threshold", "provisional"),
    *("why", "zones", "streams"),
    *("snapshot", "heatmap", "clip"),
)


def shown_of(payload: Message) -> Message:
    """The part of an event's message that the page shows."""
    return {key: payload[key] for key in _SHOWN if key in payload}


def promise_of(budget: Budget) -> Message:
    """What a threshold promises, as the page shows it."""
    return {
        "budget_per_week": round(budget.per_week, 4),
        "proven_per_week": round(budget.proven_per_week, 4),
        "provisional": budget.provisional,
    }


class Board:
    """All that the page shows.

    Args:
        device: Name, release, unit of the scores, threshold: what does not change during a run.
    """

    def __init__(self, device: Message) -> None:
        self.device = device
        self._cameras: dict[str, Message] = {}
        self._scores: dict[str, deque[tuple[int, float]]] = {}
        self._events: dict[str, Message] = {}
        self._pictures: dict[str, Message] = {}
        self._beat: Message = {"scoring": False, "now": 0, "rates": {}}

    @classmethod
    def of(cls, snapshot: Message) -> Board:
        """The board that a snapshot was taken of."""
        board = cls(snapshot["device"])
        board._cameras = {camera["name"]: camera for camera in snapshot["cameras"]}
        for name, points in snapshot["scores"].items():
            board._points(name).extend((int(at), float(score)) for at, score in points)
        board.remember(reversed(snapshot["events"]))
        board._pictures = dict(snapshot["pictures"])
        board._beat = snapshot["beat"]
        return board

    def snapshot(self) -> Message:
        """All of it, as a message; events newest first, times in milliseconds since the epoch."""
        return {
            "kind": "board",
            "device": self.device,
            "cameras": list(self._cameras.values()),
            "scores": {name: list(points) for name, points in self._scores.items()},
            "events": self.events(),
            "pictures": dict(self._pictures),
            "beat": self._beat,
        }

    def events(self) -> list[Message]:
        """The events, newest first."""
        return list(reversed(self._events.values()))

    def remember(self, events: Iterable[Message]) -> None:
        """Take over events of an earlier run, oldest first."""
        for event in events:
            self._keep(event)

    def threshold_of(self, camera: str) -> float:
        """What its scores are compared with: learned on site, or the bundle's."""
        own = self._cameras.get(camera, {}).get("threshold")
        return float(self.device["threshold"] if own is None else own)

    @property
    def scoring(self) -> bool:
        """Whether the daemon's loop turns, as it said last."""
        return bool(self._beat["scoring"])

    def apply(self, message: Message) -> None:
        """Take over what is new."""
        kind = message["kind"]
        if kind == "cameras":
            for name in self._cameras.keys() - set(message["names"]):
                for known in (self._cameras, self._scores, self._pictures):
                    known.pop(name, None)
        elif kind == "camera":
            self._cameras[message["camera"]["name"]] = message["camera"]
        elif kind == "score":
            self._points(message["camera"]).append((message["at"], message["score"]))
        elif kind == "event":
            self._keep(message["event"])
        elif kind == "picture":
            self._pictures[message["camera"]] = {"n": message["n"], "at": message["at"]}
        elif kind == "beat":
            self._beat = {key: message[key] for key in ("scoring", "now", "rates")}

    def _points(self, camera: str) -> deque[tuple[int, float]]:
        return self._scores.setdefault(camera, deque(maxlen=int(SCORES_S / SCORE_EVERY_S)))

    def _keep(self, event: Message) -> None:
        known = self._events.get(event["id"])
        if known is not None and known["rev"] > event["rev"]:
            return
        self._events[event["id"]] = event  # an update keeps the event's place
        while len(self._events) > EVENTS:
            del self._events[next(iter(self._events))]
