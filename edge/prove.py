"""`python -m edge.prove BUNDLE`: do the networks of a bundle give their golden answers here?

A process of its own, so that flashing, which runs as root, has it run by the daemon's user: what a
bundle's files make a parser or an engine do, they do without rights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge.pipeline import Pipeline
from edge.probe import Probe
from engines.bundle import load_bundle
from engines.errors import DataError, VigilError


def prove(root: Path) -> str:
    """Load a bundle, run its golden inputs and one picture; what ran them, in words.

    Raises:
        VigilError: It does not load, has no threshold, or gives other numbers here.
    """
    bundle = load_bundle(root)
    if bundle.alarm is None:
        raise DataError(
            "the bundle has no alarm threshold yet",
            where=str(root),
            mend="calibrate it first: vigil calibrate BUNDLE --normal DIR --false-alarms-per-day N",
        )
    with Pipeline(bundle, backend="auto", threads=1) as pipeline:
        Probe(pipeline)()
        backends = ", ".join(f"{name}: {kind}" for name, kind in pipeline.backends.items())
    return f"golden answers reproduced ({backends or 'no networks'})"


def main() -> int:
    """Prove the bundle that is named; one JSON object on standard output."""
    try:
        said: dict[str, object] = {"said": prove(Path(sys.argv[1]))}
        code = 0
    except VigilError as error:
        said = {"what": error.what, "where": error.where, "mend": error.mend}
        code = error.exit_code
    sys.stdout.write(json.dumps(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
