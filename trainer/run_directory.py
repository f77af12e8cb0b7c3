"""A run directory: everything that made a bundle, in one folder.

preset.yaml                  the resolved recipe, every default written out
run.json                     data set, seed, command, versions, split of the clips, seconds
patches/{fit,held_out}/...   patch stores (removed at the end unless they are to be kept)
streams/NAME/history.jsonl   loss curves and diagnostics, one line an epoch
streams/NAME/checkpoint.pt   where the training of the stream stands
streams/NAME/encoder.onnx    the trained network
bundle/                      what `vigil run` and `vigil evaluate` take
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.errors import CannotCreateError, DataError, UsageError
from engines.manifest import MANIFEST_NAME
from trainer.preset import Preset

RECORD_NAME = "run.json"
PRESET_NAME = "preset.yaml"
# What must agree for a run to be gone on with; the rest of the record describes.
_IDENTITY = ("dataset", "preset", "seed", "split")


class RunDirectory:
    """Paths and record of one run; `open_run` makes one."""

    def __init__(self, root: Path, record: dict[str, Any]) -> None:
        self.root = root
        self.record = record

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.root / "bundle"

    @property
    def finished(self) -> bool:
        """True once the bundle was written, and while it is there."""
        return bool(self.record["finished"]) and (self.bundle / MANIFEST_NAME).is_file()

    @property
    def patches(self) -> Path:
        """Folder of the patch stores: `fit` and `held_out`, and in them one of each stream."""
        return self.root / "patches"

    def stream(self, name: str) -> Path:
        """Folder of a stream."""
        return self.root / "streams" / name

    def note(self, **facts: Any) -> None:
        """Add facts to `run.json`.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        self.record.update(facts)
        write_text(self.root / RECORD_NAME, json.dumps(self.record, indent=1) + "\n")

    def drop_patches(self) -> None:
        """Remove the patch stores: hundreds of megabytes that the data set can make again."""
        shutil.rmtree(self.patches, ignore_errors=True)


def open_run(
    root: Path,
    *,
    resume: bool,
    preset: Preset,
    dataset: str,
    seed: int,
    split: Mapping[str, Any],
    **facts: Any,
) -> RunDirectory:
    """Start a run in an empty or new folder, or go on with the one that is there.

    Args:
        root: The folder.
        resume: Go on where an earlier run of the same recipe stopped; a fresh start where there is
            none.
        preset: Resolved recipe.
        dataset: What the clips come from, as a string that names it.
        seed: Seed of the run.
        split: Names of the clips of each part, as JSON: with other footage it is another run.
        facts: What else `run.json` says.

    Raises:
        UsageError: There is a run and `resume` was not asked for, or it is of another recipe.
        CannotCreateError: The folder holds something else, or cannot be written.
        DataError: `run.json` cannot be read.
    """
    identity = {
        "dataset": dataset,
        "preset": preset.model_dump(mode="json"),
        "seed": seed,
        "split": dict(split),
    }
    if (root / RECORD_NAME).is_file():
        return _go_on(root, resume, identity)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CannotCreateError(
            "the folder is not empty and holds no run, so it is left alone",
            where=str(root),
            mend="choose another --out, or empty the folder yourself",
        )
    write_text(root / PRESET_NAME, preset.to_yaml())
    started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    run = RunDirectory(root, {"format": "vigil-run", "started": started, **identity, **facts})
    run.note(seconds=0.0, finished=False)
    return run


def _go_on(root: Path, resume: bool, identity: dict[str, Any]) -> RunDirectory:
    path = root / RECORD_NAME
    if not resume:
        raise UsageError(
            "the folder holds a run already",
            where=str(root),
            mend="add --resume to go on with it, or choose another --out",
        )
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{RECORD_NAME} is not JSON: {error}", where=str(path)) from error
    if not isinstance(record, dict):
        raise DataError(f"{RECORD_NAME} is not the record of a run", where=str(path))
    differing = [
        line
        for key in _IDENTITY
        for line in _differences(key, record.get(key), json.loads(json.dumps(identity[key])))
    ]
    if differing:
        raise UsageError(
            f"the run was started with other settings: {'; '.join(differing)}",
            where=str(root),
            mend="give the settings it was started with, or choose another --out",
        )
    return RunDirectory(root, record)


def _differences(key: str, old: Any, new: Any) -> list[str]:
    """`key.sub: old, now new` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [line for k in keys for line in _differences(f"{key}.{k}", old.get(k), new.get(k))]
    if key.startswith("split.") and isinstance(old, list) and isinstance(new, list) and old != new:
        other = sorted(set(map(str, old)) ^ set(map(str, new)))
        named = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
        return [f"{key}: {len(old)} clips, now {len(new)}" + (f" ({named})" if named else "")]
    return [] if old == new else [f"{key}: {old!r}, now {new!r}"]
