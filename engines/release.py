"""Versions: which runtime a bundle needs, and that a device is never led back in time unasked.

A release number is given when a bundle is signed. On a device it only rises: an old bundle with an
old, good signature is refused, unless going back is asked for in so many words.
"""

from __future__ import annotations

import datetime
import functools
import re
from importlib.metadata import version

from engines.errors import DataError, RefusedError
from engines.manifest import Manifest

_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", re.ASCII)


@functools.cache
def running_version() -> str:
    """Version of the vigil that runs here."""
    return version("vigil")


def release_now() -> int:
    """A release number that rises by itself: UTC as YYYYMMDDhhmmss."""
    return int(datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d%H%M%S"))


def require_runtime(manifest: Manifest, *, where: str, running: str | None = None) -> None:
    """See that this vigil is new enough for a bundle.

    Args:
        manifest: Of the bundle.
        where: The bundle, for the message.
        running: Version to compare with; this program's if not given.

    Raises:
        DataError: The bundle needs a newer vigil.
    """
    running = running or running_version()
    if _numbers(manifest.minimum_runtime) > _numbers(running):
        raise DataError(
            f"the bundle needs vigil {manifest.minimum_runtime} or newer, this is {running}",
            where=where,
            mend="install a newer vigil here, or export the bundle for this one",
        )


def require_rising(
    new: Manifest, installed: Manifest, *, where: str, allow_downgrade: bool = False
) -> None:
    """See that `new` may replace `installed`; the same bundle again may.

    A bundle without a release number counts as release 0.

    Raises:
        RefusedError: `new` has a lower release number, or the same number and other content.
    """
    if allow_downgrade or new.encode() == installed.encode():
        return
    ours, theirs = new.release or 0, installed.release or 0
    if ours < theirs:
        raise RefusedError(
            f"the bundle is release {ours}, release {theirs} is installed: it may be an old one"
            " sent again",
            where=where,
            mend="sign it anew with a higher --release; to go back on purpose: --allow-downgrade",
        )
    if ours == theirs and ours:
        raise RefusedError(
            f"the bundle is release {ours} as the installed one is, but not the same bundle",
            where=where,
            mend="sign it anew with a higher --release; to take it all the same: --allow-downgrade",
        )


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: "0.2.0.dev1" counts as 0.2.0."""
    found = _VERSION.match(text)
    numbers = tuple(int(part) for part in found[0].split(".")) if found else ()
    return numbers + (0,) * (4 - len(numbers))
