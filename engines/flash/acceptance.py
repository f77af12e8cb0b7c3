"""Whether a device takes a bundle's release number; values in, a refusal out, no file is touched.

Rules, in this order:

1. Below the floor nothing is taken, whatever is asked for.
2. What was committed before as the highest may come back: it is the same bundle.
3. Else the number must be higher than any that was committed here, not only than what runs now;
   `--allow-downgrade` lifts this rule and no other.
"""

from __future__ import annotations

from engines.errors import RefusedError
from engines.flash.home import release_name
from engines.flash.journal import Journal
from engines.manifest import Manifest


def require_acceptable(
    manifest: Manifest, journal: Journal, *, where: str, allow_downgrade: bool = False
) -> None:
    """See that a device with this journal may run this bundle.

    Raises:
        RefusedError: Its release number is below the floor, or does not rise.
    """
    release = manifest.release or 0
    if release < journal.floor:
        raise RefusedError(
            f"the bundle is release {release}, this device takes nothing below {journal.floor}",
            where=where,
            mend="sign it anew with a higher --release; the floor of a device is never lowered",
        )
    digest = release_name(manifest).partition("-")[2]
    if allow_downgrade or not journal.highest_digest or digest == journal.highest_digest:
        return
    if release < journal.highest_release:
        raise RefusedError(
            f"the bundle is release {release}, release {journal.highest_release} was installed"
            " here: it may be an old one sent again",
            where=where,
            mend="sign it anew with a higher --release; to go back on purpose: --allow-downgrade",
        )
    if release == journal.highest_release:
        raise RefusedError(
            f"the bundle is release {release} as one that was installed here, but not the same",
            where=where,
            mend="sign it anew with a higher --release; to take it all the same: --allow-downgrade",
        )
