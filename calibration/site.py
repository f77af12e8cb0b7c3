"""What was learned at one camera's place: cell statistics and a threshold, bound to its bundle.

The bundle itself is never changed: it may be signed, and read-only. A site calibration is one file
that takes the place of the bundle's statistics and threshold for one camera. It names the bundle
that it was made with, and is not valid with any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from calibration.stream_statistics import Pooling, StreamStatistics
from engines.bundle import Arrays, Bundle, encode_arrays, read_arrays
from engines.errors import DataError
from engines.manifest import check_schema, explain
from engines.model_spec import AlarmSpec, Strict

SITE_SCHEMA: Final = 1
# Below so many samples a cell lives mostly on what its neighbours or the whole picture say.
FEW_SAMPLES = 20
_RECORD = "record"
_EQUAL = 1e-9  # relative: cells whose centres differ by less are all the same


class StreamEvidence(Strict):
    """What one stream has seen on site.

    Attributes:
        samples: Energies of active cells that the statistics were made from.
        cells: Cells of its grid.
        cells_few: Cells with fewer than `FEW_SAMPLES` of them.
        median_per_cell: Samples of a middling cell.
    """

    samples: int
    cells: int
    cells_few: int
    median_per_cell: float


class SiteRecord(Strict):
    """What stands behind a site calibration.

    Attributes:
        camera: Its name.
        bundle: Digest of the bundle.
        created: Wall clock, RFC 3339.
        width: Of the camera's picture in pixels.
        height: Likewise.
        statistics_hours: Footage behind the statistics; that behind the threshold is in `alarm`.
        streams: Evidence by stream name.
        alarm: Threshold and what proves it.
        concerns: What a person has to accept before it is used, by name, in words.
    """

    schema_version: Literal[1] = SITE_SCHEMA
    camera: str
    bundle: str
    created: str
    width: int
    height: int
    statistics_hours: float
    streams: dict[str, StreamEvidence]
    alarm: AlarmSpec
    concerns: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class SiteCalibration:
    """A site calibration: its record, and statistics by stream name."""

    record: SiteRecord
    statistics: Mapping[str, StreamStatistics]

    def encode(self) -> bytes:
        """The bytes of its file."""
        text = json.dumps(self.record.model_dump(mode="json"), sort_keys=True)
        arrays: Arrays = {_RECORD: np.frombuffer(text.encode(), np.uint8)}
        for name, statistics in self.statistics.items():
            for key, array in statistics.to_arrays().items():
                arrays[f"{name}.{key}"] = array
        return encode_arrays(arrays)

    def require_fit(self, bundle: Bundle) -> None:
        """Whether it was made with this bundle.

        Raises:
            DataError: It was not.
        """
        if self.record.bundle != bundle.digest:
            raise DataError(
                f"the site calibration was made with bundle {self.record.bundle[:12]}, this is "
                f"{bundle.digest[:12]}",
                where=str(bundle.root),
                mend="commission the camera again: vigil commission CONFIG CAMERA --for 24h",
            )


def read_site(path: Path) -> SiteCalibration:
    """Read a site calibration.

    Raises:
        DataError: It is damaged, or of a newer schema.
    """
    arrays = read_arrays(path)
    mend = "go back: vigil commission CONFIG CAMERA --undo; or commission again"
    try:
        raw = json.loads(arrays.pop(_RECORD).tobytes())
    except (KeyError, ValueError) as error:
        raise DataError("it has no readable record", where=str(path), mend=mend) from error
    check_schema(raw, known=SITE_SCHEMA, where=str(path))
    try:
        record = SiteRecord.model_validate(raw)
    except ValidationError as error:
        raise DataError(explain(error), where=str(path), mend=mend) from error
    statistics = {
        name: StreamStatistics.from_arrays(
            {
                key.removeprefix(f"{name}."): array
                for key, array in arrays.items()
                if key.startswith(f"{name}.")
            }
        )
        for name in record.streams
    }
    return SiteCalibration(record=record, statistics=statistics)


def evidence_of(statistics: StreamStatistics, samples: int) -> StreamEvidence:
    """What stands behind a stream's statistics."""
    count = statistics.cells.count
    return StreamEvidence(
        samples=samples,
        cells=int(count.size),
        cells_few=int((count < FEW_SAMPLES).sum()),
        median_per_cell=float(np.median(count)),
    )


def pooling_of(statistics: StreamStatistics, *, head: str) -> Pooling:
    """How a bundle's statistics were pooled, so that new ones can be made alike.

    One centre everywhere is "picture". Of the others, those of an energy that is read directly
    (head "identity": speed, which varies with the place as perspective does) are "neighbourhood".
    """
    median = statistics.cells.median
    if float(np.ptp(median)) <= _EQUAL * max(1.0, float(np.abs(median).max())):
        return "picture"
    return "neighbourhood" if head == "identity" else "cell"
