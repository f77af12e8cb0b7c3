"""The site calibrations of one camera on disk: which one counts, what was before, what is proposed.

    site/yard/state.json      {"active": 2, "before": [null, 1], "proposed": null}
    site/yard/0001.npz ...    written once, never changed
    site/yard/0001-moments/   pictures of its highest moments, for a person

Rules:

1. Which calibration counts is decided by `state.json` alone, and that file is replaced as a whole.
   A calibration is on the disk, synced, before `state.json` names it. So at any moment, power cuts
   included, the old one counts, or the new one, whole.
2. `null` is the bundle itself. Going back needs nothing but a number.
3. Files that `state.json` does not name are left-overs, and are removed after it was replaced.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from calibration.site import SiteCalibration, read_site
from engines.atomic import write_bytes, write_text
from engines.errors import DataError, UsageError
from engines.manifest import check_schema, explain
from engines.model_spec import Strict

STATE_NAME = "state.json"
STORE_SCHEMA: Final = 1
MOST_BEFORE = 8
_Number = Annotated[int, Field(ge=1, le=9999)]


class StoreState(Strict):
    """Numbers of calibrations; None is the bundle itself.

    Attributes:
        active: The one that counts.
        before: Those that counted before it, the newest last.
        proposed: One that was learned and not accepted yet.
    """

    schema_version: Literal[1] = STORE_SCHEMA
    active: _Number | None = None
    before: tuple[_Number | None, ...] = ()
    proposed: _Number | None = None


class SiteStore:
    """The calibrations of one camera.

    Args:
        folder: Their folder; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self) -> StoreState:
        """What counts now.

        Raises:
            DataError: The file is damaged.
        """
        path = self.folder / STATE_NAME
        try:
            raw = json.loads(path.read_bytes())
        except FileNotFoundError:
            return StoreState()
        except (OSError, ValueError) as error:
            raise DataError(
                f"it cannot be read: {error}",
                where=str(path),
                mend="remove it: the bundle's own threshold counts then; commission again",
            ) from error
        check_schema(raw, known=STORE_SCHEMA, where=str(path))
        try:
            return StoreState.model_validate(raw)
        except ValidationError as error:
            raise DataError(
                explain(error), where=str(path), mend="remove it, and commission again"
            ) from error

    def active(self) -> tuple[int, SiteCalibration] | None:
        """The calibration that counts, and its number; None: the bundle's own.

        Raises:
            DataError: It is damaged.
        """
        number = self.state().active
        return None if number is None else (number, read_site(self._path(number)))

    def proposed(self) -> SiteCalibration:
        """The calibration that waits to be accepted.

        Raises:
            UsageError: There is none.
            DataError: It is damaged.
        """
        number = self.state().proposed
        if number is None:
            raise UsageError(
                "no calibration waits to be accepted",
                where=str(self.folder),
                mend="learn one first: vigil commission CONFIG CAMERA --for 24h",
            )
        return read_site(self._path(number))

    def require_writable(self) -> None:
        """See that a calibration can be kept, before anybody spends a day on learning one.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        probe = self.folder / ".writable"
        write_bytes(probe, b"")
        probe.unlink()

    def propose(self, calibration: SiteCalibration) -> int:
        """Keep a new calibration without using it; its number.

        Raises:
            CannotCreateError: The folder cannot be written.
        """
        state = self.state()
        number = max((n or 0 for n in (state.active, state.proposed, *state.before)), default=0) + 1
        write_bytes(self._path(number), calibration.encode())
        self._replace(state.model_copy(update={"proposed": number}))
        return number

    def accept(self) -> int:
        """Use the proposed calibration from the next start on; its number.

        Raises:
            UsageError: There is none.
            DataError: It is damaged; the old one counts still.
            CannotCreateError: The folder cannot be written.
        """
        self.proposed()  # never point at what cannot be read
        state = self.state()
        assert state.proposed is not None
        before = (*state.before, state.active)[-MOST_BEFORE:]
        self._replace(StoreState(active=state.proposed, before=before))
        return state.proposed

    def undo(self) -> int | None:
        """Go back to the one that counted before; its number, None: the bundle's own.

        Raises:
            UsageError: There is nothing to go back to.
            CannotCreateError: The folder cannot be written.
        """
        state = self.state()
        if not state.before:
            raise UsageError(
                "there is nothing to go back to: the bundle's own calibration counts",
                where=str(self.folder),
            )
        back = state.before[-1]
        self._replace(StoreState(active=back, before=state.before[:-1], proposed=state.active))
        return back

    def pictures(self, number: int) -> Path:
        """Folder for pictures of a calibration's highest moments; goes with it."""
        return self.folder / f"{number:04d}-moments"

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.npz"

    def _replace(self, state: StoreState) -> None:
        text = json.dumps(state.model_dump(mode="json"), sort_keys=True)
        write_text(self.folder / STATE_NAME, text + "\n")
        named = {state.active, state.proposed, *state.before}
        for path in self.folder.glob("[0-9][0-9][0-9][0-9].npz"):
            if int(path.stem) not in named:
                path.unlink(missing_ok=True)
                shutil.rmtree(self.pictures(int(path.stem)), ignore_errors=True)
