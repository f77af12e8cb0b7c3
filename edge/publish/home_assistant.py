"""Home Assistant's MQTT discovery: one retained message makes the device and its entities appear.

Device-based discovery: topic ``<prefix>/device/<object id>/config``, payload with `device`,
`origin` and `components`, each with `platform` and `unique_id`; what stands beside them holds for
all components. A component is taken away by sending it once with nothing but its `platform`, and
then a payload without it; the whole device by an empty payload.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.publish.address import Topics

# Three heartbeats of the state topic.
STATE_EXPIRES_S = 180

Component = dict[str, Any]


@dataclass(frozen=True)
class Discovery:
    """What Home Assistant is told.

    Attributes:
        topic: Where.
        device: The device, and who describes it.
        components: By their keys.
    """

    topic: str
    device: Mapping[str, Any]
    components: Mapping[str, Component]

    def payload(self, *, without: Mapping[str, str] | None = None) -> str:
        """The message; `without`: keys and platforms of components that shall be taken away."""
        gone = {key: {"platform": platform} for key, platform in (without or {}).items()}
        return json.dumps({**self.device, "components": {**self.components, **gone}})

    def platforms(self) -> dict[str, str]:
        """Key and platform of each component."""
        return {key: str(value["platform"]) for key, value in self.components.items()}


def discovery_topic(prefix: str, device: str) -> str:
    """Where a device is described."""
    return f"{prefix}/device/vigil_{device}/config"


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says `online` when it has started."""
    return f"{prefix}/status"


def discovery_of(
    topics: Topics,
    cameras: Iterable[str],
    *,
    prefix: str,
    release: str,
    snapshots: bool,
) -> Discovery:
    """Describe a device.

    Args:
        topics: Of the device.
        cameras: Their names.
        prefix: Home Assistant's discovery prefix.
        release: Of this software.
        snapshots: The snapshot topics are in use.
    """
    unique = f"vigil_{topics.device}"
    components = _device_components(topics)
    for camera in cameras:
        components |= _camera_components(topics, camera, snapshots=snapshots)
    for key, component in components.items():
        component["unique_id"] = f"{unique}_{key}"
    return Discovery(
        topic=discovery_topic(prefix, topics.device),
        device={
            "device": {
                "identifiers": [unique],
                "name": topics.device,
                "manufacturer": "vigil",
                "model": "video anomaly detector",
                "sw_version": release,
            },
            "origin": {"name": "vigil", "sw_version": release},
            "availability": [{"topic": topics.status}],
            "qos": 1,
        },
        components=components,
    )


def _device_components(topics: Topics) -> dict[str, Component]:
    shared = {
        "state_topic": topics.state,
        "entity_category": "diagnostic",
        "expire_after": STATE_EXPIRES_S,
    }
    return {
        "health": {
            "platform": "binary_sensor",
            "name": "Health",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.degraded else 'OFF' }}",
            **shared,
        },
        "outbox": {
            "platform": "sensor",
            "name": "Messages waiting",
            "state_class": "measurement",
            "value_template": "{{ value_json.outbox.rows }}",
            **shared,
        },
    }


def _camera_components(topics: Topics, camera: str, *, snapshots: bool) -> dict[str, Component]:
    """Names of cameras hold no quotes and no braces, so that they can stand in templates."""
    of_this = (
        f"value_json.camera == '{camera}' and value_json.kind == 'anomaly' "
        "and value_json.phase in ['start', 'end']"
    )
    told = "{'event_type': value_json.phase, 'id': value_json.id, 'why': value_json.why}"
    components: dict[str, Component] = {
        f"{camera}_alarm": {
            "platform": "binary_sensor",
            "name": f"{camera} anomaly",
            "device_class": "safety",
            "state_topic": topics.camera_alarm(camera),
        },
        f"{camera}_cam": {
            "platform": "binary_sensor",
            "name": f"{camera} camera",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": topics.camera_state(camera),
            "value_template": "{{ 'ON' if value_json.state == 'live' else 'OFF' }}",
        },
        f"{camera}_event": {
            "platform": "event",
            "name": f"{camera} event",
            "event_types": ["start", "end"],
            "state_topic": topics.event,
            "value_template": f"{{% if {of_this} %}}{{{{ {told} | to_json }}}}{{% endif %}}",
        },
    }
    if snapshots:
        components[f"{camera}_snapshot"] = {
            "platform": "image",
            "name": f"{camera} snapshot",
            "content_type": "image/jpeg",
            "image_topic": topics.camera_snapshot(camera),
        }
    return components
