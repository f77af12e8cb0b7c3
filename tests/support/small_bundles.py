"""A small bundle made without training, for what looks at its files and never runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import Bundle, BundleFile, encode_arrays, load_bundle, write_bundle
from engines.manifest import sha256_of
from engines.model_spec import AlarmSpec, ModelSpec
from engines.sign_bundle import sign_bundle
from engines.signing_keys import KeyFiles, create_key_pair, read_private_key, read_public_key
from engines.trusted_keys import TrustedKeys

MODEL: dict[str, Any] = {
    "name": "small",
    "frame": {"width": 64, "height": 48, "fps": 10.0},
    "gate": {"enabled": True, "threshold": 15, "min_pixels": 4},
    "streams": [
        {
            "name": "appearance",
            "input": {"kind": "appearance", "patch": 16, "stride": 16},
            "network": {
                "input": "patches",
                "output": "latent",
                "files": {"fp32": "networks/appearance.fp32.onnx"},
                "parameters": 12,
            },
            "head": {"kind": "mixture", "file": "heads/appearance.npz"},
            "statistics": "statistics/appearance.npz",
            "parity": "parity/appearance.npz",
            "weight": 0.75,
        },
        {
            "name": "motion",
            "input": {"kind": "speed", "patch": 16, "stride": 16},
            "head": {"kind": "identity"},
            "statistics": "statistics/motion.npz",
            "weight": 0.25,
        },
    ],
    "map": {"rows": 3, "columns": 4},
    "fusion": {"mode": "surprise"},
    "training": {
        "dataset": "rendered",
        "preset": "small",
        "seed": 0,
        "command": "tests",
        "versions": {},
        "clips": 1,
        "frames": 10,
        "seconds": 1.0,
    },
}
ALARM: dict[str, Any] = {
    "threshold": 4.0,
    "budget_per_hour": 1.0,
    "proven_per_hour": 3.0,
    "extrapolated": True,
    "hours": 1.0,
    "events_seen": 0,
    "source": "rendered",
}


def small_bundle(
    root: Path,
    *,
    seed: int = 0,
    change: Callable[[dict[str, Any]], None] | None = None,
    alarm: dict[str, Any] | None = None,
) -> Bundle:
    """Write a bundle; `change` may edit the raw model, `alarm` the alarm's fields."""
    rng = np.random.default_rng(seed)
    raw = json.loads(json.dumps(MODEL))
    if change is not None:
        change(raw)
    cells = {"cells_median": rng.random((3, 4)), "cells_count": np.full((3, 4), 7)}
    mixture = {"weights": np.array([0.5, 0.5]), "means": rng.normal(size=(2, 4))}
    golden = {"patches": rng.random((2, 3), dtype=np.float32)}
    files = [
        BundleFile("networks/appearance.fp32.onnx", "network", rng.bytes(1000)),
        BundleFile("heads/appearance.npz", "head", encode_arrays(mixture)),
        BundleFile("statistics/appearance.npz", "statistics", encode_arrays(cells)),
        BundleFile("statistics/motion.npz", "statistics", encode_arrays(cells)),
        BundleFile("parity/appearance.npz", "parity", encode_arrays(golden)),
    ]
    return write_bundle(
        root,
        model=ModelSpec.model_validate(raw),
        alarm=AlarmSpec.model_validate({**ALARM, **(alarm or {})}),
        files=files,
    )


def signed(root: Path, pair: KeyFiles, *, release: int = 5, **small: Any) -> Bundle:
    """The same, signed."""
    small_bundle(root, **small)
    sign_bundle(root, read_private_key(pair.private), release=release)
    return load_bundle(root)


def key_pair(folder: Path, name: str = "maker") -> tuple[KeyFiles, TrustedKeys]:
    """A new pair, and a machine that trusts it."""
    pair = create_key_pair(folder / name)
    return pair, TrustedKeys({pair.key_id: read_public_key(pair.public)}, str(pair.public))


def canonical(raw: Any) -> bytes:
    """A raw manifest as its one canonical form."""
    return (
        json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    ).encode()


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as somebody would who can write it, keeping it canonical."""
    raw = json.loads((root / "manifest.json").read_bytes())
    change(raw)
    (root / "manifest.json").write_bytes(canonical(raw))


def restamp(root: Path, name: str) -> None:
    """Give one file's present size and hash to the manifest."""

    def change(raw: dict[str, Any]) -> None:
        for entry in raw["files"]:
            if entry["path"] == name:
                entry["size"] = (root / name).stat().st_size
                entry["sha256"] = sha256_of(root / name)

    rewrite(root, change)
