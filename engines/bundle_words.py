"""What a bundle is, in words: for `vigil bundle show` and whoever asks what runs on a device."""

from __future__ import annotations

from typing import Any, Final

from engines.bundle import Bundle
from engines.manifest import Manifest, Role
from engines.model_spec import AlarmSpec, StreamSpec

ROLES: Final[dict[Role, str]] = {
    "model": "the detector as data: streams, gate, fusion, training record",
    "alarm": "threshold and alarm rule, with what proves them",
    "network": "encoder of a stream (ONNX)",
    "head": "turns features into energies: mixture or table",
    "statistics": "what is normal in each cell, and the tail of normal energies",
    "parity": "golden inputs and outputs; a network that differs from them never starts",
    "record": "kept for people, not read by the runtime",
}
"""What a file of each role is for."""


def total_bytes(manifest: Manifest) -> int:
    """Size of all listed files in bytes."""
    return sum(entry.size for entry in manifest.files)


def release_words(manifest: Manifest) -> str:
    """The release number, or that there is none."""
    return "no release number" if manifest.release is None else f"release {manifest.release}"


def one_line(text: str) -> str:
    """Text from a bundle, safe for a terminal: control characters are written as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def bundle_lines(bundle: Bundle, signers: list[str]) -> list[str]:
    """A page about a bundle; `signers` are the ids that its signature file names."""
    manifest, model = bundle.manifest, bundle.model
    record = model.training
    lines = [
        f"{one_line(manifest.name)}, {release_words(manifest)}, made {manifest.created}",
        f"digest    {bundle.digest}",
        f"needs     vigil {manifest.minimum_runtime} or newer",
        f"signed    {_signed_words(bundle, signers)}",
        (
            f"picture   {model.frame.width} x {model.frame.height} at {model.frame.fps:g} frames/s,"
            f" map {model.map.columns} x {model.map.rows} cells, fusion {model.fusion.mode}"
        ),
        (
            f"learned   from {one_line(record.dataset)}: {record.clips} clips, {record.seconds:g}"
            f" s, preset {one_line(record.preset)}, seed {record.seed}"
        ),
        *(f"stream    {_stream_words(stream)}" for stream in model.streams),
        *(f"alarm     {line}" for line in _alarm_words(bundle.alarm)),
        f"files     {len(manifest.files)}, {total_bytes(manifest) / 1e6:.2f} MB",
    ]
    for entry in manifest.files:
        size = f"{entry.size:>10} bytes  {entry.sha256[:12]}"
        lines += [f"  {entry.path:<36} {size}", f"    {ROLES[entry.role]}"]
    return lines


def bundle_json(bundle: Bundle, signers: list[str]) -> dict[str, Any]:
    """The same as data."""
    return {
        "digest": bundle.digest,
        "signers": signers,
        "manifest": bundle.manifest.model_dump(mode="json", exclude_none=True),
        "model": bundle.model.model_dump(mode="json"),
        "alarm": None if bundle.alarm is None else bundle.alarm.model_dump(mode="json"),
        "roles": ROLES,
    }


def _signed_words(bundle: Bundle, signers: list[str]) -> str:
    if not signers:
        return "by nobody"
    if bundle.signed_by:
        return f"by {', '.join(signers)}; checked against {', '.join(bundle.signed_by)}"
    return f"by {', '.join(signers)}; not checked here (vigil bundle verify checks)"


def _stream_words(stream: StreamSpec) -> str:
    network = "no network"
    if stream.network is not None:
        precisions = ", ".join(sorted(stream.network.files))
        network = f"network of {stream.network.parameters} parameters ({precisions})"
    return (
        f"{stream.name}: {one_line(stream.input.kind)}, {network},"
        f" head {one_line(stream.head.kind)}, weight {stream.weight:g}"
    )


def _alarm_words(alarm: AlarmSpec | None) -> list[str]:
    if alarm is None:
        return ["no threshold yet (vigil calibrate)"]
    proof = "extrapolated" if alarm.extrapolated else "proven"
    return [
        (
            f"above {alarm.threshold:g} for {alarm.open_frames} frames, closed after"
            f" {alarm.close_s:g} s below"
        ),
        (
            f"budget {alarm.budget_per_hour:g} false alarms an hour, {proof} from"
            f" {alarm.hours:.2f} h of {one_line(alarm.source)}"
        ),
    ]
