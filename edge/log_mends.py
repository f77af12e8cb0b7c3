"""What a person does about a warning or an error in the log, by the line's event.

A test holds that every warning and error of the runtime is in here or says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping

_DOCTOR = "vigil doctor CONFIG tests it"
_REPORT = "the other parts go on; report it with the traceback"

MENDS: Mapping[str, str] = {
    "camera_fault": "`why` says it; it is tried again by itself; " + _DOCTOR,
    "camera_lost": "check the file or the camera's power and network; " + _DOCTOR,
    "capture_failed": "check the camera's power, network and login; it is tried again by itself",
    "capture_not_started": "out of processes or memory? systemctl status, free -m",
    "capture_too_large": "replaced by itself; often: lower the camera's resolution, or memory_max",
    "capture_unkillable": "its driver hangs: unplug the camera, or restart the device",
    "config_needs_restart": "systemctl restart vigil@NAME puts the rest into force",
    "config_refused": "the configuration before goes on; mend it, then systemctl reload vigil@NAME",
    "disk_nearly_full": "messages go into the space kept back; make room: df -h",
    "event_ended_after_restart": "none needed; why the daemon ended: journalctl -u 'vigil@*' -b",
    "frame_rate_differs": "set the camera to the rate it was trained at, or train with this one",
    "frame_unreadable": "the one before is used; copy the folder again if there are many",
    "geometry_changed": "set the camera's resolution back, or commission it again",
    "gpu_skipped": "the CPU does the work; vigil engine check BUNDLE says what is missing",
    "mqtt_absent": "start the broker or check mqtt.url; events are kept meanwhile; " + _DOCTOR,
    "mqtt_lost": "the broker or the network broke off; events are kept, it is tried again",
    "mqtt_no_retain": "let the broker keep retained messages (mosquitto: retain_available true)",
    "mqtt_refused": "check user, password and the broker's access list; " + _DOCTOR,
    "mqtt_too_large": "raise the broker's limit (mosquitto: max_packet_size)",
    "mqtt_topic_refused": "let the broker's access list take this topic; " + _DOCTOR,
    "no_camera_on": "set `enabled: true` in the configuration, then systemctl reload vigil@NAME",
    "notify_failed": "systemd does not hear us; is it Type=notify? systemctl restart vigil@NAME",
    "observer_failed": "the other parts go on, or the daemon is restarted; report the traceback",
    "outbox_has_no_reserve": "is the disk full? df -h; events may be lost when it is",
    "outbox_damaged": "the file was put aside and a new one begun; test the disk: dmesg, smartctl",
    "outbox_full": "bring the broker back, or raise outbox.max_rows and outbox.max_size",
    "outbox_not_cleared": "messages may come twice; is the disk full? df -h",
    "outbox_not_written": "is the disk full or failing? df -h, dmesg; messages wait in memory",
    "outbox_thread_failed": "the daemon ends and is started again; report it with the traceback",
    "page_events_not_read": "the page begins with an empty list; the events themselves are safe",
    "page_events_not_written": "is the disk full? df -h; after a restart the page's list is empty",
    "page_failed": "it begins again by itself; report it with the traceback",
    "page_process_lost": "started again by itself; if it goes on: is page.port taken? ss -ltnp",
    "page_token_refused": "somebody gave a wrong token; if it was not you: who is at that address?",
    "picture_not_written": "is the disk full, or the media folder not ours? df -h, ls -ld",
    "publisher_failed": "the daemon ends and is started again; report it with the traceback",
    "site_not_applied": "the bundle's own threshold is in force; vigil commission CONFIG CAMERA",
    "stream_runs_on_cpu": "none needed; the GPU has no kernels for this kind of input",
    "supervisor_failed": "the camera is tried again by itself; report it with the traceback",
    "supervisor_late": "the service manager restarts the daemon; report it with the stacks above",
    "video_truncated": "what can be decoded is watched; copy the file again",
}
