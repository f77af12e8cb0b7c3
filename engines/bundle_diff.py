"""What differs between two bundles, in words: versions, streams, weights, thresholds, files."""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.bundle import ALARM_NAME, MODEL_NAME, Bundle
from engines.bundle_words import one_line, release_words
from engines.errors import VigilError
from engines.manifest import FileEntry
from engines.model_spec import StreamSpec

_ARRAY_ROLES = {"head", "statistics", "parity"}


def differences(old: Bundle, new: Bundle) -> list[str]:
    """One line for each thing in which `new` differs from `old`; empty if nothing does."""
    return [*_versions(old, new), *_model(old, new), *_alarm(old, new), *_files(old, new)]


def _versions(old: Bundle, new: Bundle) -> list[str]:
    a, b = old.manifest, new.manifest
    lines = []
    if a.release != b.release:
        lines.append(f"version: {release_words(a)} -> {release_words(b)}")
    fields = ("name", "created", "minimum_runtime", "schema_version")
    for field in fields:
        was, now = getattr(a, field), getattr(b, field)
        if was != now:
            lines.append(f"{field.replace('_', ' ')}: {_value(was)} -> {_value(now)}")
    return lines


def _model(old: Bundle, new: Bundle) -> list[str]:
    lines = []
    a, b = (bundle.model.model_dump(mode="json") for bundle in (old, new))
    for section in ("frame", "gate", "map", "fusion", "training", "trust"):
        lines += _changes(section, a[section], b[section])
    was = {stream.name: stream for stream in old.model.streams}
    now = {stream.name: stream for stream in new.model.streams}
    lines += [f"stream {name}: removed" for name in was if name not in now]
    lines += [
        f"stream {name}: added ({one_line(stream.input.kind)}, weight {stream.weight:g})"
        for name, stream in now.items()
        if name not in was
    ]
    for name, stream in now.items():
        if name in was:
            lines += _changes(f"stream {name}", _facts(was[name]), _facts(stream))
    if list(was) != list(now) and set(was) == set(now):
        lines.append(f"streams: in another order ({', '.join(now)})")
    return lines


def _facts(stream: StreamSpec) -> dict[str, Any]:
    facts = stream.model_dump(mode="json")
    del facts["name"]
    return facts


def _alarm(old: Bundle, new: Bundle) -> list[str]:
    if old.alarm is None or new.alarm is None:
        if old.alarm is None and new.alarm is None:
            return []
        if new.alarm is None:
            return ["threshold: removed"]
        return [f"threshold: none -> {new.alarm.threshold:g}"]
    a, b = (alarm.model_dump(mode="json") for alarm in (old.alarm, new.alarm))
    lines = []
    was, now = a.pop("threshold"), b.pop("threshold")
    if was != now:
        share = f" ({(now - was) / abs(was):+.1%})" if was else ""
        lines.append(f"threshold: {_value(was)} -> {_value(now)}{share}")
    return lines + _changes("alarm", a, b)


def _files(old: Bundle, new: Bundle) -> list[str]:
    was = {entry.path: entry for entry in old.manifest.files}
    now = {entry.path: entry for entry in new.manifest.files}
    lines = [f"{was[path].role} {path}: removed" for path in was if path not in now]
    lines += [
        f"{entry.role} {path}: added ({entry.size} bytes)"
        for path, entry in now.items()
        if path not in was
    ]
    for path, entry in now.items():
        before = was.get(path)
        if before is None or path in {MODEL_NAME, ALARM_NAME}:
            continue  # added, told above; or told by its values
        if before.role != entry.role:
            lines.append(f"{path}: role {before.role} -> {entry.role}")
        if before.sha256 != entry.sha256:
            lines.append(_content(old, new, before, entry))
    return lines


def _content(old: Bundle, new: Bundle, before: FileEntry, entry: FileEntry) -> str:
    sizes = f"{before.size} -> {entry.size} bytes"
    if entry.role == "network":
        return f"network {entry.path}: other weights ({sizes})"
    if entry.role not in _ARRAY_ROLES:
        return f"{entry.role} {entry.path}: other content ({sizes})"
    try:
        a, b = old.arrays(entry.path), new.arrays(entry.path)
    except VigilError as error:
        return f"{entry.role} {entry.path}: other content ({error.what})"
    told = [f"{key} removed" for key in a if key not in b]
    told += [f"{key} added" for key in b if key not in a]
    for key in a:
        if key not in b or (a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key])):
            continue
        if a[key].shape != b[key].shape or a[key].dtype != b[key].dtype:
            was, now = (f"{x[key].dtype} {x[key].shape}" for x in (a, b))
            told.append(f"{key} {was} -> {now}")
        else:
            change = np.abs(b[key].astype(np.float64) - a[key].astype(np.float64)).max()
            told.append(f"{key} by up to {change:.3g}")
    return f"{entry.role} {entry.path}: {'; '.join(told) or 'packed otherwise, same values'}"


def _changes(where: str, old: Any, new: Any) -> list[str]:
    """Leaves that differ, each as `where key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            lines += _changes(f"{where} {one_line(str(key))}", old.get(key), new.get(key))
        return lines
    return [] if old == new else [f"{where}: {_value(old)} -> {_value(new)}"]


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return one_line(str(value))
