"""Checks of what is run: bundle, networks against their golden answers, and what runs them."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibration.site_store import SiteStore
from edge.config import Config
from edge.doctor.check import Finding, ok
from edge.pipeline import Pipeline
from edge.probe import Probe
from edge.site import site_folder
from edge.trust import open_bundle

GPU_NODES = ("nvidia0", "nvidiactl", "nvhost-ctrl-gpu", "nvgpu", "nvmap")


def check_bundle(config: Config) -> Finding:
    """Every file of it has its hash, and there is a threshold.

    Raises:
        VigilError: It cannot be used.
    """
    bundle = open_bundle(config.bundle, configured=config.trusted_keys)
    about = f"{bundle.model.name}, {len(bundle.manifest.files)} files, {bundle.digest[:12]}"
    alarm = bundle.alarm
    if alarm is None:
        mend = f"vigil calibrate {config.bundle} --normal DIR --false-alarms-per-day N"
        return Finding("bundle", "fail", f"{about}: it has no alarm threshold", mend)
    if alarm.extrapolated:
        return Finding(
            "bundle",
            "warn",
            f"{about}; threshold extrapolated from {alarm.hours:.2g} h of footage, which prove "
            f"at most {24 * alarm.proven_per_hour:.2g} false alarms a day",
            "vigil commission CONFIG CAMERA --for 24h learns from this place",
        )
    return ok("bundle", f"{about}, threshold {alarm.threshold:.3g}")


def check_site(config: Config, camera: str) -> Finding:
    """Whether what was learned at the camera's place counts, and what it proves.

    Raises:
        VigilError: It is damaged, or the bundle cannot be used.
    """
    check = f"site {camera}"
    store = SiteStore(site_folder(config, camera))
    found = store.active()
    waiting = store.state().proposed
    if found is None:
        said = "never commissioned: the bundle's own calibration counts"
        if waiting is not None:
            said = f"calibration {waiting} was learned and waits to be accepted"
        return Finding(check, "skip", said)
    number, calibration = found
    bundle = open_bundle(config.bundle, configured=config.trusted_keys)
    calibration.require_fit(bundle)
    alarm = calibration.record.alarm
    about = (
        f"calibration {number} of {calibration.record.created}, threshold {alarm.threshold:.3g}; "
        f"proven at most {24 * alarm.proven_per_hour:.2g} false alarms a day"
    )
    if alarm.extrapolated:
        mend = "vigil commission CONFIG CAMERA --for 24h, or longer"
        return Finding(check, "warn", f"{about} (extrapolated)", mend)
    return ok(check, about)


def check_networks(config: Config) -> Finding:
    """They give here what they gave where they were trained, and score a picture.

    Raises:
        VigilError: They do not.
    """
    bundle = open_bundle(config.bundle, configured=config.trusted_keys)
    with Pipeline(
        bundle, backend=config.backend, threads=config.threads, compute=config.compute
    ) as pipeline:
        Probe(pipeline)()
        backends = ", ".join(f"{name}: {kind}" for name, kind in pipeline.backends.items())
    return ok("networks", f"golden answers reproduced ({backends or 'no networks'})")


def check_gpu(config: Config, *, devices: Path = Path("/dev")) -> Finding:
    """If there is a GPU, or one is asked for: can we reach it, and is its software there."""
    asked = f"compute {config.compute}" if config.compute == "cuda" else f"backend {config.backend}"
    wanted = config.compute == "cuda" or "tensorrt" in config.backend
    nodes = [devices / name for name in GPU_NODES if (devices / name).exists()]
    if not nodes and not wanted:
        return Finding("gpu", "skip", "no GPU here, and none is asked for")
    if not nodes:
        return Finding(
            "gpu",
            "fail",
            f"{asked} is asked for and there is no device of a GPU in {devices}",
            "nvidia-smi (PC) or dmesg | grep nvgpu (Jetson); as a service: is the drop-in gpu.conf "
            "installed? Or set `backend: auto` and `compute: auto`",
        )
    closed = [node.name for node in nodes if not _opens(node)]
    if closed:
        return Finding(
            "gpu",
            "fail" if wanted else "warn",
            f"no right to open {', '.join(closed)}",
            "sudo usermod -aG video,render vigil; as a service: install the drop-in gpu.conf",
        )
    if importlib.util.find_spec("tensorrt") is None:
        return Finding(
            "gpu",
            "fail" if wanted else "warn",
            f"{', '.join(node.name for node in nodes)}: there, but no TensorRT for this Python",
            "on JetPack make the virtual environment with --system-site-packages",
        )
    return ok("gpu", f"{', '.join(n.name for n in nodes)}; TensorRT {_version('tensorrt')}")


def _opens(node: Path) -> bool:
    if node.is_dir():
        return True
    try:
        with node.open("rb"):
            return True
    except OSError:
        return False


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(version unknown)"
