"""Keeps Home Assistant's picture of the device true: described on each connect, nothing left over.

What was described is remembered in the outbox's file. So a camera that has gone from the
configuration goes from Home Assistant too, and so does the device when discovery is switched off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from edge.observer import CameraStatus, Observer
from edge.publish.address import Topics
from edge.publish.home_assistant import Discovery, discovery_of
from edge.publish.outbox_thread import OutboxThread
from edge.publish.publisher import Publisher
from edge.publish.retained import RetainedValue

_FACT = "home_assistant"


@dataclass(frozen=True)
class _Known:
    """What Home Assistant was told last."""

    topic: str
    platforms: dict[str, str]


class HomeAssistant(Observer):
    """Describes the device.

    Args:
        publisher: Sends the description.
        outbox: Remembers it.
        topics: Of the device.
        prefix: Home Assistant's discovery prefix; None: discovery is switched off.
        release: Of this software.
        snapshots: The snapshot topics are in use.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        outbox: OutboxThread,
        topics: Topics,
        prefix: str | None,
        release: str,
        snapshots: bool,
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._topics = topics
        self._prefix = prefix
        self._release = release
        self._snapshots = snapshots

    def regrouped(self, cameras: Iterable[CameraStatus]) -> None:
        """As at the start."""
        self.started(cameras)

    def started(self, cameras: Iterable[CameraStatus]) -> None:
        """Describe the device, and take away what is no more."""
        known = self._recall()
        if self._prefix is None:
            if known is not None:
                self._retain(known.topic, RetainedValue("", taken=lambda: self._remember(None)))
            return
        discovery = discovery_of(
            self._topics,
            [camera.name for camera in cameras],
            prefix=self._prefix,
            release=self._release,
            snapshots=self._snapshots,
        )
        gone: dict[str, str] = {}
        if known is not None and known.topic != discovery.topic:
            self._retain(known.topic, RetainedValue(""))
        elif known is not None:
            current = discovery.platforms()
            gone = {key: kind for key, kind in known.platforms.items() if key not in current}
        self._retain(
            discovery.topic,
            RetainedValue(
                discovery.payload(),
                before=discovery.payload(without=gone) if gone else None,
                taken=lambda: self._remember(discovery),
            ),
        )

    def _retain(self, topic: str, value: RetainedValue) -> None:
        self._publisher.retain_value(topic, value, first=True)

    def _remember(self, told: Discovery | None) -> None:
        """In the publisher's thread: the broker has taken it."""
        fact = None if told is None else {"topic": told.topic, "platforms": told.platforms()}
        self._outbox.remember(_FACT, json.dumps(fact))

    def _recall(self) -> _Known | None:
        fact = json.loads(self._outbox.recall(_FACT) or "null")
        return None if fact is None else _Known(fact["topic"], fact["platforms"])
